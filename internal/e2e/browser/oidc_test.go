package browser

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// provider is an OpenID Connect provider that signs everybody in as alice. It redeems a code once,
// with the verifier and the redirect URI that it was asked for.
type provider struct {
	t   *testing.T
	key *ecdsa.PrivateKey
	*httptest.Server

	mu    sync.Mutex
	asked map[string]url.Values // by code
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key, asked: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys",
			"authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
			{Key: &key.PublicKey, KeyID: "k", Use: "sig", Algorithm: "ES256"}}})
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.redeem)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		p.t.Error(err)
	}
}

func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	code := rand.Text()
	p.mu.Lock()
	p.asked[code] = r.URL.Query()
	p.mu.Unlock()
	back := url.Values{"state": {r.URL.Query().Get("state")}, "code": {code}}
	http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *provider) redeem(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	asked, ok := p.asked[r.PostFormValue("code")]
	delete(p.asked, r.PostFormValue("code"))
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || r.PostFormValue("redirect_uri") != asked.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	key := jose.JSONWebKey{Key: p.key, KeyID: "k"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		p.t.Error(err)
		return
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"iss": p.URL, "aud": "sealgate", "sub": "alice",
		"nonce": asked.Get("nonce"), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if err != nil {
		p.t.Error(err)
		return
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		p.t.Error(err)
		return
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		p.t.Error(err)
		return
	}
	p.answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": token})
}

// TestLoginByProvider signs in by OpenID Connect, and tries a code in a browser that did not ask
// for it.
func TestLoginByProvider(t *testing.T) {
	t.Parallel()
	s, p := newServer(t), newProvider(t)
	s.must(t, "POST", "sys/auth/oidc", map[string]any{"type": "oidc"}, nil)
	s.must(t, "POST", "auth/oidc/config", map[string]any{"oidc_discovery_url": p.URL, "oidc_client_id": "sealgate",
		"oidc_client_secret": "the client's", "default_role": "staff"}, nil)
	s.must(t, "POST", "auth/oidc/role/staff", map[string]any{"user_claim": "sub", "token_policies": "default",
		"allowed_redirect_uris": []string{s.URL() + "/ui/oidc/oidc"}}, nil)
	v := newVisitor(t, newBrowser(t), s.URL())
	v.open("/ui/login?next=/ui/tokens")
	v.submit("form[action='/ui/login/oidc']", nil)
	v.sees("Go to the identity provider")
	v.check("oidc")
	eval[int](v, "following the link", "document.querySelector('main a.button').click(), 0")
	v.sees("Signed in as oidc-alice")
	v.until("being sent to the page that was asked for", "location.pathname === '/ui/tokens'")
	v.clean("oidc")

	// The code and state of one browser are worth nothing in another.
	mine := newPlain(t, s.URL())
	mine.get("/ui/login")
	_, page := mine.send("/ui/login/oidc", nil)
	_, rest, _ := strings.Cut(page, `href="`+p.URL)
	address, _, _ := strings.Cut(rest, `"`)
	answer, err := mine.client.Get(p.URL + strings.ReplaceAll(address, "&amp;", "&"))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	back, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	other := newPlain(t, s.URL())
	other.get("/ui/login")
	if code, text := other.do(http.MethodGet, back.RequestURI(), "", ""); code != 403 ||
		!strings.Contains(text, "not begun in this browser") {
		t.Errorf("the code in another browser: %d %s", code, text)
	}
	other.cookies["__Host-sealgate-oidc"] = rand.Text() + ".%2Fui%2F"
	if code, text := other.do(http.MethodGet, back.RequestURI(), "", ""); code < 400 ||
		strings.Contains(text, "Signed in as") {
		t.Errorf("the code with another nonce: %d %s", code, text)
	}
}
