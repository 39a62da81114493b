package transit

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/secret"
)

// deriveKey makes a key, or another version of one, of what a base key and a peer's public key
// agree on: HKDF-SHA256 of the shared secret, without salt and info, which is OpenBao's
// construction.
func deriveKey(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	name, err := c.name(0)
	if err != nil {
		return nil, err
	}
	spec, err := c.readDerived()
	if err != nil {
		return nil, err
	}
	shared, err := b.agree(ctx, c)
	if err != nil {
		return nil, err
	}
	defer shared.Destroy()
	size := 32
	if spec.Type == keys.AES128GCM {
		size = 16
	}
	raw, err := hkdf.Key(sha256.New, shared.Expose(), nil, "", size)
	if err != nil {
		return nil, fmt.Errorf("transit: deriving a key: %w", err)
	}
	return nil, b.addDerived(ctx, name, spec, incoming{private: secret.New(raw)})
}

func (c *call) readDerived() (s keys.Spec, err error) {
	algorithm, err := c.data.text("key_derivation_algorithm")
	if err != nil {
		return s, err
	}
	if algorithm != "" && algorithm != "ecdh" {
		return s, fault.New(fault.Invalid, "key derivation algorithm %s not supported", algorithm)
	}
	name, err := c.data.text("derived_key_type")
	if err != nil {
		return s, err
	}
	s.Type = keys.AES256GCM
	if name != "" {
		if s.Type, err = keys.ParseType(name); err != nil || !s.Type.AEAD() {
			return s, fault.New(fault.Invalid, "unknown key type %s", name)
		}
	}
	return s, nil
}

// addDerived stores a derived key: as a new one, or as another version.
func (b *backend) addDerived(ctx context.Context, name string, spec keys.Spec, in incoming) error {
	v, err := in.version(ctx, b.keys, spec)
	if err != nil {
		return err
	}
	_, err = b.keys.Create(ctx, name, keys.Settings{Spec: spec, Imported: true},
		func(context.Context, *keys.Key) (*keys.Version, error) {
			return v, nil
		})
	if !errors.Is(err, keys.ErrExists) {
		return err
	}
	_, err = b.keys.Change(ctx, name, func(_ context.Context, ch *keys.Change) error {
		switch {
		case ch.SoftDeleted:
			return keys.ErrSoftDeleted
		case ch.Type != spec.Type || !ch.Imported:
			return fault.New(fault.Invalid, "the key %s exists, and is not a derived key of type %s: derive to another name",
				name, spec.Type)
		}
		ch.Add(v)
		return nil
	})
	return err
}

// agree computes the shared secret.
func (b *backend) agree(ctx context.Context, c *call) (*secret.Bytes, error) {
	text, err := c.data.text("peer_public_key")
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, fault.New(fault.Invalid, "peer public key not provided")
	}
	base, err := c.data.text("base_key_name")
	if err != nil {
		return nil, err
	}
	k, err := b.keys.Get(ctx, base)
	switch {
	case errors.Is(err, keys.ErrNotFound), err == nil && !validName(base):
		return nil, fault.New(fault.Invalid, "specified base key not found")
	case err != nil:
		return nil, err
	case k.SoftDeleted:
		return nil, keys.ErrSoftDeleted
	case !k.Type.Agrees():
		return nil, fault.New(fault.Invalid, "base key type %s does not support key agreement", k.Type)
	}
	peer, err := readPeer(k, text)
	if err != nil {
		return nil, err
	}
	n, err := c.data.number("base_key_version")
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		n = k.Latest
	case n > k.Latest:
		return nil, keys.Errors("requested version of the base key is higher than the latest key version")
	case n < k.MinDecryption:
		return nil, keys.Errors("requested version of the base key is less than the minimum decryption key version")
	}
	v, err := k.Version(ctx, n)
	if err != nil {
		return nil, err
	}
	a, err := k.Agreer(ctx, v)
	if err != nil {
		return nil, err
	}
	k.CountUse(n, 1, c.by())
	return a.Agree(ctx, peer)
}

func readPeer(k *keys.Key, text string) (*ecdh.PublicKey, error) {
	bad := keys.Errors("failed to parse supplied peer public key PEM: data does not contain any valid public keys")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, bad
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, bad
	}
	e, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return nil, bad
	}
	if "ecdsa-p"+e.Curve.Params().Name[2:] != k.Type.String() {
		return nil, keys.Errors("base private key type %s does not match peer public key curve", k.Type)
	}
	peer, err := e.ECDH()
	if err != nil {
		return nil, bad
	}
	return peer, nil
}
