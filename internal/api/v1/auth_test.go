package v1

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/token"
)

var serial atomic.Int64

// unique is a name that nothing else has.
func (w *harness) unique() string { return fmt.Sprintf("unique-%d", serial.Add(1)) }

// policy stores a policy without a request.
func (w *harness) policy(name, text string) {
	w.t.Helper()
	active, err := w.node.Role()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := active.Tokens().WritePolicy(w.t.Context(), token.PolicyWrite{Name: name, Text: text}); err != nil {
		w.t.Fatal(err)
	}
}

// create makes a token by a request and returns what was answered under "auth".
func (w *harness) create(path, body string, header ...string) api.AuthAnswer {
	w.t.Helper()
	a := w.do("POST", "auth/token/"+path, body, header...)
	var reply struct {
		Auth *api.AuthAnswer `json:"auth"`
	}
	w.decode(a, &reply)
	if a.Code != http.StatusOK || reply.Auth == nil {
		w.t.Fatalf("create: %d %s", a.Code, a.Body)
	}
	return *reply.Auth
}

func (w *harness) as(token, method, path, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.do(method, path, body, "X-Vault-Token", token)
}

// data decodes what stands under "data".
func (w *harness) data(a *httptest.ResponseRecorder) map[string]any {
	w.t.Helper()
	var reply struct {
		Data map[string]any `json:"data"`
	}
	w.decode(a, &reply)
	return reply.Data
}

func TestRotateTakesSudo(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	rotate := `path "sys/rotate" { capabilities = ["update", "sudo"] }`
	w.policy("rotate", rotate)
	w.policy("both", rotate+` path "sys/key-status" { capabilities = ["read"] }`)
	w.policy("weak", `path "sys/rotate" { capabilities = ["create", "read", "update", "delete", "list"] } path `+
		`"sys/key-status" { capabilities = ["read"] }`)
	term := func() float64 { return w.data(w.do("GET", "sys/key-status", ""))["term"].(float64) }
	before := term()
	for _, tc := range []struct {
		policy         string
		rotate, status int
	}{{"weak", 403, 200}, {"rotate", 204, 403}, {"both", 204, 200}} {
		token := w.create("create", `{"policies":["`+tc.policy+`"]}`).ClientToken
		if a := w.as(token, "POST", "sys/rotate", ""); a.Code != tc.rotate {
			t.Errorf("%s: rotate: %d %s", tc.policy, a.Code, a.Body)
		}
		a := w.as(token, "GET", "sys/key-status", "")
		if a.Code != tc.status || a.Code == 403 && a.Body.String() != forbidden.body+"\n" {
			t.Errorf("%s: status: %d %s", tc.policy, a.Code, a.Body)
		}
	}
	if after := term(); after != before+2 {
		t.Errorf("the term went from %v to %v; two of three may rotate", before, after)
	}
}

func TestTokenCreateRules(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.policy("maker", `path "auth/token/*" { capabilities = ["create", "update", "read"] }`)
	w.policy("other", `path "x" { capabilities = ["read"] }`)
	maker := w.create("create", `{"policies":["maker"]}`).ClientToken
	few := w.create("create", `{"policies":["root"],"num_uses":50}`).ClientToken
	brief := w.create("create", `{"policies":["root"],"ttl":"1h"}`).ClientToken
	batch := w.create("create", `{"policies":["maker"],"type":"batch"}`).ClientToken
	w.expect("role", w.do("POST", "auth/token/roles/strict", `{"allowed_policies":["other"],"disallowed_policies":"maker"}`), 204, "")
	for _, tc := range []struct{ token, path, body, want string }{
		{w.token, "create", `{"type":"batch"}`, "batch tokens cannot be root tokens"},
		{w.token, "create", `{"id":"s.abc"}`, "custom token ID cannot have the 's.' prefix"},
		{w.token, "create", `{"id":"hvs.abc"}`, "custom token ID cannot have the 'hvs.' prefix"},
		{w.token, "create", `{"id":"a.b"}`, "custom token ID cannot have the '.' in the value"},
		{w.token, "create", `{"ttl":"-1h"}`, "ttl must be positive"},
		{w.token, "create", `{"num_uses":-1}`, "number of uses cannot be negative"},
		{w.token, "create", `{"type":"nope"}`, "invalid 'token_type' value"},
		{w.token, "create", `{"policies":["response-wrapping"]}`, `cannot assign policy "response-wrapping"`},
		{w.token, "create/nope", `{}`, "unknown role nope"},
		{w.token, "create", `{"policies":["p"],"type":"batch","period":"1h"}`, `batch tokens cannot have "period" set`},
		{w.token, "create", `{"entity_alias":"a"}`, "invalid 'entity_alias' value"},
		{maker, "create", `{"policies":["other"]}`, "child policies must be subset of parent"},
		{maker, "create", `{"id":"chosen"}`, "root or sudo privileges required to specify token id"},
		{maker, "create", `{"no_parent":true}`, "root or sudo privileges required to create orphan token"},
		{maker, "create", `{"period":"1h"}`, "root or sudo privileges required to create periodic token"},
		{maker, "revoke-orphan", `{"token":"` + few + `"}`, "root or sudo privileges required to revoke and orphan"},
		{maker, "create/strict", `{"policies":["maker"]}`, `token policy "maker" is disallowed by this role`},
		{few, "create", `{}`, "restricted use token cannot generate child tokens"},
		{brief, "create", `{}`, "expiring root tokens cannot create non-expiring root tokens"},
		{batch, "create", `{}`, "batch tokens cannot create more tokens"},
		{w.token, "renew", `{}`, "missing token ID"},
		{w.token, "renew", `{"token":"nope"}`, "token not found"},
		{w.token, "renew", `{"token":"` + batch + `"}`, "batch tokens cannot be renewed"},
		{w.token, "renew-self", `{}`, "invalid lease ID"},
		{w.token, "revoke-orphan", `{"token":"nope"}`, "token to revoke not found"},
		{w.token, "lookup-accessor", `{"accessor":"nope"}`, api.Bulleted("invalid accessor")},
		{w.token, "renew-accessor", `{}`, api.Bulleted("missing accessor")},
	} {
		w.expect(tc.path+" "+tc.body, w.as(tc.token, "POST", "auth/token/"+tc.path, tc.body), 400, refusal(tc.want))
	}
	w.expect("sudo for root", w.as(maker, "POST", "auth/token/create", `{"policies":["root"]}`), 400,
		refusal("child policies must be subset of parent"))
	w.expect("lookup", w.do("POST", "auth/token/lookup", `{"token":"nope"}`), 403, refusal("bad token"))
	w.expect("revoke", w.do("POST", "auth/token/revoke", `{"token":"nope"}`), 204, "")
	chosen := w.do("POST", "auth/token/create", `{"id":"chosen"}`)
	if w.expect("a chosen token", chosen, 200, ""); !strings.Contains(chosen.Body.String(), "Supplying a custom ID") {
		t.Errorf("no warning of a chosen token: %s", chosen.Body)
	}
	w.expect("again", w.do("POST", "auth/token/create", `{"id":"chosen"}`), 400,
		refusal("cannot create a token with a duplicate ID"))
	if a := w.do("POST", "auth/token/revoke-accessor", `{"accessor":"nope"}`); a.Code != 200 ||
		!strings.Contains(a.Body.String(), "No token found with this accessor") {
		t.Errorf("revoke-accessor: %d %s", a.Code, a.Body)
	}
}

// TestTokenBodies pins what clients decode.
func TestTokenBodies(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.policy("p1", `path "x" { capabilities = ["read"] }`)
	var b strings.Builder
	note := func(what string, a *httptest.ResponseRecorder) {
		fmt.Fprintf(&b, "%s\n%d %s\n", what, a.Code, normal(a.Body.String()))
	}
	made := w.create("create", `{"policies":["p1"],"ttl":"1h","meta":{"team":"a"},"display_name":"c i!"}`)
	periodic := w.create("create", `{"policies":["p1"],"period":"2h","explicit_max_ttl":"24h","num_uses":9}`)
	note("create", w.do("POST", "auth/token/create", `{"policies":["P1","gone"],"ttl":"9999h"}`))
	note("create-orphan", w.do("POST", "auth/token/create-orphan", `{"no_default_policy":true,"policies":["p1"]}`))
	note("lookup", w.do("POST", "auth/token/lookup", `{"token":"`+made.ClientToken+`"}`))
	note("lookup-accessor", w.do("POST", "auth/token/lookup-accessor", `{"accessor":"`+periodic.Accessor+`"}`))
	note("renew", w.do("POST", "auth/token/renew", `{"token":"`+made.ClientToken+`","increment":"30m"}`))
	note("renew-self", w.as(periodic.ClientToken, "PUT", "auth/token/renew-self", `{"increment":1}`))
	note("renew-accessor", w.do("POST", "auth/token/renew-accessor", `{"accessor":"`+made.Accessor+`"}`))
	note("lookup again", w.do("GET", "auth/token/lookup?token="+made.ClientToken, ""))
	note("lookup-self of root", w.do("GET", "auth/token/lookup-self", ""))
	note("role written", w.do("POST", "auth/token/roles/ci", `{"allowed_policies":"p1,p2","token_period":"1h","orphan":true,"path_suffix":"x"}`))
	note("role", w.do("GET", "auth/token/roles/ci", ""))
	note("roles", w.do("LIST", "auth/token/roles", ""))
	note("create by role", w.do("POST", "auth/token/create/ci", `{"policies":["p1"]}`))
	note("role deleted", w.do("DELETE", "auth/token/roles/ci", ""))
	note("role gone", w.do("GET", "auth/token/roles/ci", ""))
	note("tidy", w.do("POST", "auth/token/tidy", ""))
	note("revoke-accessor", w.do("POST", "auth/token/revoke-accessor", `{"accessor":"`+made.Accessor+`"}`))
	note("lookup of the revoked", w.do("POST", "auth/token/lookup", `{"token":"`+made.ClientToken+`"}`))
	golden(t, "tokens.txt", b.String())
	if n := len(w.data(w.do("LIST", "auth/token/accessors", ""))["keys"].([]any)); n != 5 {
		t.Errorf("%d accessors are listed; there are 5", n)
	}
}

// TestPolicyBodies pins policies by both names, and what follows from them.
func TestPolicyBodies(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	var b strings.Builder
	note := func(method, path, body string) {
		a := w.do(method, path, body)
		fmt.Fprintf(&b, "%s %s %s\n%d %s\n", method, path, body, a.Code, normal(a.Body.String()))
	}
	const text = `path \"kv/+/d\" { capabilities = [\"read\"] } path \"kv/a/*\" { capabilities = [\"update\", \"list\"] }`
	note("PUT", "sys/policies/acl/Team", `{"policy":"`+text+`"}`)
	note("PUT", "sys/policy/old", `{"rules":"path \"a\" { policy = \"write\" }"}`)
	note("PUT", "sys/policies/acl/b64", `{"policy":"cGF0aCAiYSIge30="}`)
	note("LIST", "sys/policies/acl", "")
	note("GET", "sys/policies/acl?list=true", "")
	note("GET", "sys/policy", "")
	note("GET", "sys/policies/acl/team", "")
	note("GET", "sys/policy/OLD", "")
	note("GET", "sys/policies/acl/b64", "")
	note("GET", "sys/policies/acl/root", "")
	note("GET", "sys/policies/acl/nope", "")
	note("GET", "sys/policies/detailed/acl/team", "")
	for _, bad := range []string{`{}`, `{"policy":""}`, `{"policy":"path"}`,
		`{"policy":"path \"a\" { capabilities = [\"fly\"] }"}`,
		`{"policy":"path \"a/+*\" {}"}`, `{"policy":"pth \"a\" {}"}`, `{"policy":"path \"a\" {}","cas":7}`} {
		note("PUT", "sys/policies/acl/bad", bad)
	}
	note("PUT", "sys/policies/acl/root", `{"policy":"path \"a\" {}"}`)
	note("DELETE", "sys/policies/acl/root", "")
	note("DELETE", "sys/policies/acl/default", "")
	note("DELETE", "sys/policies/acl/nope", "")
	token := w.create("create", `{"policies":["team","old"]}`)
	ask := func(path, body string) {
		note("POST", "sys/"+path, strings.ReplaceAll(body, "TOKEN", token.ClientToken))
	}
	ask("capabilities", `{"paths":["kv/a/d","kv/b/d","kv/b/e","a"],"token":"TOKEN"}`)
	ask("capabilities", `{"path":"kv/a/d","token":"TOKEN"}`)
	ask("capabilities", `{"token":"TOKEN"}`)
	ask("capabilities", `{"path":"a"}`)
	ask("capabilities", `{"path":"a","token":"nope"}`)
	ask("capabilities-self", `{"paths":["a","b"]}`)
	a := w.do("POST", "sys/capabilities-accessor", `{"paths":["a","sys/capabilities-self"],"accessor":"`+
		token.Accessor+`"}`)
	fmt.Fprintf(&b, "capabilities-accessor\n%d %s\n", a.Code, normal(a.Body.String()))
	w.expect("resultant of root", w.do("GET", "sys/internal/ui/resultant-acl", ""), 200, "")
	seen := w.data(w.as(token.ClientToken, "GET", "sys/internal/ui/resultant-acl", ""))
	exact, _ := json.Marshal(seen["exact_paths"].(map[string]any)["a"])
	wild, _ := json.Marshal(seen["glob_paths"].(map[string]any)["kv/a/"])
	if string(exact) != `{"capabilities":["create","delete","list","read","update"]}` || string(wild) != `{"capabilities":["list","update"]}` {
		t.Errorf("resultant-acl: %s, %s", exact, wild)
	}
	golden(t, "policies.txt", strings.ReplaceAll(b.String(), token.ClientToken, "s.TOKEN"))
}

func TestPolicyParametersOverHTTP(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.policy("narrow", `
path "secret/form" {
  capabilities        = ["create", "update", "read"]
  required_parameters = ["name"]
  allowed_parameters  = { "name" = ["a*"], "n" = [1, 2], "*" = [] }
  denied_parameters   = { "password" = [] }
}
path "secret/made" { capabilities = ["create"] }
path "secret/wrapped" {
  capabilities     = ["read"]
  max_wrapping_ttl = "5m"
}`)
	token := w.create("create", `{"policies":["narrow"]}`).ClientToken
	for _, tc := range []struct {
		body string
		code int
	}{
		{`{"name":"abc"}`, 204}, {`{"name":"abc","n":2,"x":"y"}`, 204}, {`{"NAME":"abc"}`, 403},
		{`{"name":"abc","n":"1"}`, 204},
		{`{"name":"b"}`, 403}, {`{"x":"y"}`, 403}, {`{}`, 403}, {`{"name":"abc","n":3}`, 403},
		{`{"name":"abc","PassWord":"1"}`, 403},
	} {
		if a := w.as(token, "PUT", "secret/form", tc.body); a.Code != tc.code {
			t.Errorf("%s: %d %s", tc.body, a.Code, a.Body)
		}
	}
	w.expect("a read without what is required", w.as(token, "GET", "secret/form", ""), 403, forbidden.body)
	w.expect("a read with it", w.as(token, "GET", "secret/form?name=a", ""), 200, "")
	w.expect("broken JSON", w.as(token, "PUT", "secret/form", `{`), 400, "")
	w.expect("a first write", w.as(token, "PUT", "secret/made", `{"a":"b"}`), 204, "")
	w.expect("a second write", w.as(token, "PUT", "secret/made", `{"a":"b"}`), 403, forbidden.body)
	w.expect("an answer in the clear", w.as(token, "GET", "secret/wrapped", ""), 403, forbidden.body)
}

func TestUsesAreCounted(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	token := w.create("create", `{"num_uses":3,"policies":["default"]}`).ClientToken
	if n := w.data(w.as(token, "GET", "auth/token/lookup-self", ""))["num_uses"]; n != 2.0 {
		t.Errorf("num_uses is %v after the first of three", n)
	}
	w.expect("a refusal counts too", w.as(token, "GET", "secret/a", ""), 403, forbidden.body)
	if n := w.data(w.as(token, "GET", "auth/token/lookup-self", ""))["num_uses"]; n != 0.0 {
		t.Errorf("num_uses is %v after the last", n)
	}
	w.expect("a fourth use", w.as(token, "GET", "auth/token/lookup-self", ""), 403, noToken.body)
	// Many requests at the same time get no more.
	token = w.create("create", `{"num_uses":5,"policies":["default"]}`).ClientToken
	codes := make(chan int, 20)
	for range 20 {
		go func() { codes <- w.as(token, "GET", "auth/token/lookup-self", "").Code }()
	}
	ok := 0
	for range 20 {
		if <-codes == 200 {
			ok++
		}
	}
	if ok != 5 {
		t.Errorf("a token of 5 uses was used %d times", ok)
	}
}

func TestChildrenEndWithTheirParent(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	parent := w.create("create", `{"policies":["root"]}`).ClientToken
	child := w.create("create", `{}`, "X-Vault-Token", parent).ClientToken
	grandchild := w.create("create", `{}`, "X-Vault-Token", child).ClientToken
	batch := w.create("create", `{"policies":["default"],"type":"batch"}`, "X-Vault-Token", child).ClientToken
	orphan := w.create("create-orphan", `{}`, "X-Vault-Token", child).ClientToken
	for _, token := range []string{child, grandchild, batch, orphan} {
		w.expect("before", w.as(token, "GET", "auth/token/lookup-self", ""), 200, "")
	}
	w.expect("revoke-orphan", w.do("POST", "auth/token/revoke-orphan", `{"token":"`+parent+`"}`), 204, "")
	w.expect("the parent", w.as(parent, "GET", "auth/token/lookup-self", ""), 403, noToken.body)
	for _, token := range []string{child, grandchild, orphan} {
		w.expect("set free", w.as(token, "GET", "auth/token/lookup-self", ""), 200, "")
	}
	w.expect("revoke", w.do("POST", "auth/token/revoke", `{"token":"`+child+`"}`), 204, "")
	for i, token := range []string{child, grandchild, batch} {
		w.expect(fmt.Sprint("ended ", i), w.as(token, "GET", "auth/token/lookup-self", ""), 403, noToken.body)
	}
	w.expect("an orphan", w.as(orphan, "GET", "auth/token/lookup-self", ""), 200, "")
	w.discreet(parent, child, grandchild, batch, orphan)
}

// TestRequiredParametersAreMetByTheirExactName: a field in another case is none that a handler
// reads, so it meets no requirement; every other constraint applies to it.
func TestRequiredParametersAreMetByTheirExactName(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("approle", w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204, "")
	w.expect("v2", w.do("POST", "sys/mounts/v2", `{"type":"kv","options":{"version":"2"}}`), 204, "")
	w.expect("role", w.do("PUT", "auth/approle/role/r", `{}`), 204, "")
	w.policy("strict", `
		path "auth/token/create" {
			capabilities = ["update"]
			required_parameters = ["ttl"]
			allowed_parameters = { "ttl" = ["60s"], "*" = [] }
		}
		path "auth/approle/role/r" { capabilities = ["update"] required_parameters = ["secret_id_ttl"] }
		path "v2/metadata/a" { capabilities = ["create", "update"] required_parameters = ["max_versions"] }
		path "secret/a" { capabilities = ["create", "update"] required_parameters = ["a"] }
		path "sys/rekey/init" { capabilities = ["update"] required_parameters = ["secret_shares"] }`)
	token := w.grant("strict", moment.Add(time.Hour), "strict")
	for _, tc := range []struct {
		path, body string
		code       int
	}{
		{"auth/token/create", `{"ttl":"60s"}`, 200}, {"auth/token/create", `{}`, 403},
		{"auth/token/create", `{"TTL":"60s"}`, 403}, {"auth/token/create", `{"Ttl":"60s"}`, 403},
		{"auth/token/create", `{"ttl":"60s","TTL":"1h"}`, 403}, {"auth/token/create", `{"ttl":"1h"}`, 403},
		{"auth/approle/role/r", `{"SECRET_ID_TTL":"60s"}`, 403}, {"auth/approle/role/r", `{"secret_id_ttl":"60s"}`, 204},
		{"v2/metadata/a", `{"MAX_VERSIONS":1}`, 403}, {"v2/metadata/a", `{"max_versions":1}`, 204},
		{"secret/a", `{"A":1}`, 403}, {"secret/a", `{"a":1}`, 204},
		{"sys/rekey/init", `{"SECRET_SHARES":1,"secret_threshold":1}`, 403},
	} {
		if a := w.as(token, "PUT", tc.path, tc.body); a.Code != tc.code {
			t.Errorf("%s %s: %d %s, want %d", tc.path, tc.body, a.Code, a.Body, tc.code)
		}
	}
}

// TestTuneTokenMount: the lease times of token/ bind tokens that are created afterwards (case 11).
func TestTuneTokenMount(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	before := w.create("create", `{"policies":["default"]}`)
	for _, path := range []string{"sys/mounts/auth/token/tune", "sys/auth/token/tune"} {
		w.expect(path, w.do("POST", path, `{"default_lease_ttl":"1h","max_lease_ttl":"2h"}`), 204, "")
	}
	if a := w.do("GET", "sys/auth/token/tune", ""); !strings.Contains(a.Body.String(), `"default_lease_ttl":3600`) ||
		!strings.Contains(a.Body.String(), `"max_lease_ttl":7200`) {
		t.Errorf("read back: %s", a.Body)
	}
	for body, want := range map[string]int64{
		`{"policies":["default"]}`: 3600, `{"policies":["default"],"ttl":"90m"}`: 5400,
		`{"policies":["default"],"ttl":"3h"}`: 7200, `{"policies":["default"],"explicit_max_ttl":"30m"}`: 1800,
		`{"policies":["default"],"period":"3h"}`: 10800, `{"policies":["default"],"type":"batch"}`: 3600,
		`{"policies":["root"]}`: 0,
	} {
		if got := w.create("create", body).LeaseDuration; got != want {
			t.Errorf("%s lives %d s, want %d", body, got, want)
		}
	}
	made := w.create("create", `{"policies":["default"]}`)
	var renewed struct{ Auth api.AuthAnswer }
	w.decode(w.do("PUT", "auth/token/renew", body("token", made.ClientToken, "increment", "5h")), &renewed)
	if renewed.Auth.LeaseDuration != 7200 {
		t.Errorf("renewed for %d s, want 7200", renewed.Auth.LeaseDuration)
	}
	if before.LeaseDuration != 768*3600 {
		t.Errorf("before: %d s", before.LeaseDuration)
	}
	w.expect("token_type", w.do("POST", "sys/auth/token/tune", `{"token_type":"batch"}`), 400,
		refusal("token_type of \"token/\" cannot be set: the request, or a token role, decides the type"))
	w.expect("disabled", w.do("DELETE", "sys/auth/token", ""), 400, "")
	w.expect("sealed", w.do("PUT", "sys/seal", ""), 204, "")
}
