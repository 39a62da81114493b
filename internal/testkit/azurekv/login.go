package azurekv

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// life is how long an access token is valid. [entra]
const life = time.Hour

func (s *Service) issue(client string) string {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw)
	t := hex.EncodeToString(raw)
	s.tokens[t] = &token{client: client, expires: s.Now().Add(life)}
	return t
}

// login is the token service: the tenant's metadata, and tokens for a secret or for an assertion.
// [entra]
func (s *Service) login(w http.ResponseWriter, r *http.Request) {
	tenant, rest, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	base := "https://" + r.Host + "/" + tenant
	switch {
	case tenant != s.Tenant:
		loginError(w, http.StatusBadRequest, "invalid_request", "AADSTS90002: Tenant '%s' not found.", tenant)
	case rest == "v2.0/.well-known/openid-configuration" && r.Method == http.MethodGet:
		write(w, http.StatusOK, map[string]string{"issuer": base + "/v2.0", "token_endpoint": base +
			"/oauth2/v2.0/token",
			"authorization_endpoint": base + "/oauth2/v2.0/authorize"})
	case rest == "oauth2/v2.0/token" && r.Method == http.MethodPost:
		s.token(w, r)
	default:
		http.NotFound(w, r)
	}
}

func loginError(w http.ResponseWriter, status int, code, format string, args ...any) {
	write(w, status, map[string]any{"error": code, "error_description": fmt.Sprintf(format, args...) +
		" Trace ID: 0 Correlation ID: 0"})
}

func (s *Service) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.Form.Get("grant_type") != "client_credentials" {
		loginError(w, http.StatusBadRequest, "unsupported_grant_type",
			"AADSTS70003: The app requested an unsupported grant type.")
		return
	}
	client := r.Form.Get("client_id")
	p := s.principals[client]
	secret, assertion := r.Form.Get("client_secret"), r.Form.Get("client_assertion")
	switch {
	case p == nil || p.MSI != "":
		loginError(w, http.StatusBadRequest, "unauthorized_client",
			"AADSTS700016: Application with identifier '%s' was not found in the directory.", client)
	case !scoped(r.Form.Get("scope")):
		loginError(w, http.StatusBadRequest, "invalid_scope",
			"AADSTS70011: The provided request must include a 'scope' input parameter.")
	case secret == "" && assertion == "":
		loginError(w, http.StatusUnauthorized, "invalid_client",
			"AADSTS7000218: The request body must contain 'client_assertion' or 'client_secret'.")
	case secret != "" && secret != p.Secret:
		loginError(w, http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
	case secret == "" && (!p.asserts(assertion) ||
		r.Form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"):
		loginError(w, http.StatusUnauthorized, "invalid_client",
			"AADSTS700027: Client assertion failed signature validation.")
	default:
		write(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": int(life.Seconds()),
			"access_token": s.issue(client)})
	}
}

// asserts checks a client assertion: the configured one, or a JWT signed by the application's key.
// [entra]
func (p *Principal) asserts(assertion string) bool {
	if p.Certificate == nil {
		return p.Assertion != "" && assertion == p.Assertion
	}
	signed, text, ok := cutLast(assertion, ".")
	key, isRSA := p.Certificate.PublicKey.(*rsa.PublicKey)
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || !isRSA || err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(signed))
	return rsa.VerifyPSS(key, crypto.SHA256, sum[:], raw, nil) == nil ||
		rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw) == nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// scoped reports whether the scopes include the vault, beside those that libraries add.
func scoped(scope string) bool {
	for one := range strings.FieldsSeq(scope) {
		if one == Resource+"/.default" {
			return true
		}
	}
	return false
}

// msi is the identity endpoint of a host, as App Service has it. [msi]
func (s *Service) msi(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for client, p := range s.principals {
		asked := q.Get("client_id")
		if p.MSI == "" || p.MSI != r.Header.Get("X-Identity-Header") || asked != "" && asked != client {
			continue
		}
		if q.Get("resource") != Resource || q.Get("api-version") != "2019-08-01" {
			write(w, http.StatusBadRequest, map[string]any{"statusCode": 400,
				"message": "resource or api-version is wrong"})
			return
		}
		write(w, http.StatusOK, map[string]string{"access_token": s.issue(client),
			"expires_on": strconv.FormatInt(s.Now().Add(life).Unix(), 10),
			"resource":   Resource, "token_type": "Bearer", "client_id": client})
		return
	}
	write(w, http.StatusBadRequest, map[string]any{"statusCode": 400,
		"message": "No User Assigned or Delegated Managed Identity found for specified ClientId"})
}
