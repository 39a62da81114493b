package v1

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

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
	w.expect("no certificate", come(`{}`, leaf), 400, refusal("invalid certificate or no client certificate supplied"))
	put("b-strict", map[string]any{"certificate": ca.pem, "allowed_dns_sans": "db.*", "token_policies": "wrong"})
	w.expect("the name does not fit", come(`{}`, leaf), 400, "")
	put("c-web", map[string]any{"certificate": ca.pem, "allowed_common_names": "web-*",
		"allowed_organizational_units": []string{"ops"}, "token_policies": "web", "display_name": "web"})
	var r wrapReply
	w.decode(come(`{}`, leaf), &r)
	if r.Auth == nil || words(r.Auth.Policies, r.Auth.Metadata["cert_name"],
		r.Auth.Metadata["common_name"]) != "[default web] c-web web-1" {
		t.Errorf("auth: %+v", r.Auth)
	}
	w.expect("another entry by name", come(`{"name":"b-strict"}`, leaf), 400, "")
	w.expect("no certificate", come(`{}`), 400, refusal("client certificate must be supplied: connect with one"))
	w.expect("no TLS", w.do("POST", "auth/cert/login", `{}`, "X-Vault-Token", ""), 400, "")
	server := ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "web-2", OrganizationalUnit: []string{"ops"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, other.key)
	w.expect("a server's certificate", come(`{}`, server), 400, "")
	self := (&issuer{key: other.key}).sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "alone"}}, other.key)
	put("d-alone",
		map[string]any{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: self.Raw}))})
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

// embedded is a token whose header has the key that verifies it.
func (i *issuer) embedded(t *testing.T, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, &jose.SignerOptions{EmbedJWK: true,
		ExtraHeaders: map[jose.HeaderKey]any{"kid": "../k1", "jku": "https://127.0.0.1:1/keys",
			"x5u": "https://127.0.0.1:1/"}})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestNullClaims: a claim that is null counts as missing (case 16 b).
func TestNullClaims(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	i := newIssuer(t)
	w.expect("enable", w.do("POST", "sys/auth/jwt", `{"type":"jwt"}`), 204, "")
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	w.expect("config", w.do("POST", "auth/jwt/config", body("jwt_validation_pubkeys",
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))), 204, "")
	w.expect("role", w.do("POST", "auth/jwt/role/r", `{"role_type":"jwt","user_claim":"sub","bound_subject":"me",
		"claim_mappings":{"email":"mail"}}`), 204, "")
	token := i.token(t, jose.ES256, i.key, map[string]any{"sub": "me", "email": nil, "exp": moment.Unix() + 60})
	a := w.do("POST", "auth/jwt/login", body("jwt", token, "role", "r"), "X-Vault-Token", "")
	if a.Code != 200 || strings.Contains(a.Body.String(), "mail") {
		t.Errorf("%d %s", a.Code, a.Body)
	}
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
	config, err := json.Marshal(map[string]any{"jwt_validation_pubkeys": public, "bound_issuer": "https://ci",
		"default_role": "build"})
	if err != nil {
		t.Fatal(err)
	}
	w.expect("no role yet", w.do("POST", "auth/jwt/login", `{"jwt":"x","role":"build"}`), 400, "")
	w.expect("no source", w.do("POST", "auth/jwt/config", `{}`), 400, "")
	w.expect("config", w.do("POST", "auth/jwt/config", string(config)), 204, "")
	w.expect("nothing bound", w.do("POST", "auth/jwt/role/build", `{"user_claim":"sub"}`), 400,
		refusal("must have at least one bound constraint when creating/updating a role"))
	w.expect("oidc", w.do("POST", "auth/jwt/role/build", `{"user_claim":"sub","role_type":"oidc","bound_subject":"x"}`), 400, "")
	w.expect("role", w.do("POST", "auth/jwt/role/build", `{"role_type":"jwt","user_claim":"sub","bound_audiences":"vault","bound_claims":{"ref":["main","rel-*"],"/run/id":7},
		"bound_claims_type":"glob","claim_mappings":{"ref":"branch"},"token_policies":["ci"],"token_ttl":60}`), 204, "")
	now := moment.Unix()
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{"iss": "https://ci", "sub": "repo:x", "aud": []string{"vault", "other"}, "ref": "rel-1",
			"run": map[string]any{"id": 7}, "iat": now, "nbf": now, "exp": now + 300}
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
	if r.Auth == nil || words(r.Auth.Policies, r.Auth.Metadata,
		r.Auth.LeaseDuration) != "[ci default] map[branch:rel-1 role:build] 60" {
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
		"a claim is missing":      {map[string]any{"run": nil}, "is missing"},
		"a claim is an object":    {map[string]any{"ref": map[string]any{"a": "rel-1"}}, "does not match"},
		"an audience in a list":   {map[string]any{"aud": []any{[]string{"vault"}}}, "invalid audience"},
		"an audience object":      {map[string]any{"aud": map[string]any{"vault": true}}, "invalid audience"},
		"a time without end":      {map[string]any{"exp": 1e300}, "is not a time"},
		"a negative end":          {map[string]any{"exp": -1}, "expired"},
		"a list as a time":        {map[string]any{"exp": []int{1}}, "is not a time"},
		"no user":                 {map[string]any{"sub": nil}, `claim \"sub\" not found`},
		"a user that is a number": {map[string]any{"sub": 5}, `not a string`},
		"expired":                 {map[string]any{"exp": now - 60}, "expired"},
		"not yet":                 {map[string]any{"nbf": now + 61}, "not valid yet"},
		"issued later":            {map[string]any{"iat": now + 61}, "before issued"},
		"no times":                {map[string]any{"iat": nil, "nbf": nil, "exp": nil}, "no issued at"},
		"a time that is a text":   {map[string]any{"exp": "soon"}, "is not a time"},
	} {
		if a := try(i.token(t, jose.ES256, i.key, claims(tc.change))); a.Code != 400 ||
			!strings.Contains(a.Body.String(), tc.text) {
			t.Errorf("%s: %d %s", what, a.Code, a.Body)
		}
	}
	parts := strings.Split(good, ".")
	for what, token := range map[string]string{
		"another's signature":       thief.token(t, jose.ES256, thief.key, claims(nil)),
		"HMAC under the public key": i.token(t, jose.HS256, []byte(public), claims(nil)),
		"its own key in the header": thief.embedded(t, claims(nil)),
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
			_ =
				json.NewEncoder(out).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &i.key.PublicKey, KeyID: "k1",
					Algorithm: "ES256", Use: "sig"}}})
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
