// Package secret holds key material: root keys, data keys, shares, PINs and
// tokens.
//
// It guarantees that a [Bytes] never prints: every verb of package fmt, and the
// json, text, gob and slog encoders, see a placeholder or an error. Comparison
// takes constant time for values of equal length, and [Bytes.Destroy]
// overwrites the memory.
//
// Long-lived keys are [Locked]: in pages that are not swapped, dumped or forked. [Do] erases what a
// function leaves on its stack and on the heap, where the program is built for it.
//
// The package does not guarantee that no copy is left: the garbage collector, the kernel's swap and
// the callers of [Bytes.Expose] may keep some. Erasure is best effort, as everywhere in Go.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is the text that every printer and encoder shows instead of the value.
const Redacted = "[secret]"

// ErrMarshal is returned by encoders that are given a secret: only code that names [Bytes.Expose]
// writes a secret out.
var ErrMarshal = errors.New("secret: refusing to encode a secret")

// Bytes is a secret of fixed length. The zero value and nil are empty secrets.
// It is not safe to call Destroy while another goroutine uses the value.
type Bytes struct {
	b    []byte
	slot []byte // of locked memory, of which b is the used part; nil: b is on the heap
}

// New takes ownership of b: the caller must neither use nor keep it.
func New(b []byte) *Bytes { return &Bytes{b: b} }

// Copy returns a secret with a copy of b, which stays the caller's.
func Copy(b []byte) *Bytes { return New(append(make([]byte, 0, len(b)), b...)) }

// Random reads n bytes from r, or from crypto/rand where r is nil.
func Random(r io.Reader, n int) (*Bytes, error) {
	if r == nil {
		r = rand.Reader
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("secret: reading %d random bytes: %w", n, err)
	}
	return New(b), nil
}

// Expose returns the bytes themselves, not a copy: the caller must not keep, change, log or store
// them. The name stands out in review.
func (s *Bytes) Expose() []byte {
	if s == nil {
		return nil
	}
	return s.b
}

// Len is the length in bytes.
func (s *Bytes) Len() int {
	if s == nil {
		return 0
	}
	return len(s.b)
}

// Clone returns an independent copy, to be destroyed on its own. The copy of a locked secret is
// locked.
func (s *Bytes) Clone() *Bytes {
	if s != nil && s.slot != nil {
		return Locked(s.b)
	}
	return Copy(s.Expose())
}

// Equal compares in time that depends on the lengths alone.
func (s *Bytes) Equal(other *Bytes) bool {
	return subtle.ConstantTimeCompare(s.Expose(), other.Expose()) == 1
}

// Destroy overwrites the bytes and leaves an empty secret. It may be called twice.
func (s *Bytes) Destroy() {
	if s == nil {
		return
	}
	clear(s.b)
	s.b = nil
	if s.slot != nil {
		pages.give(s.slot)
		s.slot = nil
	}
}

// Format writes the placeholder for every verb of package fmt.
func (s Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// String returns the placeholder.
func (s Bytes) String() string { return Redacted }

// GoString returns the placeholder.
func (s Bytes) GoString() string { return Redacted }

// LogValue returns the placeholder to log/slog.
func (s Bytes) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON fails with [ErrMarshal].
func (s Bytes) MarshalJSON() ([]byte, error) { return nil, ErrMarshal }

// MarshalText fails with [ErrMarshal].
func (s Bytes) MarshalText() ([]byte, error) { return nil, ErrMarshal }

// MarshalBinary fails with [ErrMarshal].
func (s Bytes) MarshalBinary() ([]byte, error) { return nil, ErrMarshal }

// GobEncode fails with [ErrMarshal].
func (s Bytes) GobEncode() ([]byte, error) { return nil, ErrMarshal }
