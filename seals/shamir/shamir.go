// Package shamir is the seal that a quorum of unseal custodians unlocks with their shares.
//
// Encrypt needs no shares: it encrypts to the quorum's public key (HPKE, RFC 9180, with
// MLKEM768-X25519, HKDF-SHA256 and AES-256-GCM). Decrypt needs the private key, which is derived
// from the seed that the shares combine to: Unlock sets it, Lock drops it. So a new root key can be
// wrapped to the quorum without its shares.
//
//	shares ─combine▶ seed ─derive▶ private key ─▶ Decrypt
//	                                    │
//	                               public key ─▶ Encrypt
//
// The package guarantees that a blob decrypts only with the key named in it and with the same
// additional data, and that Unlock refuses the seed of another quorum. It does not guarantee that
// the public key is the right one: the caller must take it from an authenticated record. Lock drops
// the private key without wiping it, because crypto/hpke cannot.
//
// The blob format stays compatible: see [Wrapper].
package shamir

import (
	"bytes"
	"context"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// Causes of the failures of this seal.
var (
	// ErrLocked is the cause of Denied before Unlock and after Lock.
	ErrLocked = errors.New("needs the quorum's shares")
	// ErrNoPublicKey is the cause of Misconfigured before a public key was set.
	ErrNoPublicKey = errors.New("no public key of a quorum is known")
	// ErrOtherQuorum is the cause of WrongKey for a blob or seed of another quorum.
	ErrOtherQuorum = errors.New("it belongs to another quorum")
	// ErrBlob is the cause of Corrupt for a blob that is malformed or fails its authentication.
	ErrBlob = errors.New("the wrapped key fails its authentication")
)

// Type is the type of the seal in configuration and status.
const Type = wrapping.WrapperTypeShamir

const (
	blobVersion = 1
	infoDomain  = "sealgate/seals/shamir/v1\x00"
	maxAAD      = 1 << 16
)

// Wrapper wraps keys to a quorum. It is safe for concurrent use.
//
// The ciphertext of its blobs is
//
//	version u8 = 1 | encapsulated key 1120 | AES-256-GCM ciphertext and tag
//
// under the HPKE info "sealgate/seals/shamir/v1" 00 | length u32, additional data; the blob's key
// id is "shamir:" and the first 16 bytes of the public key's SHA-256 in hexadecimal.
type Wrapper struct {
	mu      sync.RWMutex
	public  hpke.PublicKey // nil: not set
	id      string
	private hpke.PrivateKey // nil: locked; belongs to public
	record  *seals.Secret   // the key that authenticates records; nil: locked
	legacy  bool            // the share set was made before records were authenticated
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Quorum     = (*Wrapper)(nil)

	_ seals.RecordAuthenticator = (*Wrapper)(nil)

	_ seals.Factory = New
)

// New makes a seal without a quorum. The stanza has no parameters. The result is a *[Wrapper].
func New(c seals.Config) (wrapping.Wrapper, error) {
	if err := seals.NewParams(c).Check(); err != nil {
		return nil, err
	}
	return new(Wrapper), nil
}

// KeyIDOf returns the key id of blobs for a public key.
func KeyIDOf(public []byte) string {
	sum := sha256.Sum256(public)
	return "shamir:" + hex.EncodeToString(sum[:16])
}

// SetPublicKey sets the quorum that Encrypt encrypts to. It drops the private key of another
// quorum.
func (w *Wrapper) SetPublicKey(public []byte) error {
	key, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return seals.Fail(
			seals.Corrupt,
			fmt.Errorf("the quorum's public key: %w", err),
			"restore the sealed record from a backup",
		)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.public != nil && !bytes.Equal(w.public.Bytes(), public) {
		w.forget()
	}
	w.public, w.id = key, KeyIDOf(public)
	return nil
}

// For returns a wrapper for another quorum.
func (w *Wrapper) For(public []byte) (wrapping.Wrapper, error) {
	other := new(Wrapper)
	if err := other.SetPublicKey(public); err != nil {
		return nil, err
	}
	return other, nil
}

// Unlock sets the private key from the seed that the shares combined to. It also sets the public
// key where none is set.
func (w *Wrapper) Unlock(key []byte) error {
	seed := secret.Copy(key)
	defer seed.Destroy()
	const remedy = "enter the shares of this server's quorum"
	private, err := recovery.SealKey(seed)
	if err != nil {
		return seals.Fail(seals.WrongKey, err, remedy)
	}
	old, err := recovery.PrivateKey(seed)
	if err != nil {
		return seals.Fail(seals.WrongKey, err, remedy)
	}
	record, err := recovery.RecordKey(seed)
	if err != nil {
		return seals.Fail(seals.WrongKey, err, remedy)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.public == nil {
		w.public, w.id = private.PublicKey(), KeyIDOf(private.PublicKey().Bytes())
	}
	legacy := bytes.Equal(w.public.Bytes(), old.PublicKey().Bytes())
	switch {
	case legacy:
		private = old
	case !bytes.Equal(w.public.Bytes(), private.PublicKey().Bytes()):
		record.Destroy()
		return seals.Fail(seals.WrongKey, ErrOtherQuorum, remedy)
	}
	w.record.Destroy()
	w.private, w.record, w.legacy = private, secret.Locked(record.Expose()), legacy
	record.Destroy()
	return nil
}

// RecordKey implements [seals.RecordAuthenticator]. The key is nil while locked.
func (w *Wrapper) RecordKey() (key *seals.Secret, required bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.record.Clone(), !w.legacy
}

// Lock drops the private key and wipes the record key.
func (w *Wrapper) Lock() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget()
}

func (w *Wrapper) forget() {
	w.record.Destroy()
	w.private, w.record = nil, nil
}

// Encrypt encrypts to the quorum's public key.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	info, err := begin(ctx, options)
	if err != nil {
		return nil, err
	}
	w.mu.RLock()
	public, id := w.public, w.id
	w.mu.RUnlock()
	if public == nil {
		return nil, noPublicKey()
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plain)
	if err != nil {
		return nil, seals.Fail(seals.Unknown, err, "report this as a bug")
	}
	return &wrapping.BlobInfo{
		Ciphertext: append([]byte{blobVersion}, sealed...),
		KeyInfo:    &wrapping.KeyInfo{KeyId: id},
	}, nil
}

// Decrypt decrypts a blob with the private key that Unlock set.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	info, err := begin(ctx, options)
	if err != nil {
		return nil, err
	}
	sealed := blob.GetCiphertext()
	if len(sealed) < 2 || sealed[0] != blobVersion || blob.KeyInfo.GetKeyId() == "" {
		return nil, corrupt(ErrBlob)
	}
	w.mu.RLock()
	public, id, private := w.public, w.id, w.private
	w.mu.RUnlock()
	switch {
	case public == nil:
		return nil, noPublicKey()
	case blob.KeyInfo.GetKeyId() != id:
		return nil, seals.Fail(seals.WrongKey, ErrOtherQuorum,
			"the shares were replaced after this blob was written; restore a backup whose parts are all of one time")
	case private == nil:
		return nil, seals.Fail(seals.Denied, ErrLocked, "have a threshold of share holders run 'operator unseal'")
	}
	plain, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed[1:])
	if err != nil {
		return nil, corrupt(fmt.Errorf("%w: %w", ErrBlob, err))
	}
	return plain, nil
}

// KeyId returns the id of the quorum's public key.
func (w *Wrapper) KeyId(context.Context) (string, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.public == nil {
		return "", noPublicKey()
	}
	return w.id, nil
}

// Type returns "shamir".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) { return Type, nil }

// SetConfig refuses parameters, because the seal has none. It returns the key id, "" without a
// quorum.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	opts, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if err := seals.NewParams(seals.Config{Type: string(Type), Params: opts.WithConfigMap}).Check(); err != nil {
		return nil, err
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	return &wrapping.WrapperConfig{Metadata: map[string]string{"key_id": w.id}}, nil
}

// begin checks the context and encodes the additional data as the info parameter of HPKE.
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
	if len(opts.WithAad) > maxAAD {
		return nil, seals.Fail(
			seals.Unknown,
			fmt.Errorf("%d bytes of additional data exceed %d", len(opts.WithAad), maxAAD),
			"report this as a bug",
		)
	}
	b := cryptobyte.NewBuilder([]byte(infoDomain))
	b.AddUint32(uint32(len(opts.WithAad)))
	b.AddBytes(opts.WithAad)
	return b.BytesOrPanic(), nil
}

func corrupt(err error) error {
	return seals.Fail(seals.Corrupt, err,
		"the stored seal record is damaged or belongs to another server; restore it from a backup")
}

func noPublicKey() error {
	return seals.Fail(
		seals.Misconfigured,
		ErrNoPublicKey,
		"initialise the server first: 'operator init' creates the quorum",
	)
}
