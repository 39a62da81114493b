package token

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Lengths of generated values.
const (
	saltSize      = 32
	randomChars   = 24 // base62 characters: 142 bits
	tokenLead     = "s."
	saltVersion   = 1
	accessVersion = 1
)

// Formatted is a new token store: the operations that initialisation commits, and the root token
// that it shows once.
type Formatted struct {
	Ops       []storage.Op // plaintext; committed through the barrier
	RootToken string
}

// Format creates a salt and a root token. A nil rnd means crypto/rand. It writes nothing.
func Format(rnd io.Reader, now time.Time) (*Formatted, error) {
	token, err := NewTokenText(rnd)
	if err != nil {
		return nil, err
	}
	return FormatWith(rnd, now, token)
}

// FormatWith is [Format] with a root token chosen by the caller, for development servers.
func FormatWith(rnd io.Reader, now time.Time, rootToken string) (*Formatted, error) {
	if err := CheckTokenText(rootToken); err != nil {
		return nil, err
	}
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(source(rnd), salt); err != nil {
		return nil, fmt.Errorf("token: making the salt: %w", err)
	}
	ops, err := newHasher(salt).rootToken(rnd, now, rootToken)
	if err != nil {
		return nil, err
	}
	return &Formatted{RootToken: rootToken, Ops: append([]storage.Op{storage.Put(saltKey, marshalSalt(salt)),
		storage.Put(leaseIndexKey, mark)}, ops...)}, nil
}

// marshalSalt returns the record at "auth/salt": version u8 = 1 | 32 random bytes.
func marshalSalt(salt []byte) []byte { return append([]byte{saltVersion}, salt...) }

func unmarshalSalt(record []byte) ([]byte, error) {
	if len(record) != 1+saltSize || record[0] != saltVersion {
		return nil, fmt.Errorf("%w: the salt must be version %d and %d bytes", ErrRecord, saltVersion, saltSize)
	}
	return record[1:], nil
}

// NewTokenText generates the text of a service token: "s." and 24 base62 characters. A nil rnd
// means crypto/rand.
func NewTokenText(rnd io.Reader) (string, error) {
	chars, err := base62(rnd, randomChars)
	return tokenLead + chars, err
}

// CheckTokenText refuses a chosen token that does not fit in an HTTP header or is too long.
func CheckTokenText(token string) error {
	if token == "" || len(token) > maxToken {
		return fault.New(fault.Invalid, "a token has 1 to %d characters; this one has %d", maxToken, len(token))
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c > '~' {
			return fault.New(fault.Invalid, "a token must consist of printable ASCII characters without spaces; choose "+
				"another one")
		}
	}
	return nil
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62 returns n uniformly distributed characters: bytes beyond the largest multiple of 62 are
// discarded.
func base62(rnd io.Reader, n int) (string, error) {
	const fair = 256 - 256%len(alphabet)
	out := make([]byte, 0, n)
	buf := make([]byte, n)
	defer clear(buf)
	for len(out) < n {
		if _, err := io.ReadFull(source(rnd), buf); err != nil {
			return "", fmt.Errorf("token: random characters: %w", err)
		}
		for _, b := range buf {
			if int(b) < fair && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out), nil
}

func source(rnd io.Reader) io.Reader {
	if rnd == nil {
		return rand.Reader
	}
	return rnd
}
