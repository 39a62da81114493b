package keys

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sealgate/sealgate/internal/secret"
)

// macKey is the HMAC key that each version has.
type macKey struct{ key []byte }

func (m macKey) HMAC(_ context.Context, input []byte, h crypto.Hash) ([]byte, error) {
	mac := hmac.New(h.New, m.key)
	mac.Write(input)
	return mac.Sum(nil), nil
}

func (m macKey) ExportHMAC() *secret.Bytes { return secret.Copy(m.key) }

// hmacHandle is a key of type HMAC.
type hmacHandle struct {
	macKey
	private []byte
}

func (h *hmacHandle) Export() (*secret.Bytes, error) { return secret.Copy(h.private), nil }

// aeadHandle encrypts with an AEAD. A ciphertext is nonce, text and tag.
//
// The key of a context is HKDF-SHA256 of the version's key, without salt, with the context as info.
// Of a convergent key the 32 bytes behind it are an HMAC-SHA256 key, and the nonce is the beginning
// of the text's HMAC: equal texts in equal contexts, with equal additional data, have equal
// ciphertexts, and nonces repeat for nothing else. With additional data the HMAC key follows from
// it: one nonce under two additional data would reveal the key that authenticates.
type aeadHandle struct {
	macKey
	spec Spec
	key  []byte
	rand io.Reader
	plain,
	random cipher.AEAD // without derivation; random chooses its nonces, of AES alone
}

func openAEAD(s Spec, key []byte, mac macKey, rnd io.Reader) (*aeadHandle, error) {
	if len(key) != s.materialSize() {
		return nil, fmt.Errorf("%w: a key of type %s has %d bytes", ErrRecord, s.Type, len(key))
	}
	h := &aeadHandle{macKey: mac, spec: s, key: key, rand: rnd}
	if s.Derived {
		return h, nil
	}
	var err error
	if h.random, err = newRandomNonce(s.Type, key); err != nil || h.random != nil {
		return h, err
	}
	h.plain, err = newAEAD(s.Type, key)
	return h, err
}

// newRandomNonce gives AES-GCM in the form that chooses its own nonces, which is also the one that
// FIPS 140-3 allows. Its ciphertexts have the nonce in front, as all of ours. It is nil for other
// types.
func newRandomNonce(t Type, key []byte) (cipher.AEAD, error) {
	if t != AES256GCM && t != AES128GCM {
		return nil, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func newAEAD(t Type, key []byte) (cipher.AEAD, error) {
	switch t {
	case ChaCha20Poly1305:
		return chacha20poly1305.New(key)
	case XChaCha20Poly1305:
		return chacha20poly1305.NewX(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (t Type) nonceSize() int {
	if t == XChaCha20Poly1305 {
		return chacha20poly1305.NonceSizeX
	}
	return chacha20poly1305.NonceSize // GCM's is the same
}

// derive gives the key of a context and, for a convergent key, the one that makes nonces.
func (h *aeadHandle) derive(context []byte) (key, nonceKey []byte, err error) {
	if len(context) == 0 {
		return nil, nil, ErrContext
	}
	size := len(h.key)
	n := size
	if h.spec.Convergent {
		n += sha256.Size
	}
	out, err := hkdf.Key(sha256.New, h.key, nil, string(context), n)
	if err != nil {
		return nil, nil, fmt.Errorf("keys: deriving a key: %w", err)
	}
	return out[:size:size], out[size:], nil
}

func (h *aeadHandle) Encrypt(_ context.Context, dst, plain []byte, p CipherParams) ([]byte, error) {
	random, explicit := h.random, h.plain
	var nonceKey []byte
	if h.spec.Derived {
		key, nk, err := h.derive(p.Context)
		if err != nil {
			return nil, err
		}
		defer clear(key)
		defer clear(nk)
		if random, explicit, err = h.forContext(key); err != nil {
			return nil, err
		}
		nonceKey = nk
	}
	if random != nil {
		return random.Seal(dst, nil, plain, p.AAD), nil
	}
	dst, nonce, err := h.nonce(dst, plain, p.AAD, nonceKey)
	if err != nil {
		return nil, err
	}
	return explicit.Seal(dst, nonce, plain, p.AAD), nil
}

// forContext makes the AEAD of a derived key. A convergent key chooses its nonces.
func (h *aeadHandle) forContext(key []byte) (random, explicit cipher.AEAD, err error) {
	if !h.spec.Convergent {
		if random, err = newRandomNonce(h.spec.Type, key); err != nil || random != nil {
			return random, nil, err
		}
	}
	explicit, err = newAEAD(h.spec.Type, key)
	return nil, explicit, err
}

// nonce appends the nonce to dst.
func (h *aeadHandle) nonce(dst, plain, aad, nonceKey []byte) (out, nonce []byte, err error) {
	size := h.spec.Type.nonceSize()
	if h.spec.Convergent {
		nonce = convergentNonce(nonceKey, plain, aad)[:size]
	} else {
		nonce = make([]byte, size)
		if _, err := io.ReadFull(h.rand, nonce); err != nil {
			return nil, nil, fmt.Errorf("keys: reading a nonce: %w", err)
		}
	}
	return append(dst, nonce...), nonce, nil
}

// convergentNonce is OpenBao's without additional data, which OpenBao leaves out of its nonces.
func convergentNonce(nonceKey, plain, aad []byte) []byte {
	if len(aad) > 0 {
		nonceKey = convergentKey(nonceKey, aad)
		defer clear(nonceKey)
	}
	mac := hmac.New(sha256.New, nonceKey)
	mac.Write(plain)
	return mac.Sum(nil)
}

// convergentKey makes the HMAC key for additional data. It uses SHA-512, because nonces are public,
// and the nonce of a text that a client chooses must not show a part of this key.
func convergentKey(nonceKey, aad []byte) []byte {
	mac := hmac.New(sha512.New, nonceKey)
	mac.Write([]byte("sealgate/transit/convergent/associated data\x00"))
	mac.Write(aad)
	return mac.Sum(nil)
}

func (h *aeadHandle) Decrypt(_ context.Context, dst, blob []byte, p CipherParams) ([]byte, error) {
	size := h.spec.Type.nonceSize()
	if len(blob) < size {
		return nil, ErrShort
	}
	random, explicit := h.random, h.plain
	if h.spec.Derived {
		key, nonceKey, err := h.derive(p.Context)
		if err != nil {
			return nil, err
		}
		defer clear(key)
		defer clear(nonceKey)
		if random, explicit, err = h.forContext(key); err != nil {
			return nil, err
		}
	}
	var out []byte
	var err error
	if random != nil {
		out, err = random.Open(dst, nil, blob, p.AAD)
	} else {
		out, err = explicit.Open(dst, blob[:size], blob[size:], p.AAD)
	}
	switch {
	case err == nil:
		return out, nil
	case h.spec.Type == AES256GCM || h.spec.Type == AES128GCM:
		return nil, ErrGCM
	}
	return nil, ErrChaCha
}

func (h *aeadHandle) Export() (*secret.Bytes, error) { return secret.Copy(h.key), nil }

// cmacHandle authenticates with AES-CMAC (NIST SP 800-38B, RFC 4493).
type cmacHandle struct {
	macKey
	key    []byte
	block  cipher.Block
	k1, k2 [aes.BlockSize]byte
}

func openCMAC(s Spec, key []byte, mac macKey) (*cmacHandle, error) {
	if len(key) != s.materialSize() {
		return nil, fmt.Errorf("%w: a key of type %s has %d bytes", ErrRecord, s.Type, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	h := &cmacHandle{macKey: mac, key: key, block: block}
	block.Encrypt(h.k1[:], h.k1[:])
	double(&h.k1, &h.k1)
	double(&h.k2, &h.k1)
	return h, nil
}

// double multiplies by x in GF(2^128), without a branch on the secret.
func double(dst, src *[aes.BlockSize]byte) {
	carry := src[0] >> 7
	for i := range src {
		next := byte(0)
		if i+1 < len(src) {
			next = src[i+1] >> 7
		}
		dst[i] = src[i]<<1 | next
	}
	dst[len(dst)-1] ^= carry * 0x87
}

func (h *cmacHandle) CMAC(_ context.Context, input []byte) ([]byte, error) {
	sum := make([]byte, aes.BlockSize)
	for len(input) > aes.BlockSize {
		for i := range sum {
			sum[i] ^= input[i]
		}
		h.block.Encrypt(sum, sum)
		input = input[aes.BlockSize:]
	}
	last := h.k1
	if len(input) < aes.BlockSize {
		last = h.k2
		sum[len(input)] ^= 0x80
	}
	for i := range input {
		sum[i] ^= input[i]
	}
	for i := range sum {
		sum[i] ^= last[i]
	}
	h.block.Encrypt(sum, sum)
	return sum, nil
}

func (h *cmacHandle) Export() (*secret.Bytes, error) { return secret.Copy(h.key), nil }
