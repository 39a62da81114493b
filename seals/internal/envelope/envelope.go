// Package envelope is how seals wrap whose service binds no additional data to a ciphertext, or cannot be trusted to return what it was given:
// the secret is encrypted here, by AES-256-GCM under a data key of its own, and the service wraps the data key.
//
// It guarantees that a blob opens only with the same additional data, under the same key and version of the service; that an answer of the
// service that was damaged on its way is noticed; and that a blob which was damaged itself is told as corrupt before the
// service is asked. The service never sees the secret.
//
// It does not guarantee who made a blob: whoever can have a data key wrapped can make one.
package envelope

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/seals"
)

// Causes of the failures of this package.
var (
	// ErrBlob is the cause of Corrupt for a blob that is malformed, or fails its authentication.
	ErrBlob = errors.New("the wrapped key fails its authentication")
	// ErrOtherKey is the cause of WrongKey: the blob names another key than the seal's.
	ErrOtherKey = errors.New("the blob was wrapped by another key")
)

const (
	format     = 1
	keyLen     = 32
	checkLen   = 8
	maxVersion = 255
	maxWrapped = 16 << 10
	aadDomain  = "sealgate/seals/envelope/v1\x00"
	sumDomain  = "sealgate/seals/envelope/wrapped/v1\x00"
)

// Wrapped is a data key as the service wrapped it. It is the WrappedKey of a blob's KeyInfo:
//
//	format  u8 = 1
//	check   8 bytes          the first of SHA-256 over a domain and what follows: it tells damage from a key version that is gone
//	flags   u8               bit 0: the service bound the additional data as well
//	version u8-len text      the version of the key
//	key     u16-len bytes    as the service gave it
type Wrapped struct {
	Version string
	Bound   bool
	Key     []byte
}

func check(rest []byte) []byte {
	h := sha256.New()
	h.Write([]byte(sumDomain))
	h.Write(rest)
	return h.Sum(nil)[:checkLen]
}

func (w Wrapped) marshal() ([]byte, error) {
	var flags uint8
	if w.Bound {
		flags = 1
	}
	if len(w.Version) > maxVersion || len(w.Key) == 0 || len(w.Key) > maxWrapped {
		return nil, fmt.Errorf("%w: a key version of %d bytes and a wrapped key of %d", ErrBlob, len(w.Version), len(w.Key))
	}
	rest := cryptobyte.NewBuilder(nil)
	rest.AddUint8(flags)
	rest.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(w.Version)) })
	rest.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(w.Key) })
	tail, err := rest.Bytes()
	if err != nil {
		return nil, err
	}
	return append(append([]byte{format}, check(tail)...), tail...), nil
}

// Parse reads the WrappedKey of a blob that Encrypt made.
func Parse(raw []byte) (Wrapped, error) {
	s := cryptobyte.String(raw)
	var version, flags uint8
	var sum, text, key cryptobyte.String
	if !s.ReadUint8(&version) || version != format || !s.ReadBytes((*[]byte)(&sum), checkLen) ||
		subtle.ConstantTimeCompare(sum, check(s)) != 1 {
		return Wrapped{}, ErrBlob
	}
	if !s.ReadUint8(&flags) || flags > 1 || !s.ReadUint8LengthPrefixed(&text) || !s.ReadUint16LengthPrefixed(&key) ||
		!s.Empty() || len(key) == 0 || len(key) > maxWrapped {
		return Wrapped{}, ErrBlob
	}
	return Wrapped{Version: string(text), Bound: flags == 1, Key: key}, nil
}

// VersionOf is the version of the key that made a blob, "" where the blob does not tell.
func VersionOf(blob *wrapping.BlobInfo) string {
	w, err := Parse(blob.GetKeyInfo().GetWrappedKey())
	if err != nil {
		return ""
	}
	return w.Version
}

// Wrap has a data key of 32 bytes wrapped by the service; it must not keep it. aad is the caller's, for services that bind it.
type Wrap func(ctx context.Context, dataKey, aad []byte) (Wrapped, error)

// Unwrap gives a data key back; the result is cleared after use.
type Unwrap func(ctx context.Context, w Wrapped, aad []byte) ([]byte, error)

// Encrypt encrypts plain for the key named id. The blob's Ciphertext is
//
//	format u8 = 1 | nonce 12, random | ciphertext | tag 16
//
// with the additional data "sealgate/seals/envelope/v1" 00 | u16-len id | u8-len version | the caller's additional data.
func Encrypt(ctx context.Context, id string, plain []byte, options []wrapping.Option, wrap Wrap) (*wrapping.BlobInfo, error) {
	aad, err := begin(ctx, options)
	if err != nil {
		return nil, err
	}
	dataKey := make([]byte, keyLen)
	defer clear(dataKey)
	_, _ = rand.Read(dataKey) // never fails
	wrapped, err := wrap(ctx, dataKey, aad)
	if err != nil {
		return nil, err
	}
	raw, err := wrapped.marshal()
	if err != nil {
		return nil, seals.Fail(seals.Corrupt, err, "the service answered with something else than a wrapped key; see what stands at its address")
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, seals.Fail(seals.Unknown, err, "this is a defect of the program")
	}
	return &wrapping.BlobInfo{
		Ciphertext: aead.Seal([]byte{format}, nil, plain, bind(id, wrapped.Version, aad)),
		KeyInfo:    &wrapping.KeyInfo{KeyId: id, WrappedKey: raw},
	}, nil
}

// Decrypt opens what Encrypt made for the key named id.
func Decrypt(ctx context.Context, id string, blob *wrapping.BlobInfo, options []wrapping.Option, unwrap Unwrap) ([]byte, error) {
	aad, err := begin(ctx, options)
	if err != nil {
		return nil, err
	}
	sealed, named := blob.GetCiphertext(), blob.GetKeyInfo().GetKeyId()
	wrapped, err := Parse(blob.GetKeyInfo().GetWrappedKey())
	if err != nil || named == "" || len(sealed) < 2 || sealed[0] != format {
		return nil, Corrupt(ErrBlob)
	}
	if named != id {
		return nil, seals.Fail(seals.WrongKey, fmt.Errorf("%w: %.300q; this seal has %q", ErrOtherKey, named, id),
			"point the stanza at the key that the blob names")
	}
	dataKey, err := unwrap(ctx, wrapped, aad)
	defer clear(dataKey)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, Corrupt(err)
	}
	plain, err := aead.Open(nil, nil, sealed[1:], bind(id, wrapped.Version, aad))
	if err != nil {
		return nil, Corrupt(ErrBlob)
	}
	return plain, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != keyLen {
		return nil, fmt.Errorf("%w: the service gave back a data key of %d bytes", ErrBlob, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func bind(id, version string, aad []byte) []byte {
	b := cryptobyte.NewBuilder([]byte(aadDomain))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(id)) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(version)) })
	b.AddBytes(aad)
	return b.BytesOrPanic() // ids and versions are bounded before
}

func begin(ctx context.Context, options []wrapping.Option) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, seals.Fail(seals.Unreachable, err, "the request was given up before it began; try again")
	}
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, seals.Fail(seals.Unknown, err, "the caller passed an option of another wrapper; this is a defect of the program")
	}
	return o.WithAad, nil
}

// Corrupt is the failure of a blob, or of an answer, that fails its authentication.
func Corrupt(cause error) *seals.Failure {
	return seals.Fail(seals.Corrupt, cause, "the stored seal record is damaged, or was moved here from elsewhere; restore it from a backup")
}
