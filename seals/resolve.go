package seals

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sealgate/sealgate/internal/secret"
)

// maxSecretFile bounds what "file://" reads. PINs, tokens and keys are far smaller; a wrong path
// may name a device or a disk image.
const maxSecretFile = 64 << 10

// ErrNoSecret is returned where "env://" or "file://" names a variable that is not set, or a file
// that is missing, empty, too large or not readable.
var ErrNoSecret = errors.New("no secret found")

type resolver func(value string, getenv func(string) string) (*Secret, error)

// ResolveSecret returns the secret that a configuration value stands for: "env://NAME" is an
// environment variable, "file://PATH" the content of a file without trailing newlines, anything
// else the value itself. The result is not resolved again. No error contains the secret.
func ResolveSecret(value string, getenv func(string) string) (*Secret, error) {
	b, err := resolve(value, getenv)
	if err != nil {
		return nil, err
	}
	trimmed := bytes.TrimRight(b, "\r\n")
	if len(trimmed) == 0 {
		clear(b)
		return nil, fmt.Errorf("%w: %s is empty", ErrNoSecret, place(value))
	}
	return NewSecret(trimmed), nil
}

// ResolveRaw is [ResolveSecret] that keeps trailing newlines, which may be bytes of a binary key.
func ResolveRaw(value string, getenv func(string) string) (*Secret, error) {
	b, err := resolve(value, getenv)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", ErrNoSecret, place(value))
	}
	return NewSecret(b), nil
}

func resolve(value string, getenv func(string) string) ([]byte, error) {
	if name, ok := strings.CutPrefix(value, "env://"); ok {
		if getenv == nil || getenv(name) == "" {
			return nil, fmt.Errorf("%w: environment variable %s is not set", ErrNoSecret, secret.ShowEnv(name))
		}
		return []byte(getenv(name)), nil
	}
	if path, ok := strings.CutPrefix(value, "file://"); ok {
		return readSecretFile(path)
	}
	return []byte(value), nil
}

func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSecret, secret.PathError(err, path))
	}
	defer f.Close()
	// A buffer of the full size: a growing one would leave copies of the secret behind.
	buf := make([]byte, maxSecretFile+1)
	n, err := io.ReadFull(f, buf)
	switch {
	case err == nil:
		clear(buf)
		return nil, fmt.Errorf("%w: file %s is larger than %d bytes", ErrNoSecret, secret.ShowPath(path), maxSecretFile)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	default:
		clear(buf)
		return nil, fmt.Errorf("%w: %w", ErrNoSecret, secret.PathError(err, path))
	}
	out := bytes.Clone(buf[:n])
	clear(buf)
	return out, nil
}

// ShowURL returns a URL for an error message, without user information.
func ShowURL(value string) string { return secret.ShowURL(value) }

// place names the source of a value. It does not show a value that is itself the secret.
func place(value string) string {
	if name, ok := strings.CutPrefix(value, "env://"); ok {
		return "env://" + secret.ShowEnv(name)
	}
	if path, ok := strings.CutPrefix(value, "file://"); ok {
		return "file://" + secret.ShowPath(path)
	}
	return "the value"
}
