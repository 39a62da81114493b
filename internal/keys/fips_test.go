package keys

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/fips"
)

// TestTypesUnderFIPS names what is refused; every type has a verdict.
func TestTypesUnderFIPS(t *testing.T) {
	defer fips.Simulate()()
	refused := map[Type]bool{ChaCha20Poly1305: true, XChaCha20Poly1305: true, MLDSA: true, AES128CMAC: true,
		AES192CMAC: true, AES256CMAC: true}
	for typ := range allTraits {
		err := typ.approved()
		if (err != nil) != refused[typ] || err != nil && !strings.Contains(err.Error(), typ.String()) {
			t.Errorf("%s: %v", typ, err)
		}
	}
	k := &Key{Settings: Settings{Spec: Spec{Type: ChaCha20Poly1305}, Latest: 1}}
	if _, err := k.VersionToEncrypt(0, "encryption"); err == nil {
		t.Error("an existing key of ChaCha20 encrypts")
	}
	if err := k.CheckDecrypt(1); err != nil {
		t.Errorf("what it encrypted can no longer be moved to another key: %v", err)
	}
}
