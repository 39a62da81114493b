package v1

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/authn"
	"github.com/sealgate/sealgate/internal/mount"
)

// tick is a clock that a test moves.
type tick struct {
	mu sync.Mutex
	t  time.Time
}

func (c *tick) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *tick) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// words are values with a space between them.
func words(v ...any) string { return strings.TrimSpace(fmt.Sprintln(v...)) }

// login sends a login that must succeed.
func (w *harness) login(path, body string) *api.AuthAnswer {
	w.t.Helper()
	a := w.do("PUT", path, body, "X-Vault-Token", "")
	var r wrapReply
	w.decode(a, &r)
	if a.Code != 200 || r.Auth == nil {
		w.t.Fatalf("%s: %d %s", path, a.Code, a.Body)
	}
	return r.Auth
}

func TestAuthMounts(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, tc := range []struct {
		method, path, body string
		code               int
		text               string
	}{
		{"GET", "sys/auth", "", 200, `"token/":{"accessor":"auth_token_`},
		{"GET", "sys/auth/token", "", 200, `"token_type":"default-service"`},
		{"POST", "sys/auth/userpass",
			`{"type":"userpass","description":"people","config":{"default_lease_ttl":"1h","token_type":"batch"}}`, 204, ""},
		{"POST", "sys/auth/userpass", `{"type":"userpass"}`, 400, "path is already in use at userpass/"},
		{"POST", "sys/auth/team/x", `{"type":"approle","local":true}`, 204, ""},
		{"POST", "sys/auth/x", `{"type":"nope"}`, 400, "plugin not found in the catalog: nope"},
		{"POST", "sys/auth/x", `{"type":"kv"}`, 400, "plugin not found in the catalog: kv"},
		{"POST", "sys/auth/token", `{"type":"userpass"}`, 400, "cannot mount"},
		{"POST", "sys/auth/x", `{"type":"userpass","config":{"token_type":"nope"}}`, 400, "invalid token_type"},
		{"POST", "sys/mounts/x", `{"type":"userpass"}`, 400, "plugin not found in the catalog: userpass"},
		{"GET", "sys/auth/userpass", "", 200, `"type":"userpass"`},
		{"GET", "sys/auth/userpass/tune", "", 200, `"default_lease_ttl":3600`},
		{"GET", "sys/mounts/auth/userpass/tune", "", 200, `"token_type":"batch"`},
		{"POST", "sys/mounts/auth/userpass/tune",
			`{"description":"all people","token_type":"default-service","user_lockout_config":{"lockout_threshold":"3"}}`, 204,
			""},
		{"GET", "sys/auth/userpass/tune", "", 200, `"lockout_threshold":3`},
		{"POST", "sys/auth/userpass/tune", `{"max_lease_ttl":"30m"}`, 400, "default_lease_ttl and max_lease_ttl"},
		{"GET", "sys/auth/nope", "", 400, "No auth engine at nope/"},
		{"GET", "sys/auth/nope/tune", "", 400, `cannot fetch sysview for path \"auth/nope/\"`},
		{"DELETE", "sys/auth/token", "", 400, "token credential backend cannot be disabled"},
		{"DELETE", "sys/auth/team/x", "", 204, ""},
		{"DELETE", "sys/auth/nope", "", 204, ""},
		{"GET", "auth/team/x/role/a", "", 404, "no handler for route"},
		{"GET", "sys/internal/ui/mounts", "", 200, `"auth":{"token/":{`},
		{"GET", "auth/userpass/nowhere", "", 404, "unsupported path"},
		{"PATCH", "auth/userpass/users/a", "{}", 405, "unsupported operation"},
	} {
		a := w.do(tc.method, tc.path, tc.body)
		if a.Code != tc.code || !strings.Contains(a.Body.String(), tc.text) {
			t.Errorf("%s %s %s: %d %s, want %d %s", tc.method, tc.path, tc.body, a.Code, a.Body, tc.code, tc.text)
		}
	}
	w.expect("without a token", w.do("GET", "auth/userpass/users/a", "", "X-Vault-Token", ""), 403,
		refusal("permission denied"))
	weak := w.grant("weak", moment.AddDate(1, 0, 0), "default")
	w.expect("without the policy", w.do("PUT", "auth/userpass/users/a", `{"password":"x"}`, "X-Vault-Token", weak), 403,
		refusal("1 error occurred:\n\t* permission denied\n\n"))
}

func TestUserpass(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("no users", w.do("LIST", "auth/userpass/users", ""), 404, `{"errors":[]}`)
	w.expect("no password", w.do("PUT", "auth/userpass/users/alice", `{"policies":"ops"}`), 400,
		refusal("missing password"))
	w.expect("user", w.do("PUT", "auth/userpass/users/Alice",
		`{"password":"correct horse","token_policies":"ops, dev","token_ttl":"10m","token_max_ttl":"1h"}`), 204, "")
	for body, text := range map[string]string{
		`{"password":"x","token_ttl":"2h","token_max_ttl":"1h"}`:   "'token_ttl' cannot be greater than 'token_max_ttl'",
		`{"password":"x","token_policies":["root"]}`:               "auth methods cannot create root tokens",
		`{"password":"x","token_type":"batch","token_num_uses":1}`: "limited use count",
		`{"password":"x","token_bound_cidrs":"300.0.0.1"}`:         "is not a network",
		`{"password":"` + strings.Repeat("x", 73) + `"}`:           "bcrypt uses at most 72",
		`{"password":["x"]}`:                                         "it must be a string",
		`{"password":"x","password_hash":"y"}`:                       "not both",
		`{"password_hash":"$2a$31$` + strings.Repeat("x", 53) + `"}`: "a cost of at most 14",
		`{"password":"x","token_num_uses":-1}`:                       "cannot be negative",
	} {
		if a := w.do("PUT", "auth/userpass/users/bob", body); a.Code != 400 || !strings.Contains(a.Body.String(), text) {
			t.Errorf("%.60s: %d %s", body, a.Code, a.Body)
		}
	}
	a := w.do("GET", "auth/userpass/users/alice", "")
	var shown struct{ Data map[string]any }
	w.decode(a, &shown)
	if got := words(shown.Data["token_policies"], shown.Data["token_ttl"],
		shown.Data["token_type"]); got != "[ops dev] 600 default" || strings.Contains(a.Body.String(), "$2a$") {
		t.Errorf("read: %s", a.Body)
	}
	in := w.login("auth/userpass/login/ALICE", `{"password":"correct horse"}`)
	if got := words(in.Policies, in.Metadata, in.LeaseDuration, in.Renewable, in.TokenType,
		in.Orphan); got != "[default dev ops] map[username:alice] 600 true service true" {
		t.Errorf("auth: %s", got)
	}
	self := w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", in.ClientToken)
	if b := self.Body.String(); !strings.Contains(b, `"display_name":"userpass-alice"`) ||
		!strings.Contains(b, `"path":"auth/userpass/login/alice"`) {
		t.Errorf("lookup-self: %s", b)
	}
	for what, path := range map[string]string{"wrong password": "alice", "unknown user": "unknown"} {
		w.expect(what, w.do("PUT", "auth/userpass/login/"+path, `{"password":"wrong"}`, "X-Vault-Token", ""), 400,
			refusal("invalid username or password"))
	}
	w.expect("no password", w.do("PUT", "auth/userpass/login/alice", `{}`, "X-Vault-Token", ""), 400,
		refusal("missing password"))
	w.expect("read of a login", w.do("GET", "auth/userpass/login/alice", "", "X-Vault-Token", ""), 405,
		refusal("unsupported operation"))
	w.expect("new password", w.do("PUT", "auth/userpass/users/alice/password", `{"password":"other"}`), 204, "")
	w.expect("the old one", w.do("PUT", "auth/userpass/login/alice", `{"password":"correct horse"}`), 400, "")
	w.login("auth/userpass/login/alice", `{"password":"other"}`)
	w.expect("policies", w.do("PUT", "auth/userpass/users/alice/policies", `{"policies":["x"]}`), 204, "")
	w.expect("no such user", w.do("PUT", "auth/userpass/users/unknown/password", `{"password":"a"}`), 400, "")
	w.expect("list", w.do("LIST", "auth/userpass/users", ""), 200, "")
	w.expect("delete", w.do("DELETE", "auth/userpass/users/alice", ""), 204, "")
	w.expect("gone", w.do("GET", "auth/userpass/users/alice", ""), 404, `{"errors":[]}`)
	w.expect("disable", w.do("DELETE", "sys/auth/userpass", ""), 204, "")
	w.expect("its tokens are gone", w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", in.ClientToken), 403,
		refusal("permission denied"))
	w.discreet("correct horse", in.ClientToken)
}

func TestLockout(t *testing.T) {
	t.Parallel()
	clock := &tick{t: moment}
	w := unsealed(t, func(c *api.Config) {
		c.Now = clock.now
		c.Lockout = map[string]*mount.Lockout{"userpass": {Threshold: 3}}
	})
	w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("user", w.do("PUT", "auth/userpass/users/alice", `{"password":"right"}`), 204, "")
	try := func(name, password string) int {
		return w.do("PUT", "auth/userpass/login/"+name, fmt.Sprintf(`{"password":%q}`, password), "X-Vault-Token", "").Code
	}
	for _, want := range []int{400, 400, 400, 403} {
		if got := try("Alice", "wrong"); got != want {
			t.Errorf("wrong password: %d, want %d", got, want)
		}
	}
	for range 4 {
		try("unknown", "x")
	}
	if try("alice", "right") != 403 || try("bob", "x") != 400 || try("unknown", "x") != 403 {
		t.Error("lock-out is not by name, or not for unknown names")
	}
	var locked struct{ Data authn.LockedAnswer }
	w.decode(w.do("GET", "sys/locked-users", ""), &locked)
	if locked.Data.Total != 2 || fmt.Sprint(locked.Data.ByMount[0].Aliases) != "[alice unknown]" {
		t.Errorf("%+v", locked.Data)
	}
	w.expect("unlock", w.do("POST", "sys/locked-users/"+locked.Data.ByMount[0].Accessor+"/unlock/aLiCe", ""), 204, "")
	if try("alice", "right") != 200 || try("alice", "wrong") != 400 || try("alice", "right") != 200 {
		t.Error("unlocked, alice cannot log in")
	}
	clock.add(15*time.Minute - 1)
	if try("unknown", "x") != 403 {
		t.Error("lock-out ended early")
	}
	clock.add(1)
	if try("unknown", "x") != 400 {
		t.Error("lock-out did not end")
	}
	w.expect("off", w.do("POST", "sys/auth/userpass/tune", `{"user_lockout_config":{"lockout_disable":true}}`), 204, "")
	for range 10 {
		if try("carol", "x") != 400 {
			t.Error("lock-out although it is off")
		}
	}
}

func TestAppRole(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("enable", w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204, "")
	w.expect("role", w.do("POST", "auth/approle/role/ci",
		`{"token_policies":["ci"],"secret_id_num_uses":2,"secret_id_ttl":"1h","token_num_uses":5}`), 204, "")
	w.expect("no constraint", w.do("POST", "auth/approle/role/open", `{"bind_secret_id":false}`), 400, "")
	var reply struct{ Data map[string]any }
	w.decode(w.do("GET", "auth/approle/role/ci/role-id", ""), &reply)
	roleID := fmt.Sprint(reply.Data["role_id"])
	w.decode(w.do("POST", "auth/approle/role/ci/secret-id", `{"metadata":"{\"build\":\"7\"}"}`), &reply)
	secretID, accessor := fmt.Sprint(reply.Data["secret_id"]), fmt.Sprint(reply.Data["secret_id_accessor"])
	if words(reply.Data["secret_id_num_uses"], reply.Data["secret_id_ttl"]) != "2 3600" {
		t.Errorf("secret: %v", reply.Data)
	}
	body := fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, roleID, secretID)
	in := w.login("auth/approle/login", body)
	if got := words(in.Policies, in.Metadata, in.NumUses); got != "[ci default] map[build:7 role_name:ci] 5" {
		t.Errorf("auth: %s", got)
	}
	for what, bad := range map[string]string{
		"wrong secret": fmt.Sprintf(`{"role_id":%q,"secret_id":"x"}`, roleID),
		"wrong role":   fmt.Sprintf(`{"role_id":"x","secret_id":%q}`, secretID),
	} {
		w.expect(what, w.do("POST", "auth/approle/login", bad, "X-Vault-Token", ""), 400,
			refusal("invalid role or secret ID"))
	}
	w.decode(w.do("POST", "auth/approle/role/ci/secret-id-accessor/lookup", fmt.Sprintf(`{"secret_id_accessor":%q}`,
		accessor)), &reply)
	if fmt.Sprint(reply.Data["secret_id_num_uses"]) != "1" {
		t.Errorf("after one use: %v", reply.Data)
	}
	w.login("auth/approle/login", body)
	w.expect("used up", w.do("POST", "auth/approle/login", body), 400, refusal("invalid role or secret ID"))
	w.expect("custom", w.do("POST", "auth/approle/role/ci/custom-secret-id",
		`{"secret_id":"chosen","num_uses":1,"ttl":60}`), 200, "")
	w.expect("custom, again", w.do("POST", "auth/approle/role/ci/custom-secret-id", `{"secret_id":"chosen"}`), 400,
		refusal("SecretID is already registered"))
	w.expect("more uses", w.do("POST", "auth/approle/role/ci/secret-id", `{"num_uses":3}`), 400,
		refusal("num_uses cannot be higher than the role's secret_id_num_uses"))
	w.expect("other", w.do("POST", "auth/approle/role/ci/custom-secret-id", `{"secret_id":"other"}`), 200, "")
	a := w.do("LIST", "auth/approle/role/ci/secret-id", "")
	if n := strings.Count(a.Body.String(), "-4"); a.Code != 200 || n == 0 {
		t.Errorf("accessors: %d %s", a.Code, a.Body)
	}
	w.expect("destroy", w.do("POST", "auth/approle/role/ci/secret-id/destroy", `{"secret_id":"chosen"}`), 204, "")
	w.expect("destroyed", w.do("POST", "auth/approle/login", fmt.Sprintf(`{"role_id":%q,"secret_id":"chosen"}`, roleID)),
		400, "")
	w.expect("a field", w.do("POST", "auth/approle/role/ci/token-ttl", `{"token_ttl":"5m"}`), 204, "")
	w.decode(w.do("GET", "auth/approle/role/ci/token-ttl", ""), &reply)
	if fmt.Sprint(reply.Data["token_ttl"]) != "300" {
		t.Errorf("token-ttl: %v", reply.Data)
	}
	w.expect("reset", w.do("DELETE", "auth/approle/role/ci/token-ttl", ""), 204, "")
	w.expect("role id", w.do("POST", "auth/approle/role/ci/role-id", `{"role_id":"chosen-role"}`), 204, "")
	w.expect("tidy", w.do("POST", "auth/approle/tidy/secret-id", ""), 202, "")
	w.expect("lookup of nothing", w.do("POST", "auth/approle/role/ci/secret-id/lookup", `{"secret_id":"x"}`), 204, "")
	w.expect("taken role id", w.do("POST", "auth/approle/role/two", `{"role_id":"chosen-role"}`), 400, "")
	w.expect("delete", w.do("DELETE", "auth/approle/role/ci", ""), 204, "")
	w.expect("of the same name", w.do("POST", "auth/approle/role/ci", `{"role_id":"chosen-role"}`), 204, "")
	w.expect("a secret of the previous role",
		w.do("POST", "auth/approle/login", `{"role_id":"chosen-role","secret_id":"other"}`), 400, "")
	w.discreet(secretID)
}

// TestAppRoleSecretsAreSpentOnce: of many at the same time, as many log in as there are uses.
func TestAppRoleSecretsAreSpentOnce(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("enable", w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204, "")
	w.expect("role", w.do("POST", "auth/approle/role/ci", `{"role_id":"r"}`), 204, "")
	w.expect("secret", w.do("POST", "auth/approle/role/ci/custom-secret-id", `{"secret_id":"s","num_uses":3}`), 200, "")
	var in atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if a := sendTo(w.api, w.request("POST", "/v1/auth/approle/login", `{"role_id":"r","secret_id":"s"}`, "X-Vault-Token",
				"")); a.Code == 200 {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 3 {
		t.Errorf("%d logged in with a secret of 3 uses", in.Load())
	}
}

// TestAuthMethodMatrix makes requests to every kind of path of every method, with every kind of
// token: only the logins are open.
func TestAuthMethodMatrix(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	paths := map[string][]string{
		"userpass": {"users", "users/x", "users/x/totp", "users/x/password", "users/x/policies", "nowhere", "loginx",
			"login"},
		"approle": {"role", "role/x", "role/x/role-id", "role/x/secret-id", "role/x/secret-id/destroy", "role/x/policies",
			"tidy/secret-id", "login/x"},
		"cert":       {"certs", "certs/x", "crls", "crls/x", "config", "login/x"},
		"jwt":        {"config", "role", "role/x", "oidc/other", "login/x"},
		"kubernetes": {"config", "role", "role/x", "login/x"},
		"nowhere":    {"login"},
	}
	for kind, below := range paths {
		if kind != "nowhere" {
			w.expect(kind, w.do("POST", "sys/auth/"+kind, fmt.Sprintf(`{"type":%q}`, kind)), 204, "")
		}
		for _, path := range below {
			r := api.Route{Methods: []string{"GET", "PUT", "DELETE", "LIST", "PATCH", "SCAN"}, Path: "auth/" + kind + "/" + path}
			for _, method := range r.Methods {
				for _, bearer := range bearers {
					full := r.Path
					a := w.do(method, full, `{}`, "X-Vault-Token", w.bearer(bearer, r, method, full))
					check(t, method+" "+full+" with token "+bearer, a.Code, a.Body.String(), expected(r, bearer))
				}
			}
		}
	}
	for _, path := range []string{"auth/userpass/login/x", "auth/approle/login", "auth/cert/login", "auth/jwt/login",
		"auth/jwt/oidc/auth_url", "auth/jwt/oidc/callback"} {
		for _, token := range []string{"", "s.000000000000000000000000", w.token} {
			if a := w.do("PUT", path, `{}`, "X-Vault-Token", token); a.Code != 400 {
				t.Errorf("%s: %d %s", path, a.Code, a.Body)
			}
		}
	}
}

// TestDisablingEndsEveryToken: also of logins that are under way at that moment.
func TestDisablingEndsEveryToken(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for range 10 {
		w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
		w.expect("user", w.do("PUT", "auth/userpass/users/alice", `{"password":"p"}`), 204, "")
		tokens := make(chan string, 64)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				a := sendTo(w.api, w.request("PUT", "/v1/auth/userpass/login/alice", `{"password":"p"}`, "X-Vault-Token", ""))
				var r wrapReply
				if a.Code == 200 && json.Unmarshal(a.Body.Bytes(), &r) == nil && r.Auth != nil {
					tokens <- r.Auth.ClientToken
				}
			})
		}
		w.expect("disable", w.do("DELETE", "sys/auth/userpass", ""), 204, "")
		wg.Wait()
		close(tokens)
		for token := range tokens {
			w.expect("a token of the method", w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", token), 403,
				refusal("permission denied"))
		}
	}
}

// TestConcurrentGuesses: 40 guesses sent at the same moment are checked no more often than guesses
// sent one after the other.
func TestConcurrentGuesses(t *testing.T) {
	t.Parallel()
	w := unsealed(t, func(c *api.Config) {
		c.Lockout = map[string]*mount.Lockout{"userpass": {Threshold: 3}}
	})
	w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("user", w.do("PUT", "auth/userpass/users/alice", `{"password":"right"}`), 204, "")
	var checked, locked atomic.Int64
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			switch w.do("PUT", "auth/userpass/login/alice", `{"password":"guess"}`, "X-Vault-Token", "").Code {
			case 400:
				checked.Add(1)
			case 403:
				locked.Add(1)
			}
		})
	}
	wg.Wait()
	if checked.Load() != 3 || locked.Load() != 37 {
		t.Errorf("%d of 40 guesses were checked, and %d refused", checked.Load(), locked.Load())
	}
}

// TestWrittenIsReadBack: networks are shown as they were written, and enforced as the networks that
// they are.
func TestWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, kind := range []string{"userpass", "approle", "cert", "jwt", "kubernetes"} {
		w.expect(kind, w.do("POST", "sys/auth/"+kind, fmt.Sprintf(`{"type":%q}`, kind)), 204, "")
	}
	const networks = `["10.0.0.1","192.168.215.230/24","10.1.2.3/8","::1","::ffff:127.0.0.1"]`
	for path, body := range map[string]string{
		"auth/userpass/users/u": `"password":"x"`, "auth/approle/role/r": `"role_id":"r"`,
		"auth/token/roles/r":     `"orphan":true`,
		"auth/kubernetes/role/r": `"bound_service_account_names":"*","bound_service_account_namespaces":"*"`,
	} {
		body = fmt.Sprintf(`{%s,"token_bound_cidrs":%s}`, body, networks)
		w.expect(path, w.do("POST", path, body), 204, "")
		a := w.do("GET", path, "")
		if !strings.Contains(a.Body.String(), `"token_bound_cidrs":`+networks) {
			t.Errorf("%s: %s", path, a.Body)
		}
	}
	w.expect("secret networks", w.do("POST", "auth/approle/role/r", `{"secret_id_bound_cidrs":["10.1.2.3/8"]}`), 204, "")
	if a := w.do("GET", "auth/approle/role/r", ""); !strings.Contains(a.Body.String(),
		`"secret_id_bound_cidrs":["10.1.2.3/8"]`) {
		t.Errorf("%s", a.Body)
	}
}

// TestBlankRestrictionsAreRefused: a list of blanks, which a script with an unset variable sends,
// must not lift the restriction that its field is.
func TestBlankRestrictionsAreRefused(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, kind := range []string{"userpass", "approle", "cert", "jwt", "kubernetes"} {
		w.expect(kind, w.do("POST", "sys/auth/"+kind, fmt.Sprintf(`{"type":%q}`, kind)), 204, "")
	}
	w.expect("role", w.do("POST", "auth/approle/role/r", `{}`), 204, "")
	for path, fields := range map[string][]string{
		"auth/token/roles/r":            {"allowed_policies", "allowed_policies_glob", "bound_cidrs", "token_bound_cidrs"},
		"auth/userpass/users/u":         {"token_bound_cidrs", "bound_cidrs"},
		"auth/approle/role/r":           {"token_bound_cidrs", "secret_id_bound_cidrs", "bound_cidr_list"},
		"auth/approle/role/r/secret-id": {"cidr_list", "token_bound_cidrs"},
		"auth/cert/certs/c":             {"allowed_names", "allowed_common_names", "token_bound_cidrs"},
		"auth/jwt/role/r":               {"bound_audiences", "token_bound_cidrs"},
		"auth/kubernetes/role/r": {"bound_service_account_names", "bound_service_account_namespaces",
			"token_bound_cidrs"},
	} {
		for _, field := range fields {
			for _, blank := range []string{`[""]`, `[" ",""]`, `" "`, `","`} {
				a := w.do("POST", path, fmt.Sprintf(`{%q:%s,"password":"x"}`, field, blank))
				if a.Code != 400 || !strings.Contains(a.Body.String(), "not blank") {
					t.Errorf("%s %s=%s: %d %s", path, field, blank, a.Code, a.Body)
				}
			}
		}
	}
	w.expect("user", w.do("POST", "auth/userpass/users/u", `{"password":"x","token_policies":[""]}`), 204, "")
	if got := w.login("auth/userpass/login/u", `{"password":"x"}`).Policies; fmt.Sprint(got) != "[default]" {
		t.Errorf("blank token_policies: %v", got)
	}
	if a := w.do("POST", "auth/token/create", `{"policies":[""]}`); !strings.Contains(a.Body.String(),
		`"policies":["default"]`) {
		t.Errorf("policies [\"\"] by root: %s", a.Body)
	}
}

// TestCodesCountAgainstTheLockout: an attacker who knows a password cannot guess codes beyond the
// limit, and the audit trail shows no secret of a second factor.
func TestCodesCountAgainstTheLockout(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("method", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("user", w.do("POST", "auth/userpass/users/ann", `{"password":"pw","totp_required":true}`), 204, "")
	a := w.do("POST", "auth/userpass/users/ann/totp", `{}`)
	w.expect("enrolled", a, 200, "")
	var made struct{ Data struct{ URL string } }
	w.decode(a, &made)
	at, err := url.Parse(made.Data.URL)
	if err != nil || at.Query().Get("secret") == "" {
		t.Fatalf("%v, %s", err, a.Body)
	}
	w.discreet(at.Query().Get("secret"), made.Data.URL)
	for range 5 {
		a := w.do("POST", "auth/userpass/login/ann", `{"password":"pw","totp":"000000"}`, "X-Vault-Token", "")
		w.expect("a wrong code", a, 400, `{"errors":["invalid username or password"]}`)
	}
	w.expect("locked", w.do("POST", "auth/userpass/login/ann", `{"password":"pw"}`, "X-Vault-Token", ""), 403,
		`{"errors":["permission denied"]}`)
}
