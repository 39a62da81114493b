// Package envelope implements envelope encryption for seals whose service binds no additional data
// or has no integrity check: the secret is encrypted here by AES-256-GCM with a random data key,
// and the service wraps the data key.
//
//	secret ──AES-256-GCM──▶ Ciphertext
//	             ▲ data key ──service──▶ KeyInfo.WrappedKey
//
// The package guarantees that a blob decrypts only with the same additional data and with the same
// key and key version of the service; that a damaged answer of the service is detected; and that a
// damaged blob is reported as corrupt without a call to the service. The service never sees the
// secret.
//
// It does not authenticate the creator of a blob: everybody who can have a data key wrapped can
// create one.
//
// The formats of [Wrapped] and of the ciphertext (see [Encrypt]) stay compatible.
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
	// ErrBlob is the cause of Corrupt for a blob that is malformed or fails its authentication.
	ErrBlob = errors.New("the wrapped key fails its authentication")
	// ErrOtherKey is the cause of WrongKey for a blob that names another key than the seal's.
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

// Wrapped is a data key wrapped by the service. It is stored in the WrappedKey of a blob's KeyInfo:
//
//	format  u8 = 1
//	check   8 bytes          prefix of SHA-256 over a domain and the following fields;
//	                         it distinguishes damage from a missing key version
//	flags   u8               bit 0: the service bound the additional data as well
//	version u8-len text      version of the service's key
//	key     u16-len bytes    wrapped data key, as the service returned it
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
		return nil, fmt.Errorf(
			"%w: a key version of %d bytes and a wrapped key of %d",
			ErrBlob,
			len(w.Version),
			len(w.Key),
		)
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

// VersionOf returns the version of the key that made a blob, "" where the blob has none.
func VersionOf(blob *wrapping.BlobInfo) string {
	w, err := Parse(blob.GetKeyInfo().GetWrappedKey())
	if err != nil {
		return ""
	}
	return w.Version
}

// Wrap has the service wrap a data key of 32 bytes. It must not retain the key. aad is the caller's
// additional data, for services that bind it.
type Wrap func(ctx context.Context, dataKey, aad []byte) (Wrapped, error)

// Unwrap has the service unwrap a data key. The result is wiped after use.
type Unwrap func(ctx context.Context, w Wrapped, aad []byte) ([]byte, error)

// Encrypt encrypts plain for the key named id. The blob's Ciphertext is
//
//	format u8 = 1 | nonce 12, random | ciphertext | tag 16
//
// with the additional data "sealgate/seals/envelope/v1" 00 | u16-len id | u8-len version | the
// caller's additional data.
func Encrypt(
	ctx context.Context,
	id string,
	plain []byte,
	options []wrapping.Option,
	wrap Wrap,
) (*wrapping.BlobInfo, error) {
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
		return nil, seals.Fail(
			seals.Corrupt,
			err,
			"the service returned no wrapped key; check that its address is correct and no proxy answers in its place",
		)
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, seals.Fail(seals.Unknown, err, "report this as a bug")
	}
	return &wrapping.BlobInfo{
		Ciphertext: aead.Seal([]byte{format}, nil, plain, bind(id, wrapped.Version, aad)),
		KeyInfo:    &wrapping.KeyInfo{KeyId: id, WrappedKey: raw},
	}, nil
}

// Decrypt decrypts a blob of Encrypt for the key named id.
func Decrypt(
	ctx context.Context,
	id string,
	blob *wrapping.BlobInfo,
	options []wrapping.Option,
	unwrap Unwrap,
) ([]byte, error) {
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
			"configure the key that the blob names")
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
		return nil, fmt.Errorf("%w: the service returned a data key of %d bytes", ErrBlob, len(key))
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
	return b.BytesOrPanic() // ids and versions were bounded before
}

func begin(ctx context.Context, options []wrapping.Option) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, seals.Fail(seals.Unreachable, err, "the request was cancelled before it began; try again")
	}
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, seals.Fail(
			seals.Unknown,
			err,
			"the caller passed an option of another wrapper; report this as a bug",
		)
	}
	return o.WithAad, nil
}

// Corrupt returns the failure of a blob or answer that fails its authentication.
func Corrupt(cause error) *seals.Failure {
	return seals.Fail(seals.Corrupt, cause,
		"the stored seal record is damaged or belongs to another server; restore it from a backup")
}
