package recipient

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"time"
)

// MaxText is the longest key that is read, in bytes, and MaxKeys how many there are at most at once.
const (
	MaxText = 128 << 10
	MaxKeys = 255
)

// Errors of keys. Messages say what to do; they contain nothing of the key.
var (
	// ErrSize is returned for a key that is empty or longer than MaxText, and for more keys than MaxKeys.
	ErrSize = fmt.Errorf("a public key has 1 to %d bytes; export it without the signatures of others "+
		"(gpg --export-options export-minimal)", MaxText)
	// ErrDecode is returned for a text that is no armor, no base64, and no binary OpenPGP key.
	ErrDecode = errors.New("error decoding given PGP key: it is neither armored, nor base64, nor a binary OpenPGP key, nor an age recipient")
	// ErrParse is returned for bytes that do not parse as a public key.
	ErrParse = errors.New("error parsing given PGP key: it is damaged, or not a public key of a known kind")
	// ErrAge is returned for what starts like an age recipient and is none.
	ErrAge = errors.New("not a valid age recipient: it is mistyped or cut, or needs a plugin, which the server does not run")
	// ErrKeybase is returned for "keybase:name".
	ErrKeybase = errors.New("keys are not fetched from Keybase: give the public key itself, as `keybase pgp export` prints it")
	// ErrPrivate is returned for a private key.
	ErrPrivate = errors.New("this is a PRIVATE key: give the public one alone, and treat the private one as disclosed")
	// ErrSeveral is returned for more than one key in one text: it would not be clear who gets the share.
	ErrSeveral = errors.New("there is more than one key: give exactly one for each share")
	// ErrExpired is returned for a key, or an encryption subkey, that is expired or not valid yet.
	ErrExpired = errors.New("the key is expired, or not valid yet at the server's time")
	// ErrRevoked is returned for a key, or an encryption subkey, that its owner revoked.
	ErrRevoked = errors.New("the key is revoked")
	// ErrCannotEncrypt is returned for a key that has no part that may encrypt, or that is too weak.
	ErrCannotEncrypt = errors.New("the key cannot be encrypted to")
)

// The kinds of recipients.
const (
	PGP = "pgp"
	Age = "age"
)

// Recipient is one checked public key. It may be used by several goroutines.
type Recipient struct {
	kind        string
	fingerprint string
	compact     string
	seal        func(w io.Writer) (io.WriteCloser, error)
}

// Parse reads one public key, which has to be good at now:
//
//	-----BEGIN PGP PUBLIC KEY BLOCK-----...   armored
//	mQENBF...                                 base64 of a binary or armored key, line breaks allowed
//	99 01 0d 04...                            binary: its first byte has the high bit set, so it is never taken for text
//	age1...                                   an age recipient
func Parse(text string, now time.Time) (*Recipient, error) {
	k, err := decode(text)
	if err != nil {
		return nil, err
	}
	var r *Recipient
	if k.age != "" {
		r, err = newAge(k.age)
	} else {
		r, err = newPGP(k.pgp, now)
	}
	if err != nil {
		return nil, err
	}
	if _, err := r.Encrypt([]byte("trial")); err != nil {
		return nil, fmt.Errorf("%w: a trial failed: %w", ErrCannotEncrypt, err)
	}
	return r, nil
}

// ParseAll is [Parse] for a list. The error says by its place which key is bad.
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

// FingerprintOf is the fingerprint of a key whether or not it is good, and "" for what is no key. It is for showing whose keys were
// accepted before; to accept one, use [Parse].
func FingerprintOf(text string) string {
	k, err := decode(text)
	if err != nil {
		return ""
	}
	if k.age != "" {
		return ageFingerprint(k.age)
	}
	e, err := readEntity(k.pgp)
	if err != nil {
		return ""
	}
	return pgpFingerprint(e)
}

// Kind is [PGP] or [Age].
func (r *Recipient) Kind() string { return r.kind }

// Fingerprint names the key to people. For PGP it is the fingerprint of the primary key in lower-case hexadecimal: 40 digits for version 4,
// 64 for version 6. An age recipient is its own fingerprint; a hybrid one is 2 kB long, so it is named by "sha256:" and the
// hexadecimal SHA-256 of its text.
func (r *Recipient) Fingerprint() string { return r.fingerprint }

// Compact is the key as [Parse] reads it, with nothing in it but what encryption needs: no signatures of others, names but one, photos,
// or other subkeys. A compact PGP key is binary. It has the same fingerprint.
func (r *Recipient) Compact() string { return r.compact }

// Encrypt makes a message of plain, in the binary format of the key's kind. The caller says what is encrypted: clients
// expect the hexadecimal text of a share.
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
