// Package method is the common part of the auth methods: fields of requests, parameters of the
// resulting tokens, and stored records. Each method is a package below this one, and a
// [mount.Backend] in the table of auth methods.
//
// It guarantees that a record is read exactly as it was written, or an error is returned; that
// fields are converted as leniently as Vault does; that no error contains a value, which may be a
// secret; and that a client address that cannot be parsed is outside all networks.
//
// It does not create tokens or count failures: the caller that routes a login does (package api). A
// token outlives a change or deletion of its role; disabling the method ends it.
//
// Stays compatible: the records of methods, whose first byte is their version.
package method

import (
	"cmp"
	"crypto/rand"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
)

// Options configure a method.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand
}

// WithDefaults replaces nil fields by their defaults.
func (o Options) WithDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Rand = cmp.Or[io.Reader](o.Rand, rand.Reader)
	return o
}

// Errors common to all methods, with Vault's texts.
var (
	ErrUnsupported = fault.New(fault.Unsupported, "unsupported operation")
	ErrNoPath      = fault.New(fault.NotFound, "unsupported path")
	ErrOutside     = fault.New(fault.Denied, "permission denied") // the client's address is not in an allowed network
)

// Invalid returns an error about the request.
func Invalid(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

const maxName = 512

// Name returns the name of a user, role or certificate in its stored form, lower case. An invalid
// one is a [fault.Invalid].
func Name(what, name string) (string, error) {
	switch {
	case name == "":
		return "", Invalid("missing %s", what)
	case len(name) > maxName:
		return "", Invalid("the %s has %d bytes; at most %d are allowed", what, len(name), maxName)
	case !utf8.ValidString(name) || name == "." || name == ".." || strings.ContainsFunc(name, unfit):
		return "", Invalid("the %s contains a slash or an unprintable character, or is a relative segment; choose another",
			what)
	}
	return strings.ToLower(name), nil
}

// NameAfter returns where a path has the name of a user, role or certificate: in the segment after
// one of the heads, such as "role/". See [mount.NameFolder].
func NameAfter(path string, heads ...string) (start, end int) {
	for _, head := range heads {
		if rest, ok := strings.CutPrefix(path, head); ok {
			name, _, _ := strings.Cut(rest, "/")
			return len(head), len(head) + len(name)
		}
	}
	return 0, 0
}

func unfit(r rune) bool { return r == '/' || !unicode.IsPrint(r) }

// Networks checks a list of CIDRs and addresses, and returns it as it was written.
func Networks(field string, list []string) ([]string, error) {
	for _, text := range list {
		if _, ok := token.ParseNetwork(text); !ok {
			return nil, Invalid("%s: %q is not a network; use the form 10.0.0.0/8 or 192.0.2.1", field, text)
		}
	}
	return list, nil
}

// Within reports whether a client address ("192.0.2.1:1234") is in one of the networks, or there
// are none.
func Within(networks []string, remote string) bool {
	return len(networks) == 0 || token.Within(networks, remote)
}

// Glob reports whether text matches a pattern in which "*" matches any text.
func Glob(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	if !ok {
		return false
	}
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], after
	}
}
