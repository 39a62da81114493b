package v1

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// openID is a strict provider: it redeems a code once, for the redirect URI, the client and the
// verifier that it was given for.
type openID struct {
	*issuer
	t      *testing.T
	server *httptest.Server

	mu    sync.Mutex
	codes map[string]url.Values // what was asked when the code was made
	claim map[string]any        // that differ from what is right
	user  map[string]any
}

const oidcClient, oidcSecret = "sealgate", "the client's: secret"

func newOpenID(t *testing.T) *openID {
	t.Helper()
	p := &openID{issuer: newIssuer(t), t: t, codes: map[string]url.Values{}, claim: map[string]any{},
		user: map[string]any{"sub": "alice", "team": "ops"}}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		at := p.server.URL
		answer(w, map[string]any{"issuer": at, "jwks_uri": at + "/keys", "authorization_endpoint": at + "/authorize?tenant=1",
			"token_endpoint": at + "/token", "userinfo_endpoint": at + "/me"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w,
			jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "k1", Use: "sig", Algorithm: "ES256"}}})
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		answer(w, p.user)
	})
	mux.HandleFunc("POST /token", p.redeem)
	p.server = httptest.NewServer(mux)
	t.Cleanup(p.server.Close)
	return p
}

func (p *openID) redeem(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, secret, _ := r.BasicAuth()
	secret, _ = url.QueryUnescape(secret)
	asked, ok := p.codes[r.PostFormValue("code")]
	delete(p.codes, r.PostFormValue("code"))
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || name != oidcClient || secret != oidcSecret || r.PostFormValue("grant_type") != "authorization_code" ||
		r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant"}`)
		return
	}
	claims := map[string]any{
		"iss": p.server.URL, "aud": oidcClient, "sub": "alice", "nonce": asked.Get("nonce"), "iat": moment.Unix(),
		"exp":       moment.Add(time.Hour).Unix(),
		"auth_time": moment.Unix(), "email": "alice@example.org", "groups": []string{"staff", "ops"},
	}
	maps.Copy(claims, p.claim)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(map[string]any{"access_token": "access", "token_type": "Bearer",
		"id_token": p.token(p.t, jose.ES256, p.key, claims)}); err != nil {
		p.t.Error(err)
	}
}

// authorize is the browser: it follows an address to the provider, which sends it back with a code.
func (p *openID) authorize(address string) url.Values {
	p.t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Scheme+"://"+u.Host != p.server.URL || u.Path != "/authorize" {
		p.t.Fatalf("the browser is sent to %q", address)
	}
	q := u.Query()
	for name, want := range map[string]string{"tenant": "1", "response_type": "code", "client_id": oidcClient,
		"code_challenge_method": "S256"} {
		if q.Get(name) != want {
			p.t.Errorf("%s is %q in %s", name, q.Get(name), address)
		}
	}
	if len(q.Get("nonce")) < 32 || len(q.Get("code_challenge")) != 43 || !strings.HasPrefix(q.Get("scope"), "openid") {
		p.t.Errorf("asked for with %v", q)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	code := fmt.Sprintf("code-%d-%s", len(p.codes), q.Get("nonce")[:8])
	p.codes[code] = q
	return url.Values{"state": {q.Get("state")}, "code": {code}}
}

const backTo = "http://localhost:8250/oidc/callback"

// oidcHarness is a server with the method and a role.
func oidcHarness(t *testing.T) (*harness, *openID) {
	w, p := unsealed(t), newOpenID(t)
	w.expect("enable", w.do("POST", "sys/auth/oidc", `{"type":"oidc"}`), 204, "")
	w.expect("before config", w.do("POST", "auth/oidc/oidc/auth_url", `{"role":"dev","redirect_uri":"`+backTo+`"}`,
		"X-Vault-Token", ""), 400, "")
	w.expect("config", w.do("POST", "auth/oidc/config", fmt.Sprintf(`{"oidc_discovery_url":%q,"oidc_client_id":%q,"oidc_client_secret":%q,"default_role":"dev"}`,
		p.server.URL, oidcClient, oidcSecret)), 204, "")
	w.expect("role", w.do("POST", "auth/oidc/role/dev", `{"user_claim":"email","allowed_redirect_uris":["`+backTo+`","https://ui.example.org/cb"],
		"oidc_scopes":["email"],"bound_claims":{"groups":["ops"],"team":"ops"},"token_policies":"dev","claim_mappings":{"sub":"subject"}}`), 204, "")
	return w, p
}

func (w *harness) authURL(body string) string {
	w.t.Helper()
	var r struct {
		Data struct {
			URL string `json:"auth_url"`
		}
	}
	w.decode(w.do("POST", "auth/oidc/oidc/auth_url", body, "X-Vault-Token", ""), &r)
	return r.Data.URL
}

func (w *harness) comeBack(q url.Values) *httptest.ResponseRecorder {
	return w.do("GET", "auth/oidc/oidc/callback?"+q.Encode(), "", "X-Vault-Token", "")
}

func TestLoginByBrowser(t *testing.T) {
	t.Parallel()
	w, p := oidcHarness(t)
	if a := w.do("GET", "auth/oidc/config", ""); strings.Contains(a.Body.String(), oidcSecret) ||
		!strings.Contains(a.Body.String(), `"oidc_client_id":"sealgate"`) {
		t.Errorf("config shows %s", a.Body)
	}
	const mine = `{"role":"dev","redirect_uri":"` + backTo + `","client_nonce":"n1"}`
	q := p.authorize(w.authURL(mine))
	w.expect("another client", w.comeBack(url.Values{"state": q["state"], "code": q["code"], "client_nonce": {"n2"}}), 400,
		"")
	w.expect("its state is gone", w.comeBack(url.Values{"state": q["state"], "code": q["code"], "client_nonce": {"n1"}}),
		400, "")
	q = p.authorize(w.authURL(mine))
	q.Set("client_nonce", "n1")
	var r wrapReply
	a := w.comeBack(q)
	w.decode(a, &r)
	if r.Auth == nil || words(r.Auth.Policies, r.Auth.Metadata["role"],
		r.Auth.Metadata["subject"]) != "[default dev] dev alice" {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	if a := w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token",
		r.Auth.ClientToken); !strings.Contains(a.Body.String(), `"display_name":"oidc-alice@example.org"`) {
		t.Errorf("%s", a.Body)
	}
	w.expect("again", w.comeBack(q), 400, refusal("expired or missing OAuth state: start the login again"))
	// any port of the machine itself; the default role
	q = p.authorize(w.authURL(`{"redirect_uri":"http://localhost:9999/oidc/callback"}`))
	w.expect("as a form", w.do("POST", "auth/oidc/oidc/callback", q.Encode(), "X-Vault-Token", "", "Content-Type",
		"application/x-www-form-urlencoded"), 200, "")
	for _, uri := range []string{"https://evil.example.org/cb", "http://localhost:8250/other",
		"https://ui.example.org:444/cb", "http://localhost@evil.example.org/oidc/callback",
		"http://127.0.0.1:8250/oidc/callback", "%zz"} {
		if at := w.authURL(`{"role":"dev","redirect_uri":"` + uri + `"}`); at != "" {
			t.Errorf("%s leads to %s", uri, at)
		}
	}
	if at := w.authURL(`{"role":"unknown","redirect_uri":"` + backTo + `"}`); at != "" {
		t.Errorf("an unknown role leads to %s", at)
	}
	w.expect("by a token", w.do("POST", "auth/oidc/login", `{"role":"dev","jwt":"x"}`), 400, "")
	w.discreet(oidcSecret)
}

func TestLoginByBrowserIsStrict(t *testing.T) {
	t.Parallel()
	w, p := oidcHarness(t)
	w.expect("fresh", w.do("POST", "auth/oidc/role/fresh", `{"user_claim":"sub","allowed_redirect_uris":"`+backTo+
		`","max_age":60}`), 204, "")
	for _, tc := range []struct {
		name  string
		claim map[string]any
		want  string
	}{
		{"another nonce", map[string]any{"nonce": "x"}, "nonce"},
		{"another client", map[string]any{"aud": "other"}, "(aud)"},
		{"several clients", map[string]any{"aud": []string{oidcClient, "other"}}, "(azp)"},
		{"given to another", map[string]any{"azp": "other"}, "(azp)"},
		{"another issuer", map[string]any{"iss": "https://other"}, "(iss)"},
		{"expired", map[string]any{"exp": moment.Add(-time.Hour).Unix()}, "expired"},
		{"without an end", map[string]any{"exp": nil}, "lacks a time"},
		{"not in the group", map[string]any{"groups": []string{"staff"}}, "groups"},
		{"no name", map[string]any{"email": 7}, "email"},
		{"another subject than userinfo's", map[string]any{"sub": "bob"}, "userinfo"},
	} {
		p.claim = tc.claim
		a := w.comeBack(p.authorize(w.authURL(`{"role":"dev","redirect_uri":"` + backTo + `"}`)))
		if a.Code != 400 || !strings.Contains(a.Body.String(), tc.want) {
			t.Errorf("%s: %d %s", tc.name, a.Code, a.Body)
		}
	}
	p.claim = map[string]any{"auth_time": moment.Add(-time.Hour).Unix()}
	w.expect("asked long ago", w.comeBack(p.authorize(w.authURL(`{"role":"fresh","redirect_uri":"`+backTo+`"}`))), 400, "")
	p.claim = nil
	w.expect("asked now", w.comeBack(p.authorize(w.authURL(`{"role":"fresh","redirect_uri":"`+backTo+`"}`))), 200, "")
	q := p.authorize(w.authURL(`{"role":"dev","redirect_uri":"` + backTo + `"}`))
	for name, bad := range map[string]url.Values{
		"no state": {"code": q["code"]}, "no code": {"state": q["state"]},
		"a forged state": {"state": {strings.Repeat("A", 200)}, "code": q["code"]},
		"a long state":   {"state": {strings.Repeat("A", 9000)}, "code": q["code"]},
	} {
		w.expect(name, w.comeBack(bad), 400, "")
	}
	q = p.authorize(w.authURL(`{"role":"dev","redirect_uri":"` + backTo + `"}`))
	w.expect("refused", w.comeBack(url.Values{"state": q["state"], "error": {"access_denied"}}), 400,
		refusal(`the provider has refused the login ("access_denied")`))
	q = p.authorize(w.authURL(`{"role":"dev","redirect_uri":"` + backTo + `"}`))
	w.expect("another code", w.comeBack(url.Values{"state": q["state"], "code": {"code-of-a-thief"}}), 400, "")
	for name, body := range map[string]string{
		"no redirect":   `{"user_claim":"sub","role_type":"oidc"}`,
		"unknown type":  `{"user_claim":"sub","role_type":"saml","bound_subject":"x"}`,
		"negative age":  `{"user_claim":"sub","allowed_redirect_uris":"` + backTo + `","max_age":-1}`,
		"groups":        `{"user_claim":"sub","allowed_redirect_uris":"` + backTo + `","groups_claim":"groups"}`,
		"no user claim": `{"allowed_redirect_uris":"` + backTo + `"}`,
	} {
		w.expect(name, w.do("POST", "auth/oidc/role/bad", body), 400, "")
	}
	for name, body := range map[string]string{
		"a secret without a client": fmt.Sprintf(`{"oidc_discovery_url":%q,"oidc_client_secret":"x"}`, p.server.URL),
		"a client without provider": `{"jwks_url":"https://x/keys","oidc_client_id":"x","skip_jwks_validation":true}`,
		"an implicit flow":          fmt.Sprintf(`{"oidc_discovery_url":%q,"oidc_client_id":"x","oidc_response_types":"id_token"}`, p.server.URL),
		"an unknown mode":           fmt.Sprintf(`{"oidc_discovery_url":%q,"oidc_client_id":"x","oidc_response_mode":"fragment"}`, p.server.URL),
	} {
		w.expect(name, w.do("POST", "auth/oidc/config", body), 400, "")
	}
}
