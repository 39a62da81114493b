package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"testing"
)

// TestConvergentNonces: one nonce under two additional data would reveal the key that authenticates
// (NIST SP 800-38D, appendix A), to a client that may only encrypt.
func TestConvergentNonces(t *testing.T) {
	t.Parallel()
	for _, typ := range []Type{AES256GCM, AES128GCM, ChaCha20Poly1305, XChaCha20Poly1305} {
		s := Spec{Type: typ, Derived: true, Convergent: true}
		h, err := openAEAD(s, bytes.Repeat([]byte{7}, s.materialSize()), macKey{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		seal := func(aad string) string {
			t.Helper()
			p := CipherParams{Context: []byte("context"), AAD: []byte(aad)}
			out, err := h.Encrypt(t.Context(), nil, []byte("text"), p)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := h.Decrypt(t.Context(), nil, out, p); err != nil || string(back) != "text" {
				t.Errorf("%s: decrypted to %q, %v", typ, back, err)
			}
			return string(out)
		}
		if first, again := seal("a"), seal("a"); first != again {
			t.Errorf("%s: equal texts with equal additional data differ", typ)
		}
		n := typ.nonceSize()
		seen := map[string]string{}
		for _, aad := range []string{"", "a", "b", "ab"} {
			nonce := seal(aad)[:n]
			if other, used := seen[nonce]; used {
				t.Errorf("%s: the additional data %q and %q have one nonce", typ, aad, other)
			}
			seen[nonce] = aad
		}
		_, nonceKey, err := h.derive([]byte("context"))
		if err != nil {
			t.Fatal(err)
		}
		mac := hmac.New(sha256.New, nonceKey)
		mac.Write([]byte("text"))
		if seal("")[:n] != string(mac.Sum(nil)[:n]) {
			t.Errorf("%s: without additional data the nonce is not OpenBao's", typ)
		}
		for _, aad := range []string{"a", "b"} {
			chosen := "sealgate/transit/convergent/associated data\x00" + aad
			if bytes.Contains(convergentKey(nonceKey, []byte(aad)), convergentNonce(nonceKey, []byte(chosen), nil)[:n]) {
				t.Errorf("%s: the nonce of a chosen text shows a part of the HMAC key for additional data", typ)
			}
		}
	}
}
