package recovery

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/secret"
)

// Limits of shares. A share is one byte longer than its key, unless it is the key itself.
const (
	MaxShares   = 255
	minKey      = 16
	maxKey      = 32
	minShareLen = minKey
	maxShareLen = maxKey + 1
)

// CheckCounts returns an [ErrShape] with the text of Vault's API for an invalid number of shares or
// threshold.
func CheckCounts(shares, threshold int) error {
	switch {
	case shares < 1:
		return &worded{"shares must be at least one", ErrShape}
	case threshold < 1:
		return &worded{"threshold must be at least one", ErrShape}
	case shares > 1 && threshold == 1:
		return &worded{"threshold must be greater than one for multiple shares", ErrShape}
	case shares > MaxShares:
		return &worded{"shares must be less than 256", ErrShape}
	case threshold > MaxShares:
		return &worded{"threshold must be less than 256", ErrShape}
	case threshold > shares:
		return &worded{"threshold cannot be larger than shares", ErrShape}
	}
	return nil
}

// Split makes shares of a key of 16 to 32 bytes, so that any threshold of them restore it and fewer
// reveal nothing about it (Shamir 1979). A share is
//
//	y[len(key)] | x u8
//
// x is the share's number, counted from 1. y holds, for every byte of the key, the value at x of a
// random polynomial of degree threshold-1 whose value at 0 is that byte. A single share is a copy
// of the key, without x. Randomness comes from rnd, or from crypto/rand if rnd is nil. The caller
// destroys the key and the shares.
func Split(key *Secret, shares, threshold int, rnd io.Reader) ([]*Secret, error) {
	if err := CheckCounts(shares, threshold); err != nil {
		return nil, err
	}
	if key.Len() < minKey || key.Len() > maxKey {
		return nil, fmt.Errorf("%w, not %d", ErrKeyLength, key.Len())
	}
	if shares == 1 {
		return []*Secret{key.Clone()}, nil
	}
	random, err := secret.Random(rnd, (threshold-1)*key.Len())
	if err != nil {
		return nil, err
	}
	defer random.Destroy()

	width := words(key.Len())
	coefficients := make([]uint64, threshold*width)
	defer clear(coefficients)
	load(coefficients[:width], key.Expose())
	for d := 1; d < threshold; d++ {
		load(coefficients[d*width:][:width], random.Expose()[(d-1)*key.Len():][:key.Len()])
	}
	out := make([]*Secret, shares)
	for i := range out {
		x := byte(i + 1)
		y := make([]uint64, width)
		evaluate(y, coefficients, x)
		out[i] = point(y, key.Len(), x)
		clear(y)
	}
	return out, nil
}

// evaluate computes the polynomials' values at x by Horner's rule.
func evaluate(y, coefficients []uint64, x byte) {
	m := masks(x)
	width := len(y)
	for at := len(coefficients) - width; at >= 0; at -= width {
		for l, c := range coefficients[at : at+width] {
			y[l] = scale(y[l], &m) ^ c
		}
	}
}

// Combine restores a key from shares of [Split] or of Vault. It uses all shares that it gets. Fewer
// than the threshold, or shares of two generations, combine to a wrong key without an error, so
// verify the result ([ShareSet.VerifyKey]).
func Combine(shares []*Secret) (*Secret, error) {
	if len(shares) < 2 {
		return nil, ErrTooFew
	}
	size := shares[0].Len()
	xs := make([]byte, len(shares))
	var seen [256]bool // share numbers are not secret
	for i, s := range shares {
		if s.Len() != size || size < 2 {
			return nil, ErrMixed
		}
		x := s.Expose()[size-1]
		switch {
		case x == 0:
			return nil, ErrNoPoint
		case seen[x]:
			return nil, ErrDuplicate
		}
		seen[x] = true
		xs[i] = x
	}
	width := words(size - 1)
	sum, y := make([]uint64, width), make([]uint64, width)
	defer clear(sum)
	defer clear(y)
	for i, s := range shares {
		load(y, s.Expose()[:size-1])
		m := masks(weight(xs, i))
		for l := range sum {
			sum[l] ^= scale(y[l], &m)
		}
	}
	return secret.New(store(make([]byte, 0, size-1), sum, size-1)), nil
}

// weight returns the i-th Lagrange polynomial's value at 0: the product of x/(x - x_i) over all
// other x.
func weight(xs []byte, i int) byte {
	above, below := byte(1), byte(1)
	for j, x := range xs {
		if j != i {
			above = mul(above, x)
			below = mul(below, x^xs[i])
		}
	}
	return mul(above, inverse(below))
}

func words(n int) int { return (n + 7) / 8 }

// load packs bytes into words and pads the last one with zeros.
func load(dst []uint64, b []byte) {
	var last [8]byte
	defer clear(last[:])
	for l := range dst {
		rest := b[l*8:]
		if len(rest) < 8 {
			copy(last[:], rest)
			rest = last[:]
		}
		dst[l] = binary.LittleEndian.Uint64(rest)
	}
}

// store appends the first n bytes of src to b, which has room for them.
func store(b []byte, src []uint64, n int) []byte {
	for i := range n {
		b = append(b, byte(src[i/8]>>(i%8*8)))
	}
	return b
}

func point(y []uint64, n int, x byte) *Secret {
	return secret.New(append(store(make([]byte, 0, n+1), y, n), x))
}
