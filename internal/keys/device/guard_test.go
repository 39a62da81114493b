package device

import (
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// TestUnknownSealOwnsItsType: a member of the sealed record for which a node has no stanza may own
// any key of its type.
func TestUnknownSealOwnsItsType(t *testing.T) {
	t.Parallel()
	r := NewHub(Options{Seals: func() []seals.Seal { return []seals.Seal{{Name: "hsm", Type: "pkcs11"}} }}).Open(nil)
	if err := r.guard(t.Context(), "pkcs11", "orders", "pkcs11:object=orders"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key that may be the seal's: %v", err)
	}
	if err := r.guard(t.Context(), "awskms", "orders", "arn"); err != nil {
		t.Errorf("a key of another type: %v", err)
	}
}
