//go:build !race

package transit

import (
	"testing"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/mount"
)

// TestAllocations: the engine's part of a request of 32 bytes.
func TestAllocations(t *testing.T) {
	e := newEngine(t)
	e.must("POST", "keys/k", "")
	const plain = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	cipher := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", plain))
	for path, data := range map[string]map[string]any{
		"encrypt/k": {"plaintext": plain}, "decrypt/k": {"ciphertext": cipher},
	} {
		r := &mount.Request{Operation: mount.Update, Path: path, Data: data,
			Identity: token.Identity{DisplayName: "token-ci"}}
		n := testing.AllocsPerRun(100, func() {
			if _, err := e.Handle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %v allocations", path, n)
		if n > 10 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}
