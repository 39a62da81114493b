package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"
)

// BenchmarkDo is the cost of [Do] around an HMAC, as the code around keys uses it. Compare it with
// GOEXPERIMENT=runtimesecret and without.
func BenchmarkDo(b *testing.B) {
	key, text := make([]byte, 32), make([]byte, 64)
	for b.Loop() {
		Do(func() {
			h := hmac.New(sha256.New, key)
			h.Write(text)
			h.Sum(nil)
		})
	}
}
