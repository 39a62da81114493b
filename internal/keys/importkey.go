package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// Import takes private key material. The texts are OpenBao's.
func (p *software) Import(_ context.Context, s Spec, private *secret.Bytes) (Material, error) {
	if err := s.Check(); err != nil {
		return Material{}, err
	}
	raw := private.Expose()
	switch {
	case s.Type.Symmetric():
		if n := s.materialSize(); len(raw) != n {
			return Material{}, Errors("error importing key: invalid key size %d bytes for key type %s", len(raw), s.Type)
		}
		return p.material(s, raw, nil)
	case s.Type == MLDSA:
		return p.importMLDSA(s, raw)
	}
	k, err := parsePrivate(raw)
	if err != nil {
		return Material{}, err
	}
	return p.importSigner(s, k)
}

func parsePrivate(der []byte) (crypto.Signer, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, Errors("error importing key: error parsing asymmetric key: the key is not PKCS #8 in DER")
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, Errors("error importing key: invalid key type: a key of this algorithm cannot be used")
	}
	return signer, nil
}

func (p *software) importSigner(s Spec, k crypto.Signer) (Material, error) {
	if err := checkPublic(s.Type, k.Public()); err != nil {
		return Material{}, err
	}
	private, public, err := marshalPair(k)
	if err != nil {
		return Material{}, err
	}
	defer clear(private)
	if e, ok := k.(ed25519.PrivateKey); ok {
		return p.material(s, e.Seed(), public)
	}
	return p.material(s, private, public)
}

func (p *software) importMLDSA(s Spec, seed []byte) (Material, error) {
	scheme, err := mldsaScheme(s.ParameterSet)
	if err != nil {
		return Material{}, err
	}
	if len(seed) != scheme.SeedSize() {
		return Material{},
			Errors("error importing key: invalid key size %d bytes for key type %s: the seed of FIPS 204 has %d",
				len(seed), s.Type, scheme.SeedSize())
	}
	pub, _ := scheme.DeriveKey(seed)
	public, err := pub.MarshalBinary()
	if err != nil {
		return Material{}, err
	}
	return p.material(s, seed, public)
}

// ImportPublic takes a public key, as PKIX in DER.
func (p *software) ImportPublic(_ context.Context, s Spec, public []byte) (Material, error) {
	if err := s.Check(); err != nil {
		return Material{}, err
	}
	if !s.Type.Asymmetric() || s.Type == MLDSA {
		return Material{}, Errors("provided type does not support public_key import")
	}
	k, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return Material{}, Errors("error importing key: error parsing public key: it is not PKIX in PEM")
	}
	if err := checkPublic(s.Type, k); err != nil {
		return Material{}, err
	}
	return p.material(s, nil, public)
}

// checkPublic refuses a key that is not of the type.
func checkPublic(t Type, k crypto.PublicKey) error {
	tr := t.traits()
	switch k := k.(type) {
	case *ecdsa.PublicKey:
		if tr.family != ecdsaFamily {
			break
		}
		if k.Curve != tr.curve {
			return Errors("error importing key: invalid curve: expected %s, got %s", tr.curve.Params().Name,
				k.Curve.Params().Name)
		}
		return nil
	case ed25519.PublicKey:
		if tr.family == ed25519Family {
			return nil
		}
	case *rsa.PublicKey:
		if tr.family != rsaFamily {
			break
		}
		if k.N.BitLen() != tr.bits {
			return Errors("error importing key: invalid key size: expected %d bits, got %d bits", tr.bits, k.N.BitLen())
		}
		return nil
	}
	return Errors("error importing key: invalid key type: expected %s, got another algorithm", t)
}

// A wrapped key is, as Vault's BYOK has it,
//
//	an AES-256 key, by RSA-OAEP with SHA-256 or another hash and an empty label |
//	the key, by AES-KWP (RFC 5649) under that AES key
//
// The key is raw of symmetric types, PKCS #8 in DER of asymmetric ones.

const wrappingKeySize = 32

// WrapFor wraps key material for the holder of an RSA key.
func WrapFor(to *rsa.PublicKey, h crypto.Hash, key *secret.Bytes) ([]byte, error) {
	kek, err := secret.Random(nil, wrappingKeySize)
	if err != nil {
		return nil, err
	}
	defer kek.Destroy()
	inner, err := wrapKWP(kek.Expose(), key.Expose())
	if err != nil {
		return nil, err
	}
	outer, err := rsa.EncryptOAEP(h.New(), rand.Reader, to, kek.Expose(), nil)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the key cannot be wrapped with this RSA key and hash")
	}
	return append(outer, inner...), nil
}

// Unwrapper is implemented by handles of RSA keys that import wraps to.
type Unwrapper interface {
	Unwrap(wrapped []byte, h crypto.Hash) (*secret.Bytes, error)
}

// Unwrap is the reverse of [WrapFor].
func (h *rsaHandle) Unwrap(wrapped []byte, hash crypto.Hash) (*secret.Bytes, error) {
	size := h.public.Size()
	if len(wrapped) <= size {
		return nil, Errors("provided ciphertext is too short")
	}
	kek, err := rsa.DecryptOAEP(hash.New(), nil, h.private, wrapped[:size], nil)
	if err != nil {
		return nil, Errors("%s", rsa.ErrDecryption)
	}
	defer clear(kek)
	if len(kek) != wrappingKeySize {
		return nil, Errors("%s", rsa.ErrDecryption)
	}
	key, err := unwrapKWP(kek, wrapped[size:])
	if err != nil {
		return nil, Errors("error importing key: %s", err)
	}
	return secret.New(key), nil
}
