package secret

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// ErrNotPath is the cause where a parameter that names a file has a value that is no file name. In
// practice such a value is the secret itself, so no error shows it.
var ErrNotPath = errors.New("not the name of a file")

const (
	maxPath      = 1024
	maxComponent = 100
)

var (
	// relativePath is a relative name that is no secret: it has the ending of a file.
	relativePath = regexp.MustCompile(`^[\w.-]+(/[\w.-]+)*\.` +
		`(json|txt|pem|crt|cer|key|jwt|token|conf|ini|ya?ml|p12|pfx|so(\.\d+)*|dylib|pin)$`)
	// randomText matches text that looks like a key, a token or encoded data.
	randomText = regexp.MustCompile(`^[A-Za-z0-9+=]{24,}$`)
	envName    = regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,127}$`) // by convention
)

// CheckPath refuses the value of the parameter param where it can be no file name. The value of a
// parameter that passes may be shown in errors.
func CheckPath(param, value string) error {
	if value == "" || isPath(value) {
		return nil
	}
	return fmt.Errorf("%s is %w (%d characters, not shown because it may be the secret itself): "+
		"store the secret in a file and set %[1]s to its path", param, ErrNotPath, len(value))
}

// ShowPath returns a path for an error message, or a description of a value that is no path.
func ShowPath(value string) string {
	if isPath(value) {
		return value
	}
	return fmt.Sprintf("(a value of %d characters that is not the name of a file)", len(value))
}

// ShowEnv returns the name of an environment variable for an error message, or a description of a
// value that is no such name.
func ShowEnv(name string) string {
	if envName.MatchString(name) && !randomText.MatchString(name) {
		return name
	}
	return fmt.Sprintf("(a value of %d characters that is not the name of a variable)", len(name))
}

// PathError removes the path from an error of package os where the path may be the secret.
func PathError(err error, path string) error {
	var p *os.PathError
	if isPath(path) || !errors.As(err, &p) {
		return err
	}
	return fmt.Errorf("%s %s: %w", p.Op, ShowPath(path), p.Err)
}

func isPath(v string) bool {
	if len(v) > maxPath || strings.ContainsAny(v, "\n\r\x00{}\"") || strings.Contains(v, "BEGIN ") {
		return false
	}
	if _, err := os.Lstat(v); err == nil {
		return true
	}
	rooted := strings.HasPrefix(v, "/") || strings.HasPrefix(v, "./") || strings.HasPrefix(v, "../")
	if !rooted && !relativePath.MatchString(v) {
		return false
	}
	end := 0
	for part := range strings.SplitSeq(v, "/") {
		end += len(part) + 1
		if len(part) <= maxComponent && !randomText.MatchString(part) {
			continue
		}
		if _, err := os.Lstat(v[:end-1]); err != nil { // else a folder has this name
			return false
		}
	}
	return true
}

// ShowURL returns a URL for an error message: without user information, and only where it is a URL.
func ShowURL(value string) string {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" && strings.ContainsAny(value, "@{}\"\n") || len(value) > maxPath {
		return fmt.Sprintf("(a value of %d characters)", len(value))
	}
	if u.User != nil {
		u.User = url.User("...")
	}
	return u.String()
}
