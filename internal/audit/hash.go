package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"
)

// hashPrefix stands before every hash.
const hashPrefix = "hmac-sha256:"

// hasher gives values a name that only who has the salt can compute. HMACs are used again and again: making one costs more than using it.
type hasher struct{ pool sync.Pool }

type mac struct {
	hash.Hash
	in, out []byte
}

// newHasher makes one whose key is the text of the salt.
func newHasher(salt string) *hasher {
	h := &hasher{}
	h.pool.New = func() any { return &mac{Hash: hmac.New(sha256.New, []byte(salt))} }
	return h
}

// appendHash appends the name of a value.
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

// Hash gives the name that a device's entries have for a value. Reports whether there is such a device.
func (t *Trail) Hash(path, value string) (string, bool) {
	for _, a := range t.now.Load().devices {
		if a.Path == path && a.hash != nil {
			return string(appendHash(a.hash, nil, value)), true
		}
	}
	return "", false
}
