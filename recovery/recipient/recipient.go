package recipient

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"time"

	"github.com/sealgate/sealgate/internal/fips"
)

// MaxText is the length of the longest key in bytes, MaxKeys the largest number of keys at once.
const (
	MaxText = 128 << 10
	MaxKeys = 255
)

// Errors of keys. Their texts say what to do and contain nothing of the key.
var (
	// ErrSize is returned for a key that is empty or longer than MaxText, and for more keys than
	// MaxKeys.
	ErrSize = fmt.Errorf("a public key has 1 to %d bytes; export it without third-party signatures "+
		"(gpg --export-options export-minimal)", MaxText)
	// ErrDecode is returned for a text that is neither armored nor base64 nor a binary OpenPGP key.
	ErrDecode = errors.New("error decoding given PGP key: it is neither armored, nor base64, nor a binary OpenPGP " +
		"key, nor an age recipient")
	// ErrParse is returned for bytes that do not parse as a public key.
	ErrParse = errors.New("error parsing given PGP key: it is damaged, or not a public key of a known kind")
	// ErrAge is returned for an invalid age recipient.
	ErrAge = errors.New("not a valid age recipient: it is mistyped or truncated, or needs a plugin, which the " +
		"server does not run")
	// ErrKeybase is returned for "keybase:name".
	ErrKeybase = errors.New("keys are not fetched from Keybase: pass the public key that `keybase pgp export` prints")
	// ErrPrivate is returned for a private key.
	ErrPrivate = errors.New("this is a PRIVATE key: pass the public key only, and treat the private key as disclosed")
	// ErrSeveral is returned for several keys in one text: the recipient would be ambiguous.
	ErrSeveral = errors.New("the text has more than one key: pass exactly one for each share")
	// ErrExpired is returned for a key or encryption subkey that is expired or not yet valid.
	ErrExpired = errors.New("the key is expired, or not yet valid at the server's time")
	// ErrRevoked is returned for a key or encryption subkey that its owner revoked.
	ErrRevoked = errors.New("the key is revoked")
	// ErrCannotEncrypt is returned for a key that is too weak or has no encryption part.
	ErrCannotEncrypt = errors.New("the key cannot encrypt")
)

// The kinds of recipients.
const (
	PGP = "pgp"
	Age = "age"
)

// Recipient is one checked public key. It is safe for concurrent use.
type Recipient struct {
	kind        string
	fingerprint string
	compact     string
	seal        func(w io.Writer) (io.WriteCloser, error)
}

// Parse decodes one public key, which must be valid at now:
//
//	-----BEGIN PGP PUBLIC KEY BLOCK-----...   armored
//	mQENBF...                                 base64 of a binary or armored key, line breaks allowed
//	99 01 0d 04...                            binary: the high bit of its first byte excludes text
//	age1...                                   an age recipient
func Parse(text string, now time.Time) (*Recipient, error) {
	k, err := decode(text)
	if err != nil {
		return nil, err
	}
	var r *Recipient
	if k.age != "" {
		// Before the library: it loops on hybrid keys where the module enforces its mode.
		err = fips.Refuse("an age recipient (X25519, ChaCha20-Poly1305)", "a PGP key with RSA or a NIST curve")
		if err != nil {
			return nil, err
		}
		r, err = newAge(k.age)
	} else {
		r, err = newPGP(k.pgp, now)
	}
	if err != nil {
		return nil, err
	}
	if _, err := r.Encrypt([]byte("trial")); err != nil {
		return nil, fmt.Errorf("%w: a trial message failed: %w", ErrCannotEncrypt, err)
	}
	return r, nil
}

// ParseAll is [Parse] for a list. The error gives the invalid key's position.
func ParseAll(texts []string, now time.Time) ([]*Recipient, error) {
	if len(texts) > MaxKeys {
		return nil, fmt.Errorf("%d keys are more than %d shares: %w", len(texts), MaxKeys, ErrSize)
	}
	out := make([]*Recipient, len(texts))
	for i, text := range texts {
		var err error
		if out[i], err = Parse(text, now); err != nil {
			return nil, fmt.Errorf("key %d of %d: %w", i+1, len(texts), err)
		}
	}
	return out, nil
}

// Kind returns [PGP] or [Age].
func (r *Recipient) Kind() string { return r.kind }

// Fingerprint identifies the key to a reader. For PGP it is the primary key's fingerprint in
// lower-case hexadecimal: 40 digits for version 4, 64 for version 6. An age recipient is its own
// fingerprint. A hybrid recipient has 2 kB, so its fingerprint is "sha256:" and the hexadecimal
// SHA-256 of its text.
func (r *Recipient) Fingerprint() string { return r.fingerprint }

// Compact returns the key in a form for [Parse] with only what encryption needs: no third-party
// signatures, one name, no photos and no other subkeys. A compact PGP key is binary. Its
// fingerprint is the same.
func (r *Recipient) Compact() string { return r.compact }

// Encrypt encrypts plain to the key, in the binary format of its kind. The caller chooses the
// content: clients expect a share's hexadecimal text.
func (r *Recipient) Encrypt(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := r.seal(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
