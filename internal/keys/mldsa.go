package keys

import (
	"context"
	"crypto"
	"fmt"
	"io"

	"github.com/cloudflare/circl/sign"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/mldsa/mldsa87"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// MLDSAPublicKey is the encoded public key of ML-DSA (FIPS 204). The standard library has no type
// for it.
type MLDSAPublicKey []byte

// mldsaHandle signs by FIPS 204, as CIRCL implements it. The stored private part is the 32-byte
// seed; the public part is stored as FIPS 204 encodes it, not as PKIX.
type mldsaHandle struct {
	macKey
	scheme  sign.Scheme
	seed    []byte
	private sign.PrivateKey
	public  sign.PublicKey
	encoded []byte
}

func mldsaScheme(set int) (sign.Scheme, error) {
	switch set {
	case 44:
		return mldsa44.Scheme(), nil
	case 65:
		return mldsa65.Scheme(), nil
	case 87:
		return mldsa87.Scheme(), nil
	}
	return nil, fmt.Errorf("%w: ML-DSA-%d", ErrRecord, set)
}

func generateMLDSA(s Spec, rnd io.Reader) (private, public []byte, err error) {
	scheme, err := mldsaScheme(s.ParameterSet)
	if err != nil {
		return nil, nil, err
	}
	seed := make([]byte, scheme.SeedSize())
	if _, err := io.ReadFull(rnd, seed); err != nil {
		return nil, nil, fmt.Errorf("keys: reading a seed: %w", err)
	}
	pub, _ := scheme.DeriveKey(seed)
	public, err = pub.MarshalBinary()
	return seed, public, err
}

func openMLDSA(s Spec, seed, public []byte, mac macKey) (*mldsaHandle, error) {
	scheme, err := mldsaScheme(s.ParameterSet)
	if err != nil {
		return nil, err
	}
	h := &mldsaHandle{macKey: mac, scheme: scheme, seed: seed}
	switch len(seed) {
	case scheme.SeedSize():
		h.public, h.private = scheme.DeriveKey(seed)
	case 0:
		if h.public, err = scheme.UnmarshalBinaryPublicKey(public); err != nil {
			return nil, fmt.Errorf("%w: a public key of ML-DSA: %w", ErrRecord, err)
		}
	default:
		return nil, fmt.Errorf("%w: a seed of ML-DSA has %d bytes", ErrRecord, len(seed))
	}
	h.encoded, err = h.public.MarshalBinary()
	return h, err
}

// options checks what can be chosen: the context of FIPS 204, and no hash of the input (HashML-DSA
// is another algorithm).
func (h *mldsaHandle) options(p SignParams) (*sign.SignatureOpts, error) {
	switch {
	case len(p.Domain) > 255:
		return nil, fault.New(fault.Invalid, "signature_context has %d bytes; at most 255 are possible", len(p.Domain))
	case p.Prehashed:
		return nil, fault.New(fault.Invalid, "ml-dsa signs the text itself: leave prehashed out")
	}
	return &sign.SignatureOpts{Context: string(p.Domain)}, nil
}

func (h *mldsaHandle) Sign(_ context.Context, input []byte, p SignParams) ([]byte, error) {
	o, err := h.options(p)
	switch {
	case err != nil:
		return nil, err
	case h.private == nil:
		return nil, errNoPrivate
	}
	return h.scheme.Sign(h.private, input, o), nil
}

func (h *mldsaHandle) Verify(_ context.Context, input, signature []byte, p SignParams) (bool, error) {
	o, err := h.options(p)
	if err != nil {
		return false, err
	}
	return len(signature) == h.scheme.SignatureSize() && h.scheme.Verify(h.public, input, signature, o), nil
}

func (h *mldsaHandle) Public(context.Context, []byte) (crypto.PublicKey, error) {
	return MLDSAPublicKey(h.encoded), nil
}

func (h *mldsaHandle) Export() (*secret.Bytes, error) {
	if h.private == nil {
		return nil, nil
	}
	return secret.Copy(h.seed), nil
}
