package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
)

// hashPrefix precedes every hash.
const hashPrefix = "hmac-sha256:"

// hasher computes HMACs under a device's salt. It reuses them, because creating one costs more than
// using it.
type hasher struct{ pool sync.Pool }

type mac struct {
	hash.Hash
	in, out []byte
}

// newHasher returns a hasher keyed with the text of the salt.
func newHasher(salt string) *hasher {
	h := &hasher{}
	h.pool.New = func() any { return &mac{Hash: hmac.New(sha256.New, []byte(salt))} }
	return h
}

// appendHash appends the hash of a value.
func appendHash[T string | []byte](h *hasher, dst []byte, value T) []byte {
	m := h.pool.Get().(*mac)
	defer h.pool.Put(m)
	m.in = append(m.in[:0], value...)
	defer clear(m.in)
	m.Reset()
	m.Write(m.in)
	m.out = m.Sum(m.out[:0])
	return hex.AppendEncode(append(dst, hashPrefix...), m.out)
}

// Hash returns the hash of a value as a device's entries show it, and whether the device exists.
func (t *Trail) Hash(path, value string) (string, bool) {
	for _, a := range t.now.Load().devices {
		if a.Path == path && a.hash != nil {
			return string(appendHash(a.hash, nil, value)), true
		}
	}
	return "", false
}
