package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeysOfSealsAndMountsStayApart: a key that a mount had made does not become a seal's, also
// when its entry is gone; and the key of a seal that was removed becomes no mount's until a quorum
// lets it be retired.
func TestKeysOfSealsAndMountsStayApart(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.addConfig("\nkms_library \"pkcs11\" {\n  name = \"hsm1\"\n  library = \"" + r.token.Lib + "\"\n}\n")
	r.mustStart()
	shares := r.mustInit()
	cipher := func(label string) map[string]any {
		return r.managed(map[string]any{"key_label": label, "mechanism": "0x1087", "key_bits": 256,
			"usages": "encrypt,decrypt", "allow_generate_key": true})
	}
	r.must(204, "POST", "sys/managed-keys/pkcs11/later", cipher("later"))
	r.must(204, "DELETE", "sys/managed-keys/pkcs11/later", nil)
	const stanza = "seal \"pkcs11\" %NAME {\n  key_label = %LABEL\n  generate_key = true\n}\n"
	second := strings.NewReplacer("%NAME", `"second"`, "%LABEL", `"later"`).Replace(stanza)
	third := strings.NewReplacer("%NAME", `"third"`, "%LABEL", `"third"`).Replace(stanza)
	r.addConfig(second + third + "seal_policy {\n  allow_change = true\n}\n")
	reply := r.must(400, "PUT", "sys/seals/add", map[string]string{"name": "second"})
	saysAll(t, "a key that a mount had", reply.Errors(), "pkcs11/later", "make a key of its own for the seal")
	reply = r.must(400, "PUT", "sys/seals/rewrap", nil) // it wraps by the configured seals
	saysAll(t, "a key that a mount had", reply.Errors(), "pkcs11/later", "make a key of its own for the seal")

	r.must(200, "PUT", "sys/seals/add", map[string]string{"name": "third"})
	authorise := func(change string) {
		var st struct{ Nonce string }
		r.decode(r.must(200, "PUT", "sys/authorize/seals/attempt", map[string]string{"change": change}), &st)
		for _, share := range shares[:3] {
			r.must(200, "PUT", "sys/authorize/seals/update", map[string]string{"key": share, "nonce": st.Nonce})
		}
	}
	authorise("remove hsm")
	r.must(200, "PUT", "sys/seals/remove", map[string]string{"name": "hsm"})
	file := filepath.Join(r.Dir, "sealgate.hcl")
	text, err := os.ReadFile(file)
	if err == nil {
		old := strings.NewReplacer("%NAME", `"hsm"`, "%LABEL", `"root"`).Replace(stanza)
		err = r.WriteConfig(strings.Replace(strings.Replace(string(text), old, "", 1), second, "", 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.again()
	r.until(patience, "unsealed by the seal that is left", unsealed)
	reply = r.must(400, "POST", "sys/managed-keys/pkcs11/root", cipher("root"))
	saysAll(t, "the key of a seal that was removed", reply.Errors(), "one of a seal")
	reply = r.must(200, "GET", "sys/seals", nil)
	saysAll(t, "the list of seals", string(reply.Body), "operator seals retire hsm")
	r.must(403, "PUT", "sys/seals/retire", map[string]string{"name": "hsm"})
	authorise("retire hsm")
	r.must(200, "PUT", "sys/seals/retire", map[string]string{"name": "hsm"})
	if reply := r.call("POST", "sys/managed-keys/pkcs11/root", cipher("root")); strings.Contains(reply.Errors(),
		"one of a seal") {
		t.Errorf("a retired key is still guarded: %s", reply.Body)
	}
}
