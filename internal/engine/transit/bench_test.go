package transit

import (
	"testing"

	"github.com/sealgate/sealgate/internal/mount"
)

func BenchmarkEncrypt32(b *testing.B) { benchmark(b, `{"type":"aes256-gcm96"}`, "") }

func BenchmarkEncryptDerived32(b *testing.B) { benchmark(b, `{"derived":true}`, "Y29udGV4dA==") }

func BenchmarkEncryptConvergent32(b *testing.B) {
	benchmark(b, `{"derived":true,"convergent_encryption":true}`, "Y29udGV4dA==")
}

func benchmark(b *testing.B, create, context string) {
	e := newEngine(b)
	e.must("POST", "keys/k", create)
	data := map[string]any{"plaintext": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "context": context}
	r := &mount.Request{Operation: mount.Update, Path: "encrypt/k", Data: data}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Handle(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
