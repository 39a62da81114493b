package keys

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// generatePair makes a key pair: the private part as it is stored, and the public part as PKIX.
func (p *software) generatePair(s Spec) (private, public []byte, err error) {
	switch tr := s.Type.traits(); tr.family {
	case ed25519Family:
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(p.rand, seed); err != nil {
			return nil, nil, fmt.Errorf("keys: reading a seed: %w", err)
		}
		public, err = x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(seed).Public())
		return seed, public, err
	case ecdsaFamily:
		k, err := ecdsa.GenerateKey(tr.curve, rand.Reader)
		if err != nil {
			return nil, nil, fmt.Errorf("keys: making a key of type %s: %w", s.Type, err)
		}
		return marshalPair(k)
	case rsaFamily:
		k, err := rsa.GenerateKey(rand.Reader, tr.bits)
		if err != nil {
			return nil, nil, fmt.Errorf("keys: making a key of type %s: %w", s.Type, err)
		}
		return marshalPair(k)
	case mldsaFamily:
		return generateMLDSA(s, p.rand)
	}
	return nil, nil, fmt.Errorf("keys: %s has no public part", s.Type)
}

func marshalPair(k crypto.Signer) (private, public []byte, err error) {
	if private, err = x509.MarshalPKCS8PrivateKey(k); err != nil {
		return nil, nil, fmt.Errorf("keys: encoding a private key: %w", err)
	}
	if public, err = x509.MarshalPKIXPublicKey(k.Public()); err != nil {
		return nil, nil, fmt.Errorf("keys: encoding a public key: %w", err)
	}
	return private, public, nil
}

// errNoPrivate is returned where only a public key was imported. The text is OpenBao's.
var errNoPrivate = Errors("requested version for signing does not contain a private part")

// parsed reads a pair as it is stored; the private part is nil where there is none.
func parsed[P any](private, public []byte) (signer crypto.Signer, pub P, err error) {
	if len(private) > 0 {
		k, err := x509.ParsePKCS8PrivateKey(private)
		if err != nil {
			return nil, pub, fmt.Errorf("%w: a private key: %w", ErrRecord, err)
		}
		var ok bool
		if signer, ok = k.(crypto.Signer); !ok {
			return nil, pub, fmt.Errorf("%w: a private key of type %T", ErrRecord, k)
		}
		if pub, ok = signer.Public().(P); !ok {
			return nil, pub, fmt.Errorf("%w: a private key of type %T", ErrRecord, k)
		}
		return signer, pub, nil
	}
	k, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, pub, fmt.Errorf("%w: a public key: %w", ErrRecord, err)
	}
	pub, ok := k.(P)
	if !ok {
		return nil, pub, fmt.Errorf("%w: a public key of type %T", ErrRecord, k)
	}
	return nil, pub, nil
}

func exportPKCS8(private any) (*secret.Bytes, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("keys: encoding a private key: %w", err)
	}
	return secret.New(der), nil
}

// digest hashes the input, or takes it as the digest. Without a hash it is signed as it is.
func digest(input []byte, p SignParams) []byte {
	if p.Prehashed || p.Hash == 0 {
		return input
	}
	h := p.Hash.New()
	h.Write(input)
	return h.Sum(nil)
}

// ed25519Handle signs by RFC 8032. The key of a context has as its seed HKDF-SHA256 of seed and
// public key, without salt, with the context as info: OpenBao's construction.
type ed25519Handle struct {
	macKey
	derived bool
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

func openEd25519(s Spec, seed, public []byte, mac macKey) (*ed25519Handle, error) {
	h := &ed25519Handle{macKey: mac, derived: s.Derived}
	switch len(seed) {
	case ed25519.SeedSize:
		h.private = ed25519.NewKeyFromSeed(seed)
		h.public = h.private.Public().(ed25519.PublicKey)
		return h, nil
	case 0:
		_, pub, err := parsed[ed25519.PublicKey](nil, public)
		h.public = pub
		return h, err
	}
	return nil, fmt.Errorf("%w: an Ed25519 seed has %d bytes", ErrRecord, len(seed))
}

// forContext gives the pair of a context, or the version's own.
func (h *ed25519Handle) forContext(context []byte) (ed25519.PrivateKey, ed25519.PublicKey, error) {
	switch {
	case !h.derived:
		return h.private, h.public, nil
	case len(context) == 0:
		return nil, nil, Errors("error deriving key: %s", ErrContext)
	case h.private == nil:
		return nil, nil, errNoPrivate
	}
	seed, err := hkdf.Key(sha256.New, h.private, nil, string(context), ed25519.SeedSize)
	if err != nil {
		return nil, nil, fmt.Errorf("keys: deriving a key: %w", err)
	}
	defer clear(seed)
	k := ed25519.NewKeyFromSeed(seed)
	return k, k.Public().(ed25519.PublicKey), nil
}

func ed25519Options(p SignParams, input []byte) (*ed25519.Options, error) {
	o := &ed25519.Options{Context: string(p.Domain)}
	switch {
	case len(p.Domain) > 255:
		return nil, fault.New(fault.Invalid, "signature_context has %d bytes; at most 255 are possible", len(p.Domain))
	case p.Prehashed && p.Hash == crypto.SHA512:
		o.Hash = crypto.SHA512
		if len(input) != crypto.SHA512.Size() {
			return nil, fault.New(fault.Invalid, "the input of Ed25519ph is a SHA-512 digest of 64 bytes, not of %d: "+
				"leave prehashed out to sign the text itself", len(input))
		}
	}
	return o, nil
}

func (h *ed25519Handle) Sign(_ context.Context, input []byte, p SignParams) ([]byte, error) {
	o, err := ed25519Options(p, input)
	if err != nil {
		return nil, err
	}
	private, _, err := h.forContext(p.Context)
	switch {
	case err != nil:
		return nil, err
	case private == nil:
		return nil, errNoPrivate
	}
	if h.derived {
		defer clear(private)
	}
	return private.Sign(nil, input, o)
}

func (h *ed25519Handle) Verify(_ context.Context, input, signature []byte, p SignParams) (bool, error) {
	o, err := ed25519Options(p, input)
	if err != nil {
		return false, err
	}
	private, public, err := h.forContext(p.Context)
	if err != nil {
		return false, err
	}
	if h.derived {
		defer clear(private)
	}
	return ed25519.VerifyWithOptions(public, input, signature, o) == nil, nil
}

func (h *ed25519Handle) Public(_ context.Context, context []byte) (crypto.PublicKey, error) {
	private, public, err := h.forContext(context)
	if h.derived {
		defer clear(private)
	}
	return public, err
}

func (h *ed25519Handle) Export() (*secret.Bytes, error) {
	if h.private == nil {
		return nil, nil
	}
	return exportPKCS8(h.private)
}

// ecdsaHandle signs by FIPS 186-5 and agrees by SP 800-56A.
type ecdsaHandle struct {
	macKey
	private *ecdsa.PrivateKey
	public  *ecdsa.PublicKey
}

func openECDSA(s Spec, private, public []byte, mac macKey) (*ecdsaHandle, error) {
	signer, pub, err := parsed[*ecdsa.PublicKey](private, public)
	if err != nil {
		return nil, err
	}
	if pub.Curve != s.Type.traits().curve {
		return nil, fmt.Errorf("%w: a key on %s as %s", ErrRecord, pub.Curve.Params().Name, s.Type)
	}
	h := &ecdsaHandle{macKey: mac, public: pub}
	h.private, _ = signer.(*ecdsa.PrivateKey)
	return h, nil
}

func (h *ecdsaHandle) Sign(_ context.Context, input []byte, p SignParams) ([]byte, error) {
	if h.private == nil {
		return nil, errNoPrivate
	}
	return ecdsa.SignASN1(rand.Reader, h.private, digest(input, p))
}

func (h *ecdsaHandle) Verify(_ context.Context, input, signature []byte, p SignParams) (bool, error) {
	if _, _, err := parseECDSA(signature); err != nil {
		return false, err
	}
	return ecdsa.VerifyASN1(h.public, digest(input, p), signature), nil
}

func (h *ecdsaHandle) Public(context.Context, []byte) (crypto.PublicKey, error) { return h.public, nil }

func (h *ecdsaHandle) Agree(_ context.Context, peer *ecdh.PublicKey) (*secret.Bytes, error) {
	if h.private == nil {
		return nil, errNoPrivate
	}
	k, err := h.private.ECDH()
	if err != nil {
		return nil, fmt.Errorf("keys: using an ECDSA key for ECDH: %w", err)
	}
	shared, err := k.ECDH(peer)
	if err != nil {
		return nil,
			fault.Wrap(err, fault.Invalid, "the peer's public key does not fit the base key: both must be on one curve")
	}
	return secret.New(shared), nil
}

func (h *ecdsaHandle) Export() (*secret.Bytes, error) {
	if h.private == nil {
		return nil, nil
	}
	return exportPKCS8(h.private)
}
