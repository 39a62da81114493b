package v1

import (
	"strings"
	"testing"
)

// TestBatchesWithErrorsAreWrapped: where a policy wants answers wrapped, an item that fails does
// not get the others past it.
func TestBatchesWithErrorsAreWrapped(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("mount", w.do("POST", "sys/mounts/transit", `{"type":"transit"}`), 204, "")
	var made struct{ Data struct{ Ciphertext string } }
	w.decode(w.do("POST", "transit/encrypt/k", `{"plaintext":"c2VjcmV0IHRleHQ="}`), &made)
	w.expect("policy", w.do("PUT", "sys/policies/acl/wrapped",
		`{"policy":"path \"transit/decrypt/k\" { capabilities = [\"update\"] min_wrapping_ttl = \"1s\" }"}`), 204, "")
	var login struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	w.decode(w.do("POST", "auth/token/create", `{"policies":["wrapped"]}`), &login)
	for _, code := range []string{"", `,"partial_failure_response_code":300`, `,"partial_failure_response_code":599`} {
		a := w.do("POST", "transit/decrypt/k", `{"batch_input":[{"ciphertext":"`+made.Data.Ciphertext+
			`"},{"ciphertext":"vault:v1:AAAA"}]`+code+`}`, "X-Vault-Token", login.Auth.Token, "X-Vault-Wrap-TTL", "1m")
		if strings.Contains(a.Body.String(), "c2VjcmV0IHRleHQ=") || !strings.Contains(a.Body.String(), `"wrap_info":{`) {
			t.Errorf("%s: %d %s", code, a.Code, a.Body)
		}
	}
	a := w.do("POST", "transit/decrypt/k", `{"ciphertext":"vault:v1:AAAA"}`, "X-Vault-Token", login.Auth.Token,
		"X-Vault-Wrap-TTL", "1m")
	if a.Code != 400 || strings.Contains(a.Body.String(), `"wrap_info":{`) {
		t.Errorf("an error: %d %s", a.Code, a.Body)
	}
}
