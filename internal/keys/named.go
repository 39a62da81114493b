package keys

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
)

// Opener is implemented by backends whose keys other protocols serve: the transit engine. A gateway
// finds the backend with the mount table's Route and asserts it:
//
//	backend, _, name, err := role.Mounts().Route("transit/orders")
//	key, err := backend.(keys.Opener).OpenKey(ctx, name, "xks:store-one")
type Opener interface {
	// OpenKey returns a key for a caller whose display name the version census shows. A key that was
	// soft-deleted is [ErrSoftDeleted], an absent one [ErrNotFound].
	OpenKey(ctx context.Context, name, by string) (*Named, error)
}

// Named is a key as a protocol beside the transit API uses it: it encrypts and decrypts raw bytes,
// and the caller keeps the version's number. It is a snapshot: open it for each request, which
// costs a lookup in memory, so that a rotation, a new minimum version or a deletion takes effect.
type Named struct {
	key *Key
	by  string
}

// NewNamed returns a key for a caller.
func NewNamed(k *Key, by string) (*Named, error) {
	switch {
	case k.SoftDeleted:
		return nil, ErrSoftDeleted
	case k.Derived:
		return nil, fault.New(fault.Invalid, "the key %s is derived for each context: choose a key without derivation",
			k.Name)
	}
	return &Named{k, by}, nil
}

// Name returns the key's name below its mount. The policy path of its use is, as for transit,
// "<mount>encrypt/<name>" and "<mount>decrypt/<name>", with the capability update.
func (n *Named) Name() string { return n.key.Name }

// Type returns the key's type.
func (n *Named) Type() Type { return n.key.Type }

// Versions returns the oldest version that may decrypt, and the latest, which encrypts.
func (n *Named) Versions() (oldest, latest int) {
	return max(n.key.MinDecryption, n.key.MinAvailable), n.key.Latest
}

// Encrypt encrypts by the latest version. An AEAD's blob is nonce (12 bytes; 24 of
// XChaCha20-Poly1305), ciphertext and tag (16).
func (n *Named) Encrypt(ctx context.Context, plain, aad []byte) (version int, blob []byte, err error) {
	return n.EncryptBy(ctx, n.key.Latest, plain, aad)
}

// EncryptBy encrypts by a version that was read before, such as one whose fingerprint aad holds.
func (n *Named) EncryptBy(ctx context.Context, version int, plain, aad []byte) (_ int, blob []byte, err error) {
	if version, err = n.key.VersionToEncrypt(version, "encryption"); err != nil {
		return 0, nil, err
	}
	e, err := n.encrypter(ctx, version, aad)
	if err != nil {
		return 0, nil, err
	}
	if blob, err = e.Encrypt(ctx, nil, plain, CipherParams{AAD: aad}); err != nil {
		return 0, nil, err
	}
	n.key.CountUse(version, 1, n.by)
	return version, blob, nil
}

// Decrypt decrypts what Encrypt returned for the same aad. The error is of kind Invalid where blob,
// aad and version do not belong together, Unavailable where the key's device does not answer.
func (n *Named) Decrypt(ctx context.Context, version int, blob, aad []byte) ([]byte, error) {
	if err := n.key.CheckDecrypt(version); err != nil {
		return nil, err
	}
	e, err := n.encrypter(ctx, version, aad)
	if err != nil {
		return nil, err
	}
	plain, err := e.Decrypt(ctx, nil, blob, CipherParams{AAD: aad})
	if err != nil {
		return nil, err
	}
	n.key.CountUse(version, 1, n.by)
	return plain, nil
}

func (n *Named) encrypter(ctx context.Context, version int, aad []byte) (Encrypter, error) {
	if !n.key.Type.Encrypts() || len(aad) > 0 && !n.key.Type.AEAD() {
		return nil, fault.New(fault.Invalid, "the key %s of type %s cannot encrypt with additional data: choose an AEAD key",
			n.key.Name, n.key.Type)
	}
	v, err := n.key.Version(ctx, version)
	if err != nil {
		return nil, err
	}
	return n.key.Encrypter(ctx, v)
}

// Fingerprint identifies the key of a version. It is equal for equal keys, whatever their names and
// numbers, and says nothing about them.
func (n *Named) Fingerprint(ctx context.Context, version int) (f [8]byte, err error) {
	v, err := n.key.Version(ctx, version)
	if err != nil {
		return f, err
	}
	h, err := n.key.Handle(ctx, v)
	if err != nil {
		return f, err
	}
	if own, ok := h.(Fingerprinter); ok {
		return own.Fingerprint(), nil
	}
	if v.Material.Public == nil {
		return f, fmt.Errorf("keys: version %d of %s has no fingerprint", version, n.key.Name)
	}
	return fingerprint(v.Material.Public), nil
}

// Fingerprinter is implemented by handles of keys without a public part.
type Fingerprinter interface {
	Fingerprint() [8]byte
}

// fingerprint is the beginning of an HMAC under the key, or under the public part. The keys are
// random, so it cannot be reversed by guessing.
func fingerprint(key []byte) [8]byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("sealgate/keys/fingerprint/v1"))
	return [8]byte(mac.Sum(nil))
}

// Fingerprint implements [Fingerprinter].
func (h *aeadHandle) Fingerprint() [8]byte { return fingerprint(h.key) }
