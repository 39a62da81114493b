package v1

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestRootByAnySpelling: no spelling of the policy root gives a token that is root to who is not,
// by the command, a token role or an auth method.
func TestRootByAnySpelling(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("maker", w.do("PUT", "sys/policies/acl/maker", body("policy",
		`path "auth/*" { capabilities = ["create", "update", "sudo"] }`)), 204, "")
	var maker wrapReply
	w.decode(w.do("POST", "auth/token/create", `{"policies":["maker"]}`), &maker)
	w.expect("method", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	as := []string{"X-Vault-Token", maker.Auth.ClientToken}
	for i, name := range []string{"root", "ROOT", "Root", " root ", "root\t", "\nroot", "root\u00a0", "r\u043eot",
		"root\u0000"} {
		for path, fields := range map[string]string{
			"auth/token/create":        fmt.Sprintf(`{"policies":[%q]}`, name),
			"auth/token/create-orphan": fmt.Sprintf(`{"policies":[%q,"default"]}`, name),
			"auth/token/create/r":      fmt.Sprintf(`{"policies":[%q]}`, name),
		} {
			w.do("POST", "auth/token/roles/r", fmt.Sprintf(`{"allowed_policies":[%q,"default"],"orphan":true}`, name), as...)
			w.notRoot(path, w.do("POST", path, fields, as...))
		}
		user := fmt.Sprintf("auth/userpass/users/u%d", i)
		for _, field := range []string{"policies", "token_policies"} {
			w.do("POST", user, fmt.Sprintf(`{"password":"pw",%q:[%q]}`, field, name), as...)
			w.do("POST", user+"/policies", fmt.Sprintf(`{%q:%q}`, field, name), as...)
			w.notRoot(user, w.do("POST", strings.Replace(user, "users", "login", 1), `{"password":"pw"}`))
		}
	}
}

// notRoot fails if an answer has a token that may do what only root may.
func (w *harness) notRoot(what string, answer *httptest.ResponseRecorder) {
	w.t.Helper()
	var a wrapReply
	if answer.Code != 200 {
		return
	}
	if w.decode(answer, &a); a.Auth == nil {
		w.t.Fatalf("%s: %s", what, answer.Body)
	}
	if slices.Contains(a.Auth.Policies, "root") {
		w.t.Errorf("%s: policies %q", what, a.Auth.Policies)
	}
	if got := w.do("GET", "sys/mounts", "", "X-Vault-Token", a.Auth.ClientToken); got.Code == 200 {
		w.t.Errorf("%s: a token with the policies %q lists the mounts", what, a.Auth.Policies)
	}
}
