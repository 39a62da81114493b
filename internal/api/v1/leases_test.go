package v1

import (
	"fmt"
	"strings"
	"testing"
)

func TestLeases(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("user", w.do("PUT", "auth/userpass/users/alice", `{"password":"p","token_ttl":"1h"}`), 204, "")
	in := w.login("auth/userpass/login/alice", `{"password":"p"}`)
	two := w.login("auth/userpass/login/alice", `{"password":"p"}`)
	w.expect("without a token", w.do("LIST", "sys/leases/lookup/auth", "", "X-Vault-Token", ""), 403,
		refusal("permission denied"))
	var keys struct{ Data struct{ Keys []string } }
	for _, tc := range []struct{ prefix, want string }{
		{"", "[auth/]"}, {"auth", "[userpass/]"}, {"auth/userpass/login/", "[alice/]"},
	} {
		w.decode(w.do("LIST", strings.TrimSuffix("sys/leases/lookup/"+tc.prefix, "/"), ""), &keys)
		if fmt.Sprint(keys.Data.Keys) != tc.want {
			t.Errorf("below %q: %v", tc.prefix, keys.Data.Keys)
		}
	}
	w.decode(w.do("LIST", "sys/leases/lookup/auth/userpass/login/alice", ""), &keys)
	if len(keys.Data.Keys) != 2 {
		t.Fatalf("%v", keys.Data.Keys)
	}
	w.expect("nothing there", w.do("LIST", "sys/leases/lookup/auth/nope", ""), 404, `{"errors":[]}`)
	id := "auth/userpass/login/alice/" + keys.Data.Keys[0]
	body := fmt.Sprintf(`{"lease_id":%q}`, id)
	if a := w.do("PUT", "sys/leases/lookup", body); a.Code != 200 ||
		!strings.Contains(a.Body.String(), `"renewable":true,"ttl":3600`) {
		t.Errorf("lookup: %d %s", a.Code, a.Body)
	}
	if a := w.do("PUT", "sys/leases/renew", fmt.Sprintf(`{"lease_id":%q,"increment":120}`, id)); a.Code != 200 ||
		!strings.Contains(a.Body.String(), fmt.Sprintf(`"lease_id":%q,"renewable":true,"lease_duration":120`, id)) {
		t.Errorf("renew: %d %s", a.Code, a.Body)
	}
	for _, bad := range []string{"x", "auth/userpass/login/bob/" + keys.Data.Keys[0], id + "0", strings.ToUpper(id),
		"auth/userpass/login/alice/h" + strings.Repeat("0", 64)} {
		b := fmt.Sprintf(`{"lease_id":%q}`, bad)
		w.expect("lookup of nothing", w.do("PUT", "sys/leases/lookup", b), 400, refusal("invalid lease"))
		w.expect("renew of nothing", w.do("PUT", "sys/leases/renew", b), 400, refusal("lease not found"))
		w.expect("revoke of nothing", w.do("PUT", "sys/leases/revoke", b), 204, "")
	}
	w.expect("revoke", w.do("PUT", "sys/leases/revoke/"+id, ""), 204, "")
	alive := 0
	for _, token := range []string{in.ClientToken, two.ClientToken} {
		if w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", token).Code == 200 {
			alive++
		}
	}
	if alive != 1 {
		t.Errorf("%d of the two tokens live", alive)
	}
	w.expect("revoke-prefix of a name that begins so", w.do("PUT", "sys/leases/revoke-prefix/auth/userpass/login/ali", ""),
		204, "")
	w.decode(w.do("LIST", "sys/leases/lookup/auth/userpass/login/alice", ""), &keys)
	if len(keys.Data.Keys) != 1 {
		t.Errorf("%v", keys.Data.Keys)
	}
	w.expect("revoke-prefix", w.do("PUT", "sys/leases/revoke-prefix/auth/userpass", ""), 204, "")
	w.expect("nothing left", w.do("LIST", "sys/leases/lookup", ""), 404, `{"errors":[]}`)
	w.expect("tidy", w.do("PUT", "sys/leases/tidy", ""), 202, "")
}
