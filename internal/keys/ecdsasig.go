package keys

import (
	"crypto/elliptic"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sealgate/sealgate/internal/fault"
)

// parseECDSA reads SEQUENCE { r, s }.
func parseECDSA(der []byte) (r, s *big.Int, err error) {
	in := cryptobyte.String(der)
	var inner cryptobyte.String
	r, s = new(big.Int), new(big.Int)
	if !in.ReadASN1(&inner, asn1.SEQUENCE) || !inner.ReadASN1Integer(r) || !inner.ReadASN1Integer(s) || !inner.Empty() {
		return nil, nil, ErrSignature
	}
	if !in.Empty() {
		return nil, nil, fault.New(fault.Invalid, "supplied signature contains extra data")
	}
	return r, s, nil
}

// ECDSARaw turns an ASN.1 signature into r and s of equal length, which is the form of JWS (RFC
// 7518, section 3.4).
func (t Type) ECDSARaw(der []byte) ([]byte, error) {
	r, s, err := parseECDSA(der)
	if err != nil {
		return nil, err
	}
	n := coordinate(t.traits().curve)
	if r.Sign() < 0 || s.Sign() < 0 || (r.BitLen()+7)/8 > n || (s.BitLen()+7)/8 > n {
		return nil, ErrSignature
	}
	out := make([]byte, 2*n)
	r.FillBytes(out[:n])
	s.FillBytes(out[n:])
	return out, nil
}

// ECDSADER is the reverse of [Type.ECDSARaw].
func (t Type) ECDSADER(raw []byte) ([]byte, error) {
	n := coordinate(t.traits().curve)
	if len(raw) != 2*n {
		return nil, ErrSignature
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[:n]))
		b.AddASN1BigInt(new(big.Int).SetBytes(raw[n:]))
	})
	return b.Bytes()
}

func coordinate(c elliptic.Curve) int { return (c.Params().BitSize + 7) / 8 }
