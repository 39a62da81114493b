// Package azurekv is an emulator of Azure Key Vault and of the token service before it, for tests.
// It is not Azure: it says so in a header of every answer, and keeps its keys in memory.
//
// It is as strict as the real services are documented to be. Each rule names its source:
//
//	[errors]  https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
//	[auth]    https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
//	[keys]    https://learn.microsoft.com/azure/key-vault/keys/about-keys-details
//	[rest]    https://learn.microsoft.com/rest/api/keyvault/keys
//	[delete]  https://learn.microsoft.com/azure/key-vault/general/soft-delete-overview
//	[limits]  https://learn.microsoft.com/azure/key-vault/general/service-limits
//	[entra]   https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
//	[msi]     https://learn.microsoft.com/azure/app-service/overview-managed-identity
//
// It guarantees that a request which the real service would refuse for one of these rules is
// refused with the same status and code. It does not know certificates, secrets, roles, networks or
// any operation but those that a seal needs.
//
// The package is for tests alone and is never linked into the program.
package azurekv

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Resource is the audience of the tokens that the vault accepts.
const Resource = "https://vault.azure.net"

// Service is both services behind one handler, which must be served over TLS: the SDK sends tokens
// nowhere else.
type Service struct {
	Tenant string
	Now    func() time.Time

	mu           sync.Mutex
	principals   map[string]*Principal // by client id
	tokens       map[string]*token
	keys         map[string]*key
	deleted      map[string]*key
	unresponsive chan struct{}
	away         bool
	garble       bool
	throttle     bool
	strange      string // not "": the body of every answer of the vault
	calls        int
}

// Principal is an application or a managed identity.
type Principal struct {
	Secret      string            // "" has none
	Assertion   string            // of a workload identity: the token of the other side that is taken for it
	Certificate *x509.Certificate // whose key signs assertions; nil has none
	MSI         string            // the header that the host's identity endpoint asks for
	Permissions []string          // on keys: get, wrapKey, unwrapKey
}

type token struct {
	client  string
	expires time.Time
}

// New makes a service without principals or keys.
func New(tenant string) *Service {
	return &Service{Tenant: tenant, Now: time.Now, principals: map[string]*Principal{}, tokens: map[string]*token{},
		keys:    map[string]*key{},
		deleted: map[string]*key{}}
}

// Put adds or replaces a principal.
func (s *Service) Put(client string, p Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.principals[client] = &p
}

// RevokeTokens invalidates all access tokens issued so far.
func (s *Service) RevokeTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Calls returns the number of requests to the vault, without those to the token service.
func (s *Service) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Unresponsive makes the services accept requests and not answer them until restore.
func (s *Service) Unresponsive() (restore func()) {
	quiet := make(chan struct{})
	s.set(func() { s.unresponsive = quiet })
	return func() { s.set(func() { s.unresponsive = nil }); close(quiet) }
}

// Away makes the services unavailable: they drop connections until restore.
func (s *Service) Away() (restore func()) {
	s.set(func() { s.away = true })
	return func() { s.set(func() { s.away = false }) }
}

// Garble makes the vault change a byte of what it wraps and unwraps until restore.
func (s *Service) Garble() (restore func()) {
	s.set(func() { s.garble = true })
	return func() { s.set(func() { s.garble = false }) }
}

// Throttle makes the vault answer 429 until restore. [limits]
func (s *Service) Throttle() (restore func()) {
	s.set(func() { s.throttle = true })
	return func() { s.set(func() { s.throttle = false }) }
}

// Answer makes the vault answer every request with 200 and this body, as a wrong address would; ""
// ends that.
func (s *Service) Answer(body string) { s.set(func() { s.strange = body }) }

func (s *Service) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Stand-In", "not Azure: for tests only")
	s.mu.Lock()
	unresponsive, away := s.unresponsive, s.away
	s.mu.Unlock()
	if unresponsive != nil {
		select {
		case <-unresponsive:
		case <-r.Context().Done():
		}
	}
	if away {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/keys/"), strings.HasPrefix(r.URL.Path, "/deletedkeys/"):
		s.calls++
		if s.strange != "" {
			_, _ = w.Write([]byte(s.strange))
			return
		}
		s.vault(w, r)
	case r.URL.Path == "/msi/token":
		s.msi(w, r)
	default:
		s.login(w, r)
	}
}

func write(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

// refusal is an error of the vault. [errors]
type refusal struct {
	status               int
	code, inner, message string
}

func (e refusal) write(w http.ResponseWriter) {
	body := map[string]any{"code": e.code, "message": e.message}
	if e.inner != "" {
		body["innererror"] = map[string]string{"code": e.inner}
	}
	write(w, e.status, map[string]any{"error": body})
}

func bad(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "BadParameter", "", fmt.Sprintf(format, args...)}
}

// who authenticates a request. The answer to a request without a valid token names the token
// service and the resource. [auth]
func (s *Service) who(w http.ResponseWriter, r *http.Request) *Principal {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	t := s.tokens[bearer]
	if ok && t != nil && s.Now().Before(t.expires) {
		return s.principals[t.client]
	}
	challenge := fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="%s"`, r.Host, s.Tenant, Resource)
	message := "AKV10000: Request is missing a Bearer or PoP token."
	if ok {
		challenge = fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="%s", error="invalid_token", `+
			`error_description="the token is not valid"`,
			r.Host, s.Tenant, Resource)
		message = "AKV10046: Unable to resolve the key used for signature validation."
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refusal{http.StatusUnauthorized, "Unauthorized", "", message}.write(w)
	return nil
}

// vault serves one request of the key API.
func (s *Service) vault(w http.ResponseWriter, r *http.Request) {
	if s.throttle {
		w.Header().Set("Retry-After", strconv.Itoa(10))
		refusal{http.StatusTooManyRequests, "Throttled", "",
			"Request was not processed because too many requests were received. " +
				"Reason: VaultRequestTypeLimitReached"}.write(w)
		return
	}
	p := s.who(w, r)
	if p == nil {
		return
	}
	if r.URL.Query().Get("api-version") == "" { // [rest]
		bad("api-version must be specified").write(w)
		return
	}
	body, err := s.operate(r, p)
	if err != nil {
		err.write(w)
		return
	}
	write(w, http.StatusOK, body)
}

// may checks a permission of the vault's access policy. [errors]
func (p *Principal) may(what string) *refusal {
	for _, have := range p.Permissions {
		if strings.EqualFold(have, what) {
			return nil
		}
	}
	return &refusal{http.StatusForbidden, "Forbidden", "ForbiddenByPolicy",
		fmt.Sprintf("The user, group or application 'appid=...' does not have keys %s permission on key vault "+
			"'emulator'.", what)}
}
