// Package static is a seal whose key stands in the configuration, the environment or a file. It is OpenBao's static
// seal by its parameters and variables.
//
// It guarantees that a blob opens only under the key named in it and with the same additional data (AES-256-GCM). It
// does not protect a key from whoever reads the machine's disk or environment: it is for tests, for
// development, and for platforms that inject secrets from a protected place.
//
// To rotate, make the old key previous_key, add the new one as current_key under another id, and restart: the
// server wraps its root key again by the new one, and then needs the old one no more.
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
	// ErrKey is the cause of Misconfigured for a key that is in none of the accepted forms.
	ErrKey = errors.New("a key is 32 bytes: raw, as 64 hexadecimal digits, as 44 characters of base64, or as 43 of unpadded base64url")
	// ErrParams is the cause of Misconfigured for parameters that are missing or contradict each other.
	ErrParams = errors.New("parameters are missing or contradict each other")
	// ErrOtherKey is the cause of WrongKey: the blob names neither the current nor the previous key.
	ErrOtherKey = errors.New("the blob was wrapped by another key")
	// ErrBlob is the cause of Corrupt: the blob is malformed, or fails its authentication.
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

// prefixes of environment variables, the strongest first.
var prefixes = []string{"SEALGATE_STATIC_SEAL_", "BAO_STATIC_SEAL_"}

// Wrapper wraps keys by AES-256-GCM under the current key, and unwraps by the current or the previous one. It
// is safe for concurrent use.
//
// The ciphertext of its blobs is
//
//	version u8 = 1 | nonce 12, random | ciphertext | tag 16
//
// with the additional data "sealgate/seals/static/v1" 00 | length u8, key id | the caller's additional data.
type Wrapper struct {
	keys   atomic.Pointer[keys]
	config seals.Config // New's, for SetConfig
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
//	current_key, current_key_id      what wraps, and its name in blobs; both needed
//	previous_key, previous_key_id    what still unwraps; both or none
//
// Keys may be "env://NAME" or "file://PATH"; a file may hold the 32 raw bytes. SEALGATE_STATIC_SEAL_CURRENT_KEY and so
// on win over BAO_STATIC_SEAL_CURRENT_KEY and so on, and those over the stanza. The result is a *[Wrapper].
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
			"give the new key an id that no key had before")
	}
	return &keys{current: current, previous: previous}, nil
}

// readKey reads a key and its id; a zero key where neither is set.
func readKey(p *seals.Params, name, idName string) (key, error) {
	id := p.Get(idName)
	raw, err := p.Raw(name)
	if err != nil {
		return key{}, seals.Fail(seals.Misconfigured, err, "correct %s, or put the key where it says", name)
	}
	defer raw.Destroy()
	switch {
	case raw == nil && id == "":
		return key{}, nil
	case raw == nil || id == "":
		return key{}, seals.Fail(seals.Misconfigured, fmt.Errorf("%w: %s and %s belong together", ErrParams, name, idName), "set both or none")
	case len(id) > maxKeyID:
		return key{}, seals.Fail(seals.Misconfigured, fmt.Errorf("%w: %s is longer than %d bytes", ErrParams, idName, maxKeyID), "shorten it")
	}
	plain, err := parseKey(raw.Expose())
	if err != nil {
		return key{}, seals.Fail(seals.Misconfigured, fmt.Errorf("%s: %w", name, err),
			"make one with: head -c 32 /dev/urandom | base64")
	}
	defer plain.Destroy()
	block, err := aes.NewCipher(plain.Expose())
	if err != nil {
		return key{}, seals.Fail(seals.Misconfigured, fmt.Errorf("%s: %w", name, ErrKey), "make another key")
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return key{}, seals.Fail(seals.Unknown, err, "this is a defect of the program")
	}
	return key{id: id, aead: aead}, nil
}

// parseKey tells the forms of a key apart by their lengths, which all differ.
func parseKey(value []byte) (*secret.Bytes, error) {
	if len(value) == keyLen {
		return secret.Copy(value), nil
	}
	text := bytes.TrimSpace(value)
	out := make([]byte, keyLen+1) // base64 decodes in groups of three bytes
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
		return nil, fmt.Errorf("%w; this one has %d characters, or a wrong one among them", ErrKey, len(text))
	}
	return secret.New(out[:keyLen]), nil
}

// Encrypt wraps by the current key.
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

// Decrypt unwraps by the key that the blob names.
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
		"configure that key as previous_key, with previous_key_id %q", id)
}

// bind is the additional data of a key's blobs.
func (k key) bind(aad []byte) []byte {
	b := cryptobyte.NewBuilder([]byte(aadDomain))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(k.id)) })
	b.AddBytes(aad)
	return b.BytesOrPanic()
}

// KeyId is current_key_id.
func (w *Wrapper) KeyId(context.Context) (string, error) { return w.keys.Load().current.id, nil }

// Describe names the current key, so that what the previous one wrapped is wrapped again by itself.
func (w *Wrapper) Describe(context.Context) (seals.KeyState, error) {
	return seals.KeyState{ID: w.keys.Load().current.id, State: "enabled", Protection: "software"}, nil
}

// Type is "static".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) { return Type, nil }

// SetConfig replaces the keys by those of the options' map, read by the rules of [New]; without a map it
// changes nothing. The environment is looked at as in New, unless the options forbid it.
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
	return &wrapping.WrapperConfig{Metadata: map[string]string{"current_key_id": k.current.id, "previous_key_id": k.previous.id}}, nil
}

func begin(ctx context.Context, options []wrapping.Option) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, seals.Fail(seals.Unreachable, err, "the request was given up before it began; try again")
	}
	opts, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, seals.Fail(seals.Unknown, err, "the caller passed an option of another wrapper; this is a defect of the program")
	}
	return opts.WithAad, nil
}

func corrupt() error {
	return seals.Fail(seals.Corrupt, ErrBlob, "the stored seal record is damaged, or was moved here from elsewhere; restore it from a backup")
}
