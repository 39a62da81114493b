package v1

import (
	"strings"
	"testing"
)

func TestAuthMethodsMove(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("user", w.do("POST", "auth/userpass/users/ann", `{"password":"hunter2"}`), 204, "")
	var r wrapReply
	w.decode(w.do("POST", "auth/userpass/login/ann", `{"password":"hunter2"}`, "X-Vault-Token", ""), &r)
	for name, body := range map[string]string{
		"out of auth/": `{"from":"auth/userpass","to":"people"}`, "into auth/": `{"from":"secret","to":"auth/secret"}`,
		"the token method":      `{"from":"auth/token","to":"auth/tokens"}`,
		"onto the token method": `{"from":"auth/userpass","to":"auth/token"}`,
		"nothing there":         `{"from":"auth/none","to":"auth/other"}`, "nowhere": `{"from":"auth/","to":"auth/other"}`,
	} {
		w.expect(name, w.do("POST", "sys/remount", body), 400, "")
	}
	var moved struct {
		Data struct {
			ID string `json:"migration_id"`
		}
	}
	w.decode(w.do("POST", "sys/remount", `{"from":"auth/userpass/","to":"auth/people"}`), &moved)
	if a := w.do("GET", "sys/remount/status/"+moved.Data.ID, ""); !strings.Contains(a.Body.String(),
		`"migration_info":{"source_mount":"auth/userpass/","status":"success","target_mount":"auth/people/"}`) {
		t.Errorf("the status of %q is %s", moved.Data.ID, a.Body)
	}
	w.expect("its tokens have ended", w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", r.Auth.ClientToken), 403,
		"")
	w.expect("the old path", w.do("POST", "auth/userpass/login/ann", `{"password":"hunter2"}`, "X-Vault-Token", ""), 403,
		"")
	w.expect("the new path", w.do("POST", "auth/people/login/ann", `{"password":"hunter2"}`, "X-Vault-Token", ""), 200, "")
}
