// Package static is a seal whose key is in the configuration, the environment or a file. It has the
// parameters and variables of OpenBao's static seal.
//
// It guarantees that a blob decrypts only with the key named in it and with the same additional
// data (AES-256-GCM). It does not protect the key from a reader of the machine's disk or
// environment: it is for tests, for development, and for platforms that inject secrets from a
// protected store.
//
// To rotate the key, make the old key previous_key, add the new one as current_key with another id,
// and restart. The server rewraps its root key with the new key and then no longer needs the old
// one.
//
// The blob format stays compatible: see [Wrapper].
package static

import (
	"bytes"
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// Causes of the failures of this seal.
var (
	// ErrKey is the cause of Misconfigured for a key in none of the accepted forms.
	ErrKey = errors.New(
		"a key is 32 bytes: raw, as 64 hexadecimal digits, as 44 characters of base64, or as 43 of unpadded base64url",
	)
	// ErrParams is the cause of Misconfigured for parameters that are missing or contradict each
	// other.
	ErrParams = errors.New("parameters are missing or contradict each other")
	// ErrOtherKey is the cause of WrongKey for a blob of neither the current nor the previous key.
	ErrOtherKey = errors.New("the blob was wrapped by another key")
	// ErrBlob is the cause of Corrupt for a blob that is malformed or fails its authentication.
	ErrBlob = errors.New("the wrapped key fails its authentication")
)

// Type is the type of the seal in configuration and status.
const Type wrapping.WrapperType = "static"

const (
	blobVersion = 1
	aadDomain   = "sealgate/seals/static/v1\x00"
	keyLen      = 32
	maxKeyID    = 255
)

// prefixes of environment variables, strongest first.
var prefixes = []string{"SEALGATE_STATIC_SEAL_", "BAO_STATIC_SEAL_"}

// Wrapper encrypts with the current key by AES-256-GCM, and decrypts with the current or the
// previous key. It is safe for concurrent use.
//
// The ciphertext of its blobs is
//
//	version u8 = 1 | nonce 12, random | ciphertext | tag 16
//
// with the additional data "sealgate/seals/static/v1" 00 | length u8, key id | the caller's
// additional data.
type Wrapper struct {
	keys   atomic.Pointer[keys]
	config seals.Config // of New, for SetConfig
}

type keys struct {
	current, previous key // previous.aead is nil where there is none
}

type key struct {
	id   string
	aead cipher.AEAD
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Describer  = (*Wrapper)(nil)
)

// New reads the stanza:
//
//	current_key, current_key_id      the key that encrypts, and its id in blobs; required
//	previous_key, previous_key_id    a key that still decrypts; both or neither
//
// A key may be "env://NAME" or "file://PATH"; a file may hold the 32 raw bytes. Environment
// variables such as SEALGATE_STATIC_SEAL_CURRENT_KEY take precedence over those such as
// BAO_STATIC_SEAL_CURRENT_KEY, and these over the stanza. The result is a *[Wrapper].
func New(c seals.Config) (wrapping.Wrapper, error) {
	c.Type = cmp.Or(c.Type, string(Type))
	k, err := configure(c)
	if err != nil {
		return nil, err
	}
	w := &Wrapper{config: c}
	w.keys.Store(k)
	return w, nil
}

func configure(c seals.Config) (*keys, error) {
	p := seals.NewParams(c, prefixes...)
	current, err := readKey(p, "current_key", "current_key_id")
	if err != nil {
		return nil, err
	}
	previous, err := readKey(p, "previous_key", "previous_key_id")
	if err != nil {
		return nil, err
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	switch {
	case current.aead == nil:
		return nil, seals.Fail(seals.Misconfigured, fmt.Errorf("%w: current_key is required", ErrParams),
			"set current_key and current_key_id, or %sCURRENT_KEY and %[1]sCURRENT_KEY_ID", prefixes[0])
	case previous.id == current.id:
		return nil, seals.Fail(seals.Misconfigured, fmt.Errorf("%w: both keys have the id %q", ErrParams, current.id),
			"give the new key an id that was never used")
	}
	return &keys{current: current, previous: previous}, nil
}

// readKey reads a key and its id. It returns a zero key where neither is set.
func readKey(p *seals.Params, name, idName string) (key, error) {
	id := p.Get(idName)
	raw, err := p.Raw(name)
	if err != nil {
		return key{}, seals.Fail(seals.Misconfigured, err, "correct %s, or store the key where it points", name)
	}
	defer raw.Destroy()
	switch {
	case raw == nil && id == "":
		return key{}, nil
	case raw == nil || id == "":
		return key{}, seals.Fail(
			seals.Misconfigured,
			fmt.Errorf("%w: %s requires %s, and vice versa", ErrParams, name, idName),
			"set both or neither",
		)
	case len(id) > maxKeyID:
		return key{}, seals.Fail(
			seals.Misconfigured,
			fmt.Errorf("%w: %s is longer than %d bytes", ErrParams, idName, maxKeyID),
			"shorten it",
		)
	}
	plain, err := parseKey(raw.Expose())
	if err != nil {
		return key{}, seals.Fail(seals.Misconfigured, fmt.Errorf("%s: %w", name, err),
			"generate one with: head -c 32 /dev/urandom | base64")
	}
	defer plain.Destroy()
	block, err := aes.NewCipher(plain.Expose())
	if err != nil {
		return key{}, seals.Fail(seals.Misconfigured, fmt.Errorf("%s: %w", name, ErrKey), "generate another key")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return key{}, seals.Fail(seals.Unknown, err, "report this as a bug")
	}
	return key{id: id, aead: aead}, nil
}

// parseKey distinguishes the forms of a key by their lengths, which all differ.
func parseKey(value []byte) (*secret.Bytes, error) {
	if len(value) == keyLen {
		return secret.Copy(value), nil
	}
	text := bytes.TrimSpace(value)
	out := make([]byte, keyLen+1) // base64 decodes to groups of three bytes
	var n int
	var err error
	switch len(text) {
	case hex.EncodedLen(keyLen):
		n, err = hex.Decode(out, text)
	case base64.StdEncoding.EncodedLen(keyLen):
		n, err = base64.StdEncoding.Strict().Decode(out, text)
	case base64.RawURLEncoding.EncodedLen(keyLen):
		n, err = base64.RawURLEncoding.Strict().Decode(out, text)
	default:
		err = ErrKey
	}
	if err != nil || n != keyLen {
		clear(out)
		return nil, fmt.Errorf("%w; this one has %d characters, or an invalid character", ErrKey, len(text))
	}
	return secret.New(out[:keyLen]), nil
}

// Encrypt encrypts with the current key.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	aad, err := begin(ctx, options)
	if err != nil {
		return nil, err
	}
	k := w.keys.Load().current
	out := make([]byte, 1, 1+k.aead.Overhead()+len(plain))
	out[0] = blobVersion
	return &wrapping.BlobInfo{
		Ciphertext: k.aead.Seal(out, nil, plain, k.bind(aad)),
		KeyInfo:    &wrapping.KeyInfo{KeyId: k.id},
	}, nil
}

// Decrypt decrypts with the key that the blob names.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	aad, err := begin(ctx, options)
	if err != nil {
		return nil, err
	}
	sealed := blob.GetCiphertext()
	if len(sealed) < 2 || sealed[0] != blobVersion {
		return nil, corrupt()
	}
	k, err := w.keys.Load().find(blob.KeyInfo.GetKeyId())
	if err != nil {
		return nil, err
	}
	plain, err := k.aead.Open(nil, nil, sealed[1:], k.bind(aad))
	if err != nil {
		return nil, corrupt()
	}
	return plain, nil
}

func (k *keys) find(id string) (key, error) {
	switch {
	case id == "":
		return key{}, corrupt()
	case id == k.current.id:
		return k.current, nil
	case id == k.previous.id:
		return k.previous, nil
	}
	return key{}, seals.Fail(seals.WrongKey, fmt.Errorf("%w: %q", ErrOtherKey, id),
		"configure that key as previous_key, with previous_key_id = %q", id)
}

// bind returns the additional data of a key's blobs.
func (k key) bind(aad []byte) []byte {
	b := cryptobyte.NewBuilder([]byte(aadDomain))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(k.id)) })
	b.AddBytes(aad)
	return b.BytesOrPanic()
}

// KeyId returns current_key_id.
func (w *Wrapper) KeyId(context.Context) (string, error) { return w.keys.Load().current.id, nil }

// Describe names the current key, so that parts wrapped by the previous one are rewrapped.
func (w *Wrapper) Describe(context.Context) (seals.KeyState, error) {
	return seals.KeyState{ID: w.keys.Load().current.id, State: "enabled", Protection: "software"}, nil
}

// Type returns "static".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) { return Type, nil }

// SetConfig replaces the keys by those in the options' map, read as by [New]; without a map it
// changes nothing. It reads the environment as New does, unless the options forbid it.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	opts, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(opts.WithConfigMap) > 0 {
		c := w.config
		c.Params = opts.WithConfigMap
		if opts.WithDisallowEnvVars {
			c.Getenv = nil
		}
		k, err := configure(c)
		if err != nil {
			return nil, err
		}
		w.keys.Store(k)
	}
	k := w.keys.Load()
	return &wrapping.WrapperConfig{
		Metadata: map[string]string{"current_key_id": k.current.id, "previous_key_id": k.previous.id},
	}, nil
}

func begin(ctx context.Context, options []wrapping.Option) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, seals.Fail(seals.Unreachable, err, "the request was cancelled before it began; try again")
	}
	opts, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, seals.Fail(
			seals.Unknown,
			err,
			"the caller passed an option of another wrapper; report this as a bug",
		)
	}
	return opts.WithAad, nil
}

func corrupt() error {
	return seals.Fail(seals.Corrupt, ErrBlob,
		"the stored seal record is damaged or belongs to another server; restore it from a backup")
}
