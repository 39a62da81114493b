package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealgate/sealgate/internal/doors"
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
func (w *world) login(path, body string) *authAnswer {
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
		{"POST", "sys/auth/userpass", `{"type":"userpass","description":"people","config":{"default_lease_ttl":"1h","token_type":"batch"}}`, 204, ""},
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
		{"POST", "sys/mounts/auth/userpass/tune", `{"description":"all people","token_type":"default-service","user_lockout_config":{"lockout_threshold":"3"}}`, 204, ""},
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
	w.expect("without a token", w.do("GET", "auth/userpass/users/a", "", "X-Vault-Token", ""), 403, refusal("permission denied"))
	weak := w.grant("weak", moment.AddDate(1, 0, 0), "default")
	w.expect("without the policy", w.do("PUT", "auth/userpass/users/a", `{"password":"x"}`, "X-Vault-Token", weak), 403,
		refusal("1 error occurred:\n\t* permission denied\n\n"))
}

func TestUserpass(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("enable", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("no users", w.do("LIST", "auth/userpass/users", ""), 404, `{"errors":[]}`)
	w.expect("no password", w.do("PUT", "auth/userpass/users/alice", `{"policies":"ops"}`), 400, refusal("missing password"))
	w.expect("user", w.do("PUT", "auth/userpass/users/Alice", `{"password":"correct horse","token_policies":"ops, dev","token_ttl":"10m","token_max_ttl":"1h"}`), 204, "")
	for body, text := range map[string]string{
		`{"password":"x","token_ttl":"2h","token_max_ttl":"1h"}`:   "'token_ttl' cannot be greater than 'token_max_ttl'",
		`{"password":"x","token_policies":["root"]}`:               "auth methods cannot create root tokens",
		`{"password":"x","token_type":"batch","token_num_uses":1}`: "limited use count",
		`{"password":"x","token_bound_cidrs":"300.0.0.1"}`:         "is not a network",
		`{"password":"` + strings.Repeat("x", 73) + `"}`:           "bcrypt takes at most 72",
		`{"password":["x"]}`:                                         "it must be a string",
		`{"password":"x","password_hash":"y"}`:                       "not both",
		`{"password_hash":"$2a$31$` + strings.Repeat("x", 53) + `"}`: "bcrypt hash of cost 14 at most",
		`{"password":"x","token_num_uses":-1}`:                       "cannot be negative",
	} {
		if a := w.do("PUT", "auth/userpass/users/bob", body); a.Code != 400 || !strings.Contains(a.Body.String(), text) {
			t.Errorf("%.60s: %d %s", body, a.Code, a.Body)
		}
	}
	a := w.do("GET", "auth/userpass/users/alice", "")
	var shown struct{ Data map[string]any }
	w.decode(a, &shown)
	if got := words(shown.Data["token_policies"], shown.Data["token_ttl"], shown.Data["token_type"]); got != "[ops dev] 600 default" || strings.Contains(a.Body.String(), "$2a$") {
		t.Errorf("read: %s", a.Body)
	}
	in := w.login("auth/userpass/login/ALICE", `{"password":"correct horse"}`)
	if got := words(in.Policies, in.Metadata, in.LeaseDuration, in.Renewable, in.TokenType, in.Orphan); got != "[default dev ops] map[username:alice] 600 true service true" {
		t.Errorf("auth: %s", got)
	}
	self := w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", in.ClientToken)
	if b := self.Body.String(); !strings.Contains(b, `"display_name":"userpass-alice"`) || !strings.Contains(b, `"path":"auth/userpass/login/ALICE"`) {
		t.Errorf("lookup-self: %s", b)
	}
	for what, path := range map[string]string{"wrong password": "alice", "unknown user": "nobody"} {
		w.expect(what, w.do("PUT", "auth/userpass/login/"+path, `{"password":"wrong"}`, "X-Vault-Token", ""), 400, refusal("invalid username or password"))
	}
	w.expect("no password", w.do("PUT", "auth/userpass/login/alice", `{}`, "X-Vault-Token", ""), 400, refusal("missing password"))
	w.expect("read of a login", w.do("GET", "auth/userpass/login/alice", "", "X-Vault-Token", ""), 405, refusal("unsupported operation"))
	w.expect("new password", w.do("PUT", "auth/userpass/users/alice/password", `{"password":"other"}`), 204, "")
	w.expect("the old one", w.do("PUT", "auth/userpass/login/alice", `{"password":"correct horse"}`), 400, "")
	w.login("auth/userpass/login/alice", `{"password":"other"}`)
	w.expect("policies", w.do("PUT", "auth/userpass/users/alice/policies", `{"policies":["x"]}`), 204, "")
	w.expect("no such user", w.do("PUT", "auth/userpass/users/nobody/password", `{"password":"a"}`), 400, "")
	w.expect("list", w.do("LIST", "auth/userpass/users", ""), 200, "")
	w.expect("delete", w.do("DELETE", "auth/userpass/users/alice", ""), 204, "")
	w.expect("gone", w.do("GET", "auth/userpass/users/alice", ""), 404, `{"errors":[]}`)
	w.expect("disable", w.do("DELETE", "sys/auth/userpass", ""), 204, "")
	w.expect("its tokens are gone", w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", in.ClientToken), 403, refusal("permission denied"))
	w.discreet("correct horse", in.ClientToken)
}

func TestLockout(t *testing.T) {
	t.Parallel()
	clock := &tick{t: moment}
	w := unsealed(t, func(c *Config) { c.Now = clock.now; c.Lockout = map[string]*doors.Lockout{"userpass": {Threshold: 3}} })
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
		try("nobody", "x")
	}
	if try("alice", "right") != 403 || try("bob", "x") != 400 || try("nobody", "x") != 403 {
		t.Error("lock-out is not by name, or not for names that nobody has")
	}
	var locked struct{ Data lockedAnswer }
	w.decode(w.do("GET", "sys/locked-users", ""), &locked)
	if locked.Data.Total != 2 || fmt.Sprint(locked.Data.ByMount[0].Aliases) != "[alice nobody]" {
		t.Errorf("%+v", locked.Data)
	}
	w.expect("unlock", w.do("POST", "sys/locked-users/"+locked.Data.ByMount[0].Accessor+"/unlock/alice", ""), 204, "")
	if try("alice", "right") != 200 || try("alice", "wrong") != 400 || try("alice", "right") != 200 {
		t.Error("unlocked, alice cannot log in")
	}
	clock.add(15*time.Minute - 1)
	if try("nobody", "x") != 403 {
		t.Error("lock-out ended early")
	}
	clock.add(1)
	if try("nobody", "x") != 400 {
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
	w.expect("role", w.do("POST", "auth/approle/role/ci", `{"token_policies":["ci"],"secret_id_num_uses":2,"secret_id_ttl":"1h","token_num_uses":5}`), 204, "")
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
		"wrong secret": fmt.Sprintf(`{"role_id":%q,"secret_id":"x"}`, roleID), "wrong role": fmt.Sprintf(`{"role_id":"x","secret_id":%q}`, secretID),
	} {
		w.expect(what, w.do("POST", "auth/approle/login", bad, "X-Vault-Token", ""), 400, refusal("invalid role or secret ID"))
	}
	w.decode(w.do("POST", "auth/approle/role/ci/secret-id-accessor/lookup", fmt.Sprintf(`{"secret_id_accessor":%q}`, accessor)), &reply)
	if fmt.Sprint(reply.Data["secret_id_num_uses"]) != "1" {
		t.Errorf("after one use: %v", reply.Data)
	}
	w.login("auth/approle/login", body)
	w.expect("used up", w.do("POST", "auth/approle/login", body), 400, refusal("invalid role or secret ID"))
	w.expect("custom", w.do("POST", "auth/approle/role/ci/custom-secret-id", `{"secret_id":"chosen","num_uses":1,"ttl":60}`), 200, "")
	w.expect("custom, again", w.do("POST", "auth/approle/role/ci/custom-secret-id", `{"secret_id":"chosen"}`), 400, refusal("SecretID is already registered"))
	w.expect("more uses", w.do("POST", "auth/approle/role/ci/secret-id", `{"num_uses":3}`), 400, refusal("num_uses cannot be higher than the role's secret_id_num_uses"))
	w.expect("other", w.do("POST", "auth/approle/role/ci/custom-secret-id", `{"secret_id":"other"}`), 200, "")
	a := w.do("LIST", "auth/approle/role/ci/secret-id", "")
	if n := strings.Count(a.Body.String(), "-4"); a.Code != 200 || n == 0 {
		t.Errorf("accessors: %d %s", a.Code, a.Body)
	}
	w.expect("destroy", w.do("POST", "auth/approle/role/ci/secret-id/destroy", `{"secret_id":"chosen"}`), 204, "")
	w.expect("destroyed", w.do("POST", "auth/approle/login", fmt.Sprintf(`{"role_id":%q,"secret_id":"chosen"}`, roleID)), 400, "")
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
	w.expect("a secret of the former role", w.do("POST", "auth/approle/login", `{"role_id":"chosen-role","secret_id":"other"}`), 400, "")
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
			if a := sendTo(w.api, w.request("POST", "/v1/auth/approle/login", `{"role_id":"r","secret_id":"s"}`, "X-Vault-Token", "")); a.Code == 200 {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 3 {
		t.Errorf("%d logged in with a secret of 3 uses", in.Load())
	}
}

// issuer signs certificates and tokens.
type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.cert = i.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, key)
	i.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
	return i
}

func (i *issuer) sign(t *testing.T, c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(7), moment.Add(-time.Hour), moment.Add(time.Hour)
	parent := i.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, i.key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCert(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	ca, other := newIssuer(t), newIssuer(t)
	leaf := ca.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "web-1", OrganizationalUnit: []string{"ops"}}, DNSNames: []string{"web.example.org"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, other.key)
	w.expect("enable", w.do("POST", "sys/auth/cert", `{"type":"cert"}`), 204, "")
	put := func(name string, extra map[string]any) {
		t.Helper()
		body, err := json.Marshal(extra)
		if err != nil {
			t.Fatal(err)
		}
		w.expect(name, w.do("PUT", "auth/cert/certs/"+name, string(body)), 204, "")
	}
	come := func(body string, chain ...*x509.Certificate) *httptest.ResponseRecorder {
		r := w.request("POST", "/v1/auth/cert/login", body, "X-Vault-Token", "")
		r.TLS = &tls.ConnectionState{PeerCertificates: chain}
		return w.send(r)
	}
	put("a-other", map[string]any{"certificate": other.pem, "token_policies": "wrong"})
	w.expect("nobody vouches", come(`{}`, leaf), 400, refusal("invalid certificate or no client certificate supplied"))
	put("b-strict", map[string]any{"certificate": ca.pem, "allowed_dns_sans": "db.*", "token_policies": "wrong"})
	w.expect("the name does not fit", come(`{}`, leaf), 400, "")
	put("c-web", map[string]any{"certificate": ca.pem, "allowed_common_names": "web-*", "allowed_organizational_units": []string{"ops"}, "token_policies": "web", "display_name": "web"})
	var r wrapReply
	w.decode(come(`{}`, leaf), &r)
	if r.Auth == nil || words(r.Auth.Policies, r.Auth.Metadata["cert_name"], r.Auth.Metadata["common_name"]) != "[default web] c-web web-1" {
		t.Errorf("auth: %+v", r.Auth)
	}
	w.expect("another entry by name", come(`{"name":"b-strict"}`, leaf), 400, "")
	w.expect("no certificate", come(`{}`), 400, refusal("client certificate must be supplied: open the connection with one"))
	w.expect("no TLS", w.do("POST", "auth/cert/login", `{}`, "X-Vault-Token", ""), 400, "")
	server := ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "web-2", OrganizationalUnit: []string{"ops"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, other.key)
	w.expect("a server's certificate", come(`{}`, server), 400, "")
	self := (&issuer{key: other.key}).sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "alone"}}, other.key)
	put("d-alone", map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: self.Raw}))})
	w.expect("the very certificate", come(`{"name":"d-alone"}`, self), 200, "")
	twin := (&issuer{key: ca.key}).sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "alone"}}, ca.key)
	w.expect("one that looks the same", come(`{"name":"d-alone"}`, twin), 400, "")
	w.expect("not PEM", w.do("PUT", "auth/cert/certs/x", `{"certificate":"x"}`), 400, "")
	w.expect("list", w.do("LIST", "auth/cert/certs", ""), 200, "")
	w.expect("delete", w.do("DELETE", "auth/cert/certs/d-alone", ""), 204, "")
	w.expect("deleted", come(`{"name":"d-alone"}`, self), 400, "")
}

// token signs claims.
func (i *issuer) token(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k1"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestJWT(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	i, thief := newIssuer(t), newIssuer(t)
	w.expect("enable", w.do("POST", "sys/auth/jwt", `{"type":"jwt"}`), 204, "")
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	config, err := json.Marshal(map[string]any{"jwt_validation_pubkeys": public, "bound_issuer": "https://ci", "default_role": "build"})
	if err != nil {
		t.Fatal(err)
	}
	w.expect("no role yet", w.do("POST", "auth/jwt/login", `{"jwt":"x","role":"build"}`), 400, "")
	w.expect("no source", w.do("POST", "auth/jwt/config", `{}`), 400, "")
	w.expect("config", w.do("POST", "auth/jwt/config", string(config)), 204, "")
	w.expect("nothing bound", w.do("POST", "auth/jwt/role/build", `{"user_claim":"sub"}`), 400, refusal("must have at least one bound constraint when creating/updating a role"))
	w.expect("oidc", w.do("POST", "auth/jwt/role/build", `{"user_claim":"sub","role_type":"oidc","bound_subject":"x"}`), 400, "")
	w.expect("role", w.do("POST", "auth/jwt/role/build", `{"role_type":"jwt","user_claim":"sub","bound_audiences":"vault","bound_claims":{"ref":["main","rel-*"],"/run/id":7},
		"bound_claims_type":"glob","claim_mappings":{"ref":"branch"},"token_policies":["ci"],"token_ttl":60}`), 204, "")
	now := moment.Unix()
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{"iss": "https://ci", "sub": "repo:x", "aud": []string{"vault", "other"}, "ref": "rel-1", "run": map[string]any{"id": 7}, "iat": now, "nbf": now, "exp": now + 300}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return c
	}
	try := func(token string) *httptest.ResponseRecorder {
		return w.do("POST", "auth/jwt/login", fmt.Sprintf(`{"jwt":%q}`, token), "X-Vault-Token", "")
	}
	var r wrapReply
	good := i.token(t, jose.ES256, i.key, claims(nil))
	w.decode(try(good), &r)
	if r.Auth == nil || words(r.Auth.Policies, r.Auth.Metadata, r.Auth.LeaseDuration) != "[ci default] map[branch:rel-1 role:build] 60" {
		t.Errorf("auth: %+v", r.Auth)
	}
	for what, tc := range map[string]struct {
		change map[string]any
		text   string
	}{
		"another issuer":          {map[string]any{"iss": "https://evil"}, "invalid issuer"},
		"another audience":        {map[string]any{"aud": "other"}, "invalid audience"},
		"no audience":             {map[string]any{"aud": nil}, "invalid audience"},
		"another branch":          {map[string]any{"ref": "evil"}, "does not match any associated bound claim values"},
		"a claim is missing":      {map[string]any{"run": nil}, "does not match"},
		"no user":                 {map[string]any{"sub": nil}, `claim \"sub\" not found`},
		"a user that is a number": {map[string]any{"sub": 5}, `not a text`},
		"expired":                 {map[string]any{"exp": now - 60}, "expired"},
		"not yet":                 {map[string]any{"nbf": now + 61}, "not valid yet"},
		"issued later":            {map[string]any{"iat": now + 61}, "before issued"},
		"no times":                {map[string]any{"iat": nil, "nbf": nil, "exp": nil}, "no issued at"},
		"a time that is a text":   {map[string]any{"exp": "soon"}, "is not a time"},
	} {
		if a := try(i.token(t, jose.ES256, i.key, claims(tc.change))); a.Code != 400 || !strings.Contains(a.Body.String(), tc.text) {
			t.Errorf("%s: %d %s", what, a.Code, a.Body)
		}
	}
	parts := strings.Split(good, ".")
	for what, token := range map[string]string{
		"another's signature":       thief.token(t, jose.ES256, thief.key, claims(nil)),
		"HMAC under the public key": i.token(t, jose.HS256, []byte(public), claims(nil)),
		"alg none":                  "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"no signature":              parts[0] + "." + parts[1] + ".",
		"not a token":               "x", "empty parts": "..",
		"long": strings.Repeat("x", 65<<10),
	} {
		if a := try(token); a.Code != 400 && a.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d %s", what, a.Code, a.Body)
		}
	}
	w.discreet(good, parts[2])
}

func TestJWKS(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	i := newIssuer(t)
	var asked atomic.Int32
	mode := atomic.Value{}
	mode.Store("good")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		switch mode.Load() {
		case "gone":
			out.WriteHeader(500)
		case "elsewhere":
			out.Header().Set("Location", "http://169.254.169.254/")
			out.WriteHeader(302)
		default:
			_ = json.NewEncoder(out).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &i.key.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	w.expect("enable", w.do("POST", "sys/auth/jwt", `{"type":"jwt"}`), 204, "")
	config := func(ca string) string {
		b, err := json.Marshal(map[string]any{"jwks_url": s.URL, "jwks_ca_pem": ca})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	w.expect("without its CA", w.do("POST", "auth/jwt/config", config("")), 400, "")
	mode.Store("elsewhere")
	w.expect("a redirect", w.do("POST", "auth/jwt/config", config(ca)), 400, "")
	mode.Store("good")
	w.expect("config", w.do("POST", "auth/jwt/config", config(ca)), 204, "")
	w.expect("role", w.do("POST", "auth/jwt/role/a", `{"user_claim":"sub","bound_subject":"x"}`), 204, "")
	token := i.token(t, jose.ES256, i.key, map[string]any{"sub": "x", "exp": moment.Unix() + 60})
	before := asked.Load()
	for range 5 {
		w.login("auth/jwt/login", fmt.Sprintf(`{"jwt":%q,"role":"a"}`, token))
	}
	if n := asked.Load() - before; n != 1 {
		t.Errorf("the keys were fetched %d times for 5 logins", n)
	}
	mode.Store("gone")
	w.login("auth/jwt/login", fmt.Sprintf(`{"jwt":%q,"role":"a"}`, token))
}

// TestAuthMethodMatrix makes requests to every kind of path of every method, with every kind of token: only the logins are open.
func TestAuthMethodMatrix(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	paths := map[string][]string{
		"userpass": {"users", "users/x", "users/x/password", "users/x/policies", "nowhere", "loginx", "login"},
		"approle":  {"role", "role/x", "role/x/role-id", "role/x/secret-id", "role/x/secret-id/destroy", "role/x/policies", "tidy/secret-id", "login/x"},
		"cert":     {"certs", "certs/x", "crls/x", "login/x"},
		"jwt":      {"config", "role", "role/x", "oidc/auth_url", "login/x"},
		"nowhere":  {"login"},
	}
	for kind, below := range paths {
		if kind != "nowhere" {
			w.expect(kind, w.do("POST", "sys/auth/"+kind, fmt.Sprintf(`{"type":%q}`, kind)), 204, "")
		}
		for _, path := range below {
			r := route{Methods: []string{"GET", "PUT", "DELETE", "LIST", "PATCH", "SCAN"}, Path: "auth/" + kind + "/" + path}
			for _, method := range r.Methods {
				for _, bearer := range bearers {
					full := r.Path
					a := w.do(method, full, `{}`, "X-Vault-Token", w.bearer(bearer, r, method, full))
					check(t, method+" "+full+" with token "+bearer, a.Code, a.Body.String(), expected(r, bearer))
				}
			}
		}
	}
	for _, path := range []string{"auth/userpass/login/x", "auth/approle/login", "auth/cert/login", "auth/jwt/login"} {
		for _, token := range []string{"", "s.000000000000000000000000", w.token} {
			if a := w.do("PUT", path, `{}`, "X-Vault-Token", token); a.Code != 400 {
				t.Errorf("%s: %d %s", path, a.Code, a.Body)
			}
		}
	}
}
