package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
)

// NewSoftware is the provider whose keys are in the barrier. A nil rnd means crypto/rand; the
// standard library's own generator makes asymmetric keys either way.
func NewSoftware(rnd io.Reader) Provider {
	return &software{rand: cmp.Or[io.Reader](rnd, rand.Reader)}
}

type software struct{ rand io.Reader }

const hmacKeySize = 32

// softReference is the reference of a software key:
//
//	version u8 = 1 | HMAC key u16-length | private key u16-length
//
// The private key is raw of symmetric types, a seed of Ed25519 and ML-DSA, PKCS #8 in DER of RSA
// and ECDSA, and empty where only a public key was imported.
type softReference struct{ hmac, private []byte }

const softReferenceVersion = 1

func (r softReference) marshal() (*secret.Bytes, error) {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, 1+2+len(r.hmac)+2+len(r.private)))
	b.AddUint8(softReferenceVersion)
	for _, part := range [][]byte{r.hmac, r.private} {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(part) })
	}
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("keys: encoding a software key: %w", err)
	}
	return secret.New(out), nil
}

func parseSoftReference(b []byte) (r softReference, err error) {
	in := cryptobyte.String(b)
	var version uint8
	var mac, private cryptobyte.String
	if !in.ReadUint8(&version) || version != softReferenceVersion || !in.ReadUint16LengthPrefixed(&mac) ||
		!in.ReadUint16LengthPrefixed(&private) || !in.Empty() {
		return r, fmt.Errorf("%w: version %d of a software key is expected", ErrRecord, softReferenceVersion)
	}
	return softReference{mac, private}, nil
}

// Generate makes a key of any type.
func (p *software) Generate(_ context.Context, s Spec) (Material, error) {
	if err := s.Check(); err != nil {
		return Material{}, err
	}
	if s.Type.Symmetric() {
		raw, err := secret.Random(p.rand, s.materialSize())
		if err != nil {
			return Material{}, err
		}
		defer raw.Destroy()
		return p.material(s, raw.Expose(), nil)
	}
	private, public, err := p.generatePair(s)
	if err != nil {
		return Material{}, err
	}
	defer clear(private)
	return p.material(s, private, public)
}

// material stores a key with an HMAC key of its own; a key of type HMAC is its own.
func (p *software) material(s Spec, private, public []byte) (Material, error) {
	mac := private
	if s.Type != HMAC {
		fresh, err := secret.Random(p.rand, hmacKeySize)
		if err != nil {
			return Material{}, err
		}
		defer fresh.Destroy()
		mac = fresh.Expose()
	}
	ref, err := softReference{mac, private}.marshal()
	if s.Derived { // its public part depends on the context
		public = nil
	}
	return Material{Reference: ref, Public: public}, err
}

// Open decodes a key.
func (p *software) Open(_ context.Context, s Spec, m Material) (any, error) {
	ref, err := parseSoftReference(m.Reference.Expose())
	if err != nil {
		return nil, err
	}
	mac := macKey{key: ref.hmac}
	switch s.Type.traits().family {
	case aeadFamily:
		return openAEAD(s, ref.private, mac, p.rand)
	case hmacFamily:
		if len(ref.private) != s.KeySize {
			return nil, fmt.Errorf("%w: an HMAC key has %d bytes, not %d", ErrRecord, len(ref.private), s.KeySize)
		}
		return &hmacHandle{mac, ref.private}, nil
	case cmacFamily:
		return openCMAC(s, ref.private, mac)
	case ed25519Family:
		return openEd25519(s, ref.private, m.Public, mac)
	case ecdsaFamily:
		return openECDSA(s, ref.private, m.Public, mac)
	case rsaFamily:
		return openRSA(s, ref.private, m.Public, mac)
	case mldsaFamily:
		return openMLDSA(s, ref.private, m.Public, mac)
	}
	return nil, fmt.Errorf("%w: %s", ErrRecord, s.Type)
}
