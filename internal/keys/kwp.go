package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// AES key wrap with padding, KWP of NIST SP 800-38F, which is RFC 5649. The standard library has
// the block cipher alone.

// errKeyWrap is returned by [unwrapKWP] for every failure, so that an attacker learns nothing from
// it.
var errKeyWrap = errors.New("the wrapped key does not belong to the wrapping key, or was changed")

const (
	semiblock = 8
	// maxWrapped bounds what is wrapped: the longest key is one of RSA-4096.
	maxWrapped = 64 << 10
	kwpIV      = 0xA65959A6
)

// wrapKWP wraps a key of 1 byte to 64 KiB.
func wrapKWP(kek, key []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("keys: wrapping a key: %w", err)
	}
	if len(key) == 0 || len(key) > maxWrapped {
		return nil, fmt.Errorf("keys: a key of %d bytes cannot be wrapped: 1 to %d are possible", len(key), maxWrapped)
	}
	padded := (len(key) + semiblock - 1) / semiblock * semiblock
	out := make([]byte, semiblock+padded)
	binary.BigEndian.PutUint32(out, kwpIV)
	binary.BigEndian.PutUint32(out[4:], uint32(len(key)))
	copy(out[semiblock:], key)
	if padded == semiblock {
		block.Encrypt(out, out)
		return out, nil
	}
	wrapBlocks(block, out)
	return out, nil
}

// wrapBlocks is the function W of SP 800-38F, in place: A is the first semiblock, R1 to Rn the
// others.
func wrapBlocks(block cipher.Block, b []byte) {
	var x [aes.BlockSize]byte
	n := len(b)/semiblock - 1
	copy(x[:], b[:semiblock])
	for t := range 6 * n {
		r := b[(t%n+1)*semiblock:][:semiblock]
		copy(x[semiblock:], r)
		block.Encrypt(x[:], x[:])
		copy(r, x[semiblock:])
		binary.BigEndian.PutUint64(x[:], binary.BigEndian.Uint64(x[:])^uint64(t+1))
	}
	copy(b, x[:semiblock])
}

// unwrapBlocks is its inverse.
func unwrapBlocks(block cipher.Block, b []byte) {
	var x [aes.BlockSize]byte
	n := len(b)/semiblock - 1
	copy(x[:], b[:semiblock])
	for t := 6*n - 1; t >= 0; t-- {
		r := b[(t%n+1)*semiblock:][:semiblock]
		binary.BigEndian.PutUint64(x[:], binary.BigEndian.Uint64(x[:])^uint64(t+1))
		copy(x[semiblock:], r)
		block.Decrypt(x[:], x[:])
		copy(r, x[semiblock:])
	}
	copy(b, x[:semiblock])
}

// unwrapKWP gives the key of a wrapped one.
func unwrapKWP(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, fmt.Errorf("keys: unwrapping a key: %w", err)
	}
	if len(wrapped) < 2*semiblock || len(wrapped)%semiblock != 0 || len(wrapped) > maxWrapped+semiblock {
		return nil, errKeyWrap
	}
	b := append([]byte(nil), wrapped...)
	if len(b) == 2*semiblock {
		block.Decrypt(b, b)
	} else {
		unwrapBlocks(block, b)
	}
	n := int(binary.BigEndian.Uint32(b[4:]))
	room := len(b) - semiblock
	ok := subtle.ConstantTimeEq(int32(binary.BigEndian.Uint32(b)^kwpIV), 0)
	ok &= subtle.ConstantTimeLessOrEq(room-semiblock+1, n) & subtle.ConstantTimeLessOrEq(n, room)
	// The padding, if the length can be believed: bytes from n on are zero.
	var rest byte
	for i := room - semiblock; i < room; i++ {
		inside := subtle.ConstantTimeLessOrEq(n, i) // 1 where i is padding
		rest |= b[semiblock+i] & byte(-inside)
	}
	if ok&subtle.ConstantTimeByteEq(rest, 0) != 1 {
		clear(b)
		return nil, errKeyWrap
	}
	return b[semiblock : semiblock+n], nil
}
