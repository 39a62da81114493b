package recovery

// The field is GF(2^8) with the polynomial x^8 + x^4 + x^3 + x + 1 (0x11b), as in AES and in
// Vault's shares.
//
// Constant time: addition is exclusive or. Multiplication adds the doublings of one factor, each
// under a mask made of one bit of the other, in the same eight steps for every pair. The inverse is
// the power 254, by a fixed chain of multiplications. There is no table, so no memory address
// depends on a secret, and no branch. Doubling reduces by shifts, because the time of an integer
// multiplication depends on the operands on some small cores.
//
// Eight bytes are processed at once, as the bytes of a uint64 without carries between them.

const (
	lowBits  = 0x0101010101010101 // bit 0 of every byte
	sevenLow = 0x7f7f7f7f7f7f7f7f // all bits but the highest of every byte
)

// double multiplies every byte by x, the polynomial with the value 2.
func double(a uint64) uint64 {
	carry := a >> 7 & lowBits
	return (a&sevenLow)<<1 ^ carry ^ carry<<1 ^ carry<<3 ^ carry<<4
}

// masks returns a word of ones or zeros for every bit of b.
func masks(b byte) (m [8]uint64) {
	for i := range m {
		m[i] = -(uint64(b) >> i & 1)
	}
	return m
}

// scale multiplies every byte of a by the factor that masks expanded to m.
func scale(a uint64, m *[8]uint64) uint64 {
	r := a & m[0]
	a = double(a)
	r ^= a & m[1]
	a = double(a)
	r ^= a & m[2]
	a = double(a)
	r ^= a & m[3]
	a = double(a)
	r ^= a & m[4]
	a = double(a)
	r ^= a & m[5]
	a = double(a)
	r ^= a & m[6]
	a = double(a)
	return r ^ a&m[7]
}

// mul multiplies two elements.
func mul(a, b byte) byte {
	m := masks(b)
	return byte(scale(uint64(a), &m))
}

// inverse returns a^254: the multiplicative inverse, and 0 for 0.
func inverse(a byte) byte {
	a2 := mul(a, a)
	a3 := mul(a2, a)
	a6 := mul(a3, a3)
	a12 := mul(a6, a6)
	a15 := mul(a12, a3)
	a30 := mul(a15, a15)
	a60 := mul(a30, a30)
	a120 := mul(a60, a60)
	a126 := mul(a120, a6)
	a127 := mul(a126, a)
	return mul(a127, a127)
}
