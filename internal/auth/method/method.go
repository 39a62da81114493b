// Package method is what auth methods have in common: the fields of their requests, the parameters of the tokens that they give out,
// and the records they keep. Each method is a package below this one, and a [mount.Backend] in the table of auth methods.
//
// It guarantees that a record that was read is one that was written, or an error; that a field is converted as leniently as Vault's, and
// that no error shows a value, which may be a secret; and that whoever cannot be placed in a network is outside of it.
//
// It does not create tokens, nor count failures: whoever routes a login does (package api). A token lives on when
// the role that it came from is changed or deleted; disabling the method ends it.
//
// Stays compatible: the records of methods, whose first byte is their version.
package method

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/fault"
)

// Options are what methods are given from outside.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // nil means crypto/rand
}

// WithDefaults fills in what is missing.
func (o Options) WithDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Rand = cmp.Or[io.Reader](o.Rand, rand.Reader)
	return o
}

// Errors that all methods have, with Vault's texts.
var (
	ErrUnsupported = fault.New(fault.Unsupported, "unsupported operation")
	ErrNoPath      = fault.New(fault.NotFound, "unsupported path")
	ErrOutside     = fault.New(fault.Denied, "permission denied") // the address is in none of the networks
)

// Invalid is an error about the request.
func Invalid(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

const maxName = 512

// Name gives the name of a user, role or certificate as it is stored: in lower case. What cannot be one is a [fault.Invalid].
func Name(what, name string) (string, error) {
	switch {
	case name == "":
		return "", Invalid("missing %s", what)
	case len(name) > maxName:
		return "", Invalid("the %s has %d bytes; at most %d are allowed", what, len(name), maxName)
	case !utf8.ValidString(name) || name == "." || name == ".." || strings.ContainsFunc(name, unfit):
		return "", Invalid("the %s has a slash or a character that is not printable, or is a relative segment; choose another", what)
	}
	return strings.ToLower(name), nil
}

func unfit(r rune) bool { return r == '/' || !unicode.IsPrint(r) }

// UUID makes a random UUID (version 4).
func UUID(rnd io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rnd, b[:]); err != nil {
		return "", fmt.Errorf("method: making an identifier: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16]), nil
}

// Networks reads a list of CIDRs; an address alone is a network of one.
func Networks(field string, list []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if a, bad := netip.ParseAddr(text); err != nil && bad == nil {
			p, err = a.Unmap().WithZone("").Prefix(a.Unmap().BitLen())
		}
		if err != nil || len(text) > 64 {
			return nil, Invalid("%s: %q is not a network; write such as 10.0.0.0/8 or 192.0.2.1", field, text)
		}
		out = append(out, p.Masked().String())
	}
	return out, nil
}

// Within reports whether who asks ("192.0.2.1:1234") lies in one of the networks, or there are none.
func Within(networks []string, remote string) bool {
	if len(networks) == 0 {
		return true
	}
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := ap.Addr().Unmap().WithZone("")
	for _, n := range networks {
		if p, err := netip.ParsePrefix(n); err == nil && p.Contains(addr) {
			return true
		}
	}
	return false
}

// Glob reports whether text fits a pattern in which "*" stands for any characters.
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
