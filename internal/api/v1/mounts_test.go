package v1

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestMounts(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, tc := range []struct {
		method, path, body string
		code               int
		text               string
	}{
		{"POST", "sys/mounts/kv1", `{"type":"kv","description":"d","config":{"default_lease_ttl":"1h","max_lease_ttl":7200},"options":{"version":1}}`, 204, ""},
		{"POST", "sys/mounts/kv1", `{"type":"kv"}`, 400, "path is already in use at kv1/"},
		{"POST", "sys/mounts/kv1/sub", `{"type":"kv"}`, 400, "path is already in use at kv1/"},
		{"POST", "sys/mounts/team/a", `{"type":"kv","options":null,"local":"true"}`, 204, ""},
		{"POST", "sys/mounts/x", `{"type":"nope"}`, 400, "plugin not found in the catalog: nope"},
		{"POST", "sys/mounts/x", `{}`, 400, "the type of the mount is missing"},
		{"POST", "sys/mounts/x", `{"type":"kv","options":{"version":"3"}}`, 400, `options.version of a kv mount is "3"`},
		{"POST", "sys/mounts/x", `{"type":"cubbyhole"}`, 400, "plugin not found in the catalog: cubbyhole"},
		{"POST", "sys/mounts/x", `{"type":"kv","options":"1"}`, 400, "error converting input for field \"options\""},
		{"POST", "sys/mounts/x", `{"type":"kv","options":{"a":[]}}`, 400, "error converting input for field \"options\""},
		{"POST", "sys/mounts/x", `{"type":"kv","config":[]}`, 400, "error converting input for field \"config\""},
		{"POST", "sys/mounts/x", `{"type":["kv"]}`, 400, "error converting input for field \"type\""},
		{"POST", "sys/mounts/x", `{"type":"kv","config":{"default_lease_ttl":"2h","max_lease_ttl":"1h"}}`, 400, "must not be negative"},
		{"POST", "sys/mounts/sys/foo", `{"type":"kv"}`, 400, `cannot mount "sys/foo/"`},
		{"GET", "sys/mounts/kv1/", "", 200, `"config":{"default_lease_ttl":3600,"force_no_cache":false,"max_lease_ttl":7200}`},
		{"GET", "sys/mounts/team/a", "", 200, `"local":true`},
		{"PUT", "kv1/s", `{"a":1}`, 204, ""},
		{"GET", "kv1/s", "", 200, `"lease_duration":3600`},
		{"PUT", "team/a/s", `{"a":2}`, 204, ""},
		{"DELETE", "sys/mounts/sys", "", 400, `cannot unmount "sys/"`},
		{"DELETE", "sys/mounts/kv1", "", 204, ""},
		{"DELETE", "sys/mounts/kv1", "", 204, ""},
		{"GET", "kv1/s", "", 404, `no handler for route "kv1/s". route entry not found.`},
		{"POST", "sys/mounts/kv1", `{"type":"kv"}`, 204, ""},
		{"GET", "kv1/s", "", 404, empty},
		{"GET", "team/a/s", "", 200, `"data":{"a":2}`},
	} {
		a := w.do(tc.method, tc.path, tc.body)
		if a.Code != tc.code || !strings.Contains(strings.ReplaceAll(a.Body.String(), `\"`, `"`), tc.text) {
			t.Errorf("%s %s %s: %d %s; want %d %s", tc.method, tc.path, tc.body, a.Code, a.Body, tc.code, tc.text)
		}
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	weak := w.grant("weak", moment.AddDate(1, 0, 0), "default")
	denied := func(path string) string {
		return refusal("preflight capability check returned 403, please ensure client's policies grant access to " +
			"path \"" + path + "\"")
	}
	w.expect("nowhere", w.do("GET", "sys/internal/ui/mounts/none", ""), 403, denied("none/"))
	w.expect("a part of a mount's name", w.do("GET", "sys/internal/ui/mounts/secre/x", ""), 403, denied("secre/x/"))
	w.expect("no access", w.do("GET", "sys/internal/ui/mounts/secret/x", "", "X-Vault-Token", weak), 403,
		denied("secret/x/"))
	w.expect("no token", w.do("GET", "sys/internal/ui/mounts/secret/x", "", "X-Vault-Token", ""), 403,
		refusal("permission denied"))
	w.expect("the mount itself", w.do("GET", "sys/internal/ui/mounts/secret", ""), 200, "")
	seen := func(token string) string {
		a := w.do("GET", "sys/internal/ui/mounts", "", "X-Vault-Token", token)
		w.expect("what a token sees", a, 200, "")
		var r struct {
			Data struct{ Secret map[string]any }
		}
		w.decode(a, &r)
		return strings.Join(slices.Sorted(maps.Keys(r.Data.Secret)), " ")
	}
	for token, want := range map[string]string{"": "", "unknown": "", weak: "cubbyhole/ identity/ sys/",
		w.token: "cubbyhole/ identity/ secret/ sys/"} {
		if got := seen(token); got != want {
			t.Errorf("the token %q sees %s", token, got)
		}
	}
	w.expect("tune", w.do("POST", "sys/mounts/secret/tune", `{"listing_visibility":"unauth"}`), 204, "")
	if got := seen(""); got != "secret/" {
		t.Errorf("of a mount that anybody may know of, and the others, is seen: %s", got)
	}
}

// TestTokensOfOtherNetworksShowNothing: what needs no token shows more to a token's bearer, and a
// token that is bound to networks has no bearer elsewhere.
func TestTokensOfOtherNetworksShowNothing(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2,"holders":["alice","bob"]}`).RecoveryKeys
	w.policy("reader", `path "secret/*" { capabilities = ["read"] }`)
	w.expect("role", w.do("PUT", "auth/token/roles/bound", `{"token_bound_cidrs":"198.51.100.0/24"}`), 204, "")
	bound := w.create("create/bound", `{"policies":["reader"]}`).ClientToken
	nonce := w.ask("PUT", "sys/generate-root/attempt", `{}`).Nonce
	w.ask("PUT", "sys/generate-root/update", share(keys[0], nonce))
	for _, tc := range []struct{ method, path, shown string }{
		{"GET", "sys/internal/ui/mounts", `"secret/"`}, {"GET", "sys/internal/ui/mounts/secret/a", `"type":"kv"`},
		{"GET", "secret/a?help=1", "Key-value"}, {"GET", "sys/generate-root/attempt", `"alice"`},
	} {
		for address, want := range map[string]bool{"198.51.100.7:1": true, "203.0.113.7:1": false} {
			r := w.request(tc.method, "/v1/"+tc.path, "", "X-Vault-Token", bound)
			r.RemoteAddr = address
			if a := w.send(r); strings.Contains(a.Body.String(), tc.shown) != want {
				t.Errorf("%s from %s: %d %s", tc.path, address, a.Code, a.Body)
			}
		}
	}
}
