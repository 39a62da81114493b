package device

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/secret"
)

// Rooted is the name of the provider whose keys are software keys that a device key has wrapped.
// Each use unwraps the key in the device, or, under a lease, the first of a bounded number in a
// bounded time.
const Rooted = "rooted"

// Bounds of a lease.
const (
	minLease = time.Minute
	maxLease = 24 * time.Hour
	maxUses  = 1 << 30
)

// rootedReference is what a version of a rooted key stores:
//
//	version u8 = 2 | lease i64, ns | uses u32 | root u16-length | wrapped u24-length
//
// root is the [reference] of the wrapping key. wrapped is the reference of the software key under
// it, with the additional data of [rootedAAD].
type rootedReference struct {
	lease   time.Duration // 0: none
	uses    int           // 0: no limit
	root    reference
	wrapped []byte
}

const rootedVersion = 2

func (r rootedReference) marshal() (*secret.Bytes, error) {
	root, err := r.root.marshal()
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder([]byte{rootedVersion})
	b.AddUint64(uint64(r.lease))
	b.AddUint32(uint32(r.uses))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(root.Expose()) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(r.wrapped) })
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("device: encoding a reference: %w", err)
	}
	return secret.New(out), nil
}

func parseRooted(b []byte) (r rootedReference, err error) {
	in := cryptobyte.String(b)
	var version uint8
	var lease uint64
	var uses uint32
	var root, wrapped cryptobyte.String
	if !in.ReadUint8(&version) || version != rootedVersion || !in.ReadUint64(&lease) || !in.ReadUint32(&uses) ||
		!in.ReadUint16LengthPrefixed(&root) || !in.ReadUint24LengthPrefixed(&wrapped) || !in.Empty() ||
		lease > uint64(maxLease) || uses > maxUses {
		return r, fmt.Errorf("%w: version %d of a rooted key is expected", ErrRecord, rootedVersion)
	}
	r = rootedReference{lease: time.Duration(lease), uses: int(uses), wrapped: append([]byte(nil), wrapped...)}
	r.root, err = parseReference(root)
	return r, err
}

// rootedAAD binds a wrapped key to its type and its public part.
func rootedAAD(s keys.Spec, public []byte) []byte {
	b := append([]byte("sealgate/keys/rooted/v1\x00"), byte(s.Type), 0, byte(s.ParameterSet))
	if s.Derived {
		b[len(b)-2] |= 1
	}
	if s.Convergent {
		b[len(b)-2] |= 2
	}
	return append(b, public...)
}

// Root makes a software key, and has the key of an entry wrap it.
func (m *Mount) Root(
	ctx context.Context, f Face, name string, spec keys.Spec, lease time.Duration, uses int,
) (c Chosen, err error) {
	switch {
	case lease != 0 && (lease < minLease || lease > maxLease):
		return c, fault.New(fault.Invalid, "lease_ttl must be 0, or from %s to %s", minLease, maxLease)
	case uses < 0 || uses > maxUses || uses > 0 && lease == 0:
		return c, fault.New(fault.Invalid, "max_uses must be from 0 to %d, and needs a lease_ttl", maxUses)
	}
	root, err := m.Adopt(ctx, f, name)
	if err != nil {
		return c, err
	}
	if !root.Spec.Type.AEAD() {
		return c, fault.New(fault.Invalid, "a root key must be an AES key; %s is of type %s", name, root.Spec.Type)
	}
	ref, err := parseReference(root.Material.Reference.Expose())
	if err != nil {
		return c, err
	}
	return m.root(ctx, rootedReference{lease: lease, uses: uses, root: ref}, root.Spec, spec)
}

// Reroot makes the next version of a rooted key, under the same root and with the same lease.
func (m *Mount) Reroot(ctx context.Context, of keys.Material, spec keys.Spec) (c Chosen, err error) {
	old, err := parseRooted(of.Reference.Expose())
	if err != nil {
		return c, err
	}
	return m.root(ctx, old, keys.Spec{Type: keys.AES256GCM}, spec)
}

func (m *Mount) root(ctx context.Context, r rootedReference, by, spec keys.Spec) (c Chosen, err error) {
	software, err := keys.NewSoftware(rand.Reader).Generate(ctx, spec)
	if err != nil {
		return c, err
	}
	defer software.Reference.Destroy()
	h := &cipherHandle{&handle{m: m, ref: r.root, spec: by, anySize: true}}
	p := keys.CipherParams{AAD: rootedAAD(spec, software.Public)}
	if r.wrapped, err = h.Encrypt(ctx, nil, software.Reference.Expose(), p); err != nil {
		return c, err
	}
	back, err := h.Decrypt(ctx, nil, r.wrapped, p)
	defer clear(back)
	if err != nil {
		return c, err
	}
	if !secret.New(back).Equal(software.Reference) {
		return c, failed(r.root.entry, same([]byte{1}, nil))
	}
	stored, err := r.marshal()
	return Chosen{Rooted, spec, keys.Material{Reference: stored, Public: software.Public}}, err
}

// rooted opens the versions of rooted keys.
type rooted struct{ m *Mount }

func (p *rooted) Generate(context.Context, keys.Spec) (keys.Material, error) {
	return keys.Material{}, fault.New(fault.Invalid, "name the root key of the new version")
}

// Open returns a handle. It does not touch the device.
func (p *rooted) Open(_ context.Context, s keys.Spec, v keys.Material) (any, error) {
	ref, err := parseRooted(v.Reference.Expose())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", keys.ErrRecord, err)
	}
	f := keys.Fingerprint(string(ref.wrapped))
	h := &rootedHandle{m: p.m, ref: ref, spec: s, public: v.Public, name: hex.EncodeToString(f[:])}
	h.root = &cipherHandle{&handle{m: p.m, ref: ref.root, spec: keys.Spec{Type: keys.AES256GCM}, anySize: true}}
	switch {
	case s.Type.RSA():
		return &rootedBoth{rootedMAC{h}}, nil
	case s.Type.AEAD():
		return &rootedCipher{rootedMAC{h}}, nil
	case s.Type.CMAC():
		return &rootedCMAC{rootedMAC{h}}, nil
	case s.Type.Agrees():
		return &rootedAgreer{rootedSigner{rootedMAC{h}}}, nil
	case s.Type.Asymmetric():
		return &rootedSigner{rootedMAC{h}}, nil
	}
	return &rootedMAC{h}, nil
}

// Rooting describes the root that a version refers to.
type Rooting struct {
	Face  Face
	Entry string // label
	Lease time.Duration
	Uses  int
}

// RootedBy reads the reference of a version of a rooted key.
func RootedBy(of keys.Material) (Rooting, error) {
	r, err := parseRooted(of.Reference.Expose())
	return Rooting{r.root.face, r.root.entry, r.lease, r.uses}, err
}

// rootedHandle is a version of a rooted key.
type rootedHandle struct {
	m      *Mount
	ref    rootedReference
	spec   keys.Spec
	public []byte
	name   string // in audit entries and the log: a fingerprint of the wrapped key
	root   *cipherHandle
	leases leases
}

// permit checks that the mount may use the root key: the end of the permission ends a lease.
func (h *rootedHandle) permit(ctx context.Context) error { return h.root.handle.permit(ctx, Decrypt) }

// unwrap has the device decrypt the key, for one operation of the caller.
func (h *rootedHandle) unwrap(ctx context.Context) (*held, error) {
	plain, err := h.root.Decrypt(ctx, nil, h.ref.wrapped, keys.CipherParams{AAD: rootedAAD(h.spec, h.public)})
	if err != nil {
		if fault.Is(err, fault.Invalid) && errors.Is(err, keys.ErrGCM) {
			err = fault.Wrap(err, fault.Unavailable, "the wrapped key cannot be decrypted by its root key %s: have the key "+
				"restored that wrapped it", h.ref.root.entry)
		}
		return nil, err
	}
	k := &held{secret: secret.New(plain), users: 1}
	k.handle, err = keys.NewSoftware(rand.Reader).Open(ctx, h.spec, keys.Material{Reference: k.secret, Public: h.public})
	if err != nil {
		k.secret.Destroy()
		return nil, err
	}
	return k, nil
}

// cause returns what is behind an error for clients.
func cause(err error) error {
	var ours *fault.Error
	if errors.As(err, &ours) && ours.Cause != nil {
		return ours.Cause
	}
	return err
}

// rootedMAC and the types around it are what a rooted key can do: all that its software key can,
// but for leaving.
type rootedMAC struct{ *rootedHandle }

func (h *rootedMAC) Fingerprint() [8]byte { return keys.Fingerprint(string(h.ref.wrapped)) }

func (h *rootedMAC) HMAC(ctx context.Context, input []byte, hash crypto.Hash) ([]byte, error) {
	return with(ctx, h.rootedHandle, func(k keys.MACer) ([]byte, error) { return k.HMAC(ctx, input, hash) })
}

type rootedCMAC struct{ rootedMAC }

func (h *rootedCMAC) CMAC(ctx context.Context, input []byte) ([]byte, error) {
	return with(ctx, h.rootedHandle, func(k keys.CMACer) ([]byte, error) { return k.CMAC(ctx, input) })
}

type rootedCipher struct{ rootedMAC }

func (h *rootedCipher) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	return with(ctx, h.rootedHandle, func(k keys.Encrypter) ([]byte, error) { return k.Encrypt(ctx, dst, plain, p) })
}

func (h *rootedCipher) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	return with(ctx, h.rootedHandle, func(k keys.Encrypter) ([]byte, error) { return k.Decrypt(ctx, dst, blob, p) })
}

type rootedSigner struct{ rootedMAC }

func (h *rootedMAC) sign(ctx context.Context, input []byte, p keys.SignParams) ([]byte, error) {
	return with(ctx, h.rootedHandle, func(k keys.Signer) ([]byte, error) { return k.Sign(ctx, input, p) })
}

func (h *rootedMAC) verify(ctx context.Context, input, signature []byte, p keys.SignParams) (bool, error) {
	return with(ctx, h.rootedHandle, func(k keys.Signer) (bool, error) { return k.Verify(ctx, input, signature, p) })
}

func (h *rootedMAC) publicKey(ctx context.Context, keyContext []byte) (crypto.PublicKey, error) {
	return with(ctx, h.rootedHandle, func(k keys.Signer) (crypto.PublicKey, error) { return k.Public(ctx, keyContext) })
}

func (h *rootedSigner) Sign(ctx context.Context, input []byte, p keys.SignParams) ([]byte, error) {
	return h.sign(ctx, input, p)
}

func (h *rootedSigner) Verify(ctx context.Context, input, signature []byte, p keys.SignParams) (bool, error) {
	return h.verify(ctx, input, signature, p)
}

func (h *rootedSigner) Public(ctx context.Context, keyContext []byte) (crypto.PublicKey, error) {
	return h.publicKey(ctx, keyContext)
}

type rootedAgreer struct{ rootedSigner }

func (h *rootedAgreer) Agree(ctx context.Context, peer *ecdh.PublicKey) (*secret.Bytes, error) {
	return with(ctx, h.rootedHandle, func(k keys.Agreer) (*secret.Bytes, error) { return k.Agree(ctx, peer) })
}

// rootedBoth is an RSA key.
type rootedBoth struct{ rootedMAC }

func (h *rootedBoth) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	return (&rootedCipher{h.rootedMAC}).Encrypt(ctx, dst, plain, p)
}

func (h *rootedBoth) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	return (&rootedCipher{h.rootedMAC}).Decrypt(ctx, dst, blob, p)
}

func (h *rootedBoth) Sign(ctx context.Context, input []byte, p keys.SignParams) ([]byte, error) {
	return h.sign(ctx, input, p)
}

func (h *rootedBoth) Verify(ctx context.Context, input, signature []byte, p keys.SignParams) (bool, error) {
	return h.verify(ctx, input, signature, p)
}

func (h *rootedBoth) Public(ctx context.Context, keyContext []byte) (crypto.PublicKey, error) {
	return h.publicKey(ctx, keyContext)
}
