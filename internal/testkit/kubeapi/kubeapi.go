// Package kubeapi is an emulator of a Kubernetes API server for tests of logins by service account:
// TokenReview, and reading a namespace for its labels. It serves TLS, signs the tokens of its
// service accounts, and keeps everything in memory.
//
// It is as strict as the API is documented to be. Each rule names its source:
//
//	[authn]   https://kubernetes.io/docs/reference/access-authn-authz/authentication/
//	[sa]      https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/
//	[review]  https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
//	[status]  https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
//	[api]     https://kubernetes.io/docs/reference/using-api/api-concepts/
//
// It guarantees that a request which the real server would refuse for one of these rules is refused
// with the same status code and reason. It does not know client certificates, other kinds of
// tokens, RBAC beyond one right to review and one to read namespaces, watches, lists, or any other
// resource.
//
// The package is for tests alone and is never linked into the program.
package kubeapi

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Audience is what the API server itself accepts; tokens for others cannot call it. [authn]
const Audience = "https://kubernetes.default.svc"

// Issuer is the issuer of the tokens.
const Issuer = "https://kubernetes.default.svc.cluster.local"

// Account is a service account.
type Account struct {
	Namespace, Name string
	UID             string
	Reviews         bool // bound to system:auth-delegator: may review tokens
	Namespaces      bool // may read namespaces
}

// Server is the emulator.
type Server struct {
	URL string // https://127.0.0.1:port
	CA  string // the certificate that signed the server's, in PEM

	t    testing.TB
	http *httptest.Server
	key  *rsa.PrivateKey

	mu           sync.Mutex
	now          func() time.Time
	accounts     map[string]*Account          // by "namespace/name"
	labels       map[string]map[string]string // of namespaces
	reviews      int
	strange      string
	unresponsive chan struct{}
}

// Start serves until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, key: key, now: time.Now, accounts: map[string]*Account{}, labels: map[string]map[string]string{}}
	s.http = httptest.NewUnstartedServer(s)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that tests let fail
	s.http.StartTLS()
	s.URL = s.http.URL
	s.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw}))
	t.Cleanup(func() {
		s.Restore()
		s.http.CloseClientConnections()
		s.http.Close()
	})
	return s
}

// Stop makes the server unreachable: connections are refused from now on.
func (s *Server) Stop() { s.http.Close() }

// Put adds or replaces a service account.
func (s *Server) Put(a Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[a.Namespace+"/"+a.Name] = &a
	if s.labels[a.Namespace] == nil {
		s.labels[a.Namespace] = map[string]string{"kubernetes.io/metadata.name": a.Namespace}
	}
}

// Delete removes a service account; its tokens are valid no longer.
func (s *Server) Delete(namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.accounts, namespace+"/"+name)
}

// Label sets a label of a namespace.
func (s *Server) Label(namespace, name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.labels[namespace][name] = value
}

// Reviews returns how many reviews the server has answered.
func (s *Server) Reviews() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reviews
}

// Answer makes the server answer every request with 200 and this body, as a wrong address would; ""
// ends that.
func (s *Server) Answer(body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strange = body
}

// Unresponsive makes the server accept requests and not answer them until [Server.Restore].
func (s *Server) Unresponsive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unresponsive = make(chan struct{})
}

// Restore ends [Server.Unresponsive].
func (s *Server) Restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unresponsive != nil {
		close(s.unresponsive)
		s.unresponsive = nil
	}
}

// PublicKey is the key that verifies the tokens, in PEM.
func (s *Server) PublicKey() string {
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Claims are the claims of a token, for tests that change some.
type Claims map[string]any

// Token issues a projected token of an account, for these audiences (none: the server's own), valid
// for an hour. change may change the claims. [sa]
func (s *Server) Token(namespace, name string, audiences []string, change ...func(Claims)) string {
	s.mu.Lock()
	a, now := s.accounts[namespace+"/"+name], s.now()
	s.mu.Unlock()
	if a == nil {
		s.t.Fatalf("no service account %s/%s", namespace, name)
	}
	if len(audiences) == 0 {
		audiences = []string{Audience}
	}
	c := Claims{
		"iss": Issuer, "sub": "system:serviceaccount:" + namespace + ":" + name, "aud": audiences,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": namespace, "serviceaccount": map[string]any{"name": name, "uid": a.UID},
			"pod": map[string]any{"name": name + "-0", "uid": "pod-" + a.UID},
		},
	}
	for _, f := range change {
		f(c)
	}
	return s.Sign(c)
}

// SecretToken issues a token of the older kind, which is kept in a Secret and has no end. [sa]
func (s *Server) SecretToken(namespace, name string) string {
	s.mu.Lock()
	a := s.accounts[namespace+"/"+name]
	s.mu.Unlock()
	if a == nil {
		s.t.Fatalf("no service account %s/%s", namespace, name)
	}
	return s.Sign(Claims{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:" + namespace + ":" + name,
		"kubernetes.io/serviceaccount/namespace":            namespace,
		"kubernetes.io/serviceaccount/service-account.name": name,
		"kubernetes.io/serviceaccount/service-account.uid":  a.UID,
		"kubernetes.io/serviceaccount/secret.name":          name + "-token",
	})
}

// Sign signs claims with the server's key (RS256).
func (s *Server) Sign(c Claims) string {
	part := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			s.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	signed := part(map[string]string{"alg": "RS256", "kid": "k1"}) + "." + part(c)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	if err != nil {
		s.t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// authenticate returns the account of a token that is valid for one of the audiences, and which of
// them. [authn]
func (s *Server) authenticate(token string, audiences []string) (*Account, []string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("invalid bearer token")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	sig, err1 := base64.RawURLEncoding.DecodeString(parts[2])
	payload, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	if err1 != nil || err2 != nil || rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return nil, nil, fmt.Errorf("invalid bearer token")
	}
	var c struct {
		Audiences  []string `json:"aud"`
		Expires    int64    `json:"exp"`
		Before     int64    `json:"nbf"`
		Kubernetes *struct {
			Namespace string                     `json:"namespace"`
			Account   struct{ Name, UID string } `json:"serviceaccount"`
		} `json:"kubernetes.io"`
		Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
		Name      string `json:"kubernetes.io/serviceaccount/service-account.name"`
		UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, nil, fmt.Errorf("invalid bearer token")
	}
	namespace, name, uid := c.Namespace, c.Name, c.UID
	if k := c.Kubernetes; k != nil {
		namespace, name, uid = k.Namespace, k.Account.Name, k.Account.UID
		if now := s.now().Unix(); now >= c.Expires || now < c.Before {
			return nil, nil, fmt.Errorf("invalid bearer token, service account token has expired")
		}
	} else {
		c.Audiences = []string{Audience} // tokens in Secrets are for the API server
	}
	a := s.accounts[namespace+"/"+name]
	if a == nil || a.UID != uid {
		return nil, nil, fmt.Errorf("invalid bearer token, service account %s/%s has been deleted", namespace, name)
	}
	var both []string
	for _, want := range audiences {
		for _, have := range c.Audiences {
			if want == have {
				both = append(both, want)
			}
		}
	}
	if len(both) == 0 {
		return nil, nil, fmt.Errorf("invalid bearer token, token audiences %q is invalid for the target audiences %q",
			c.Audiences, audiences)
	}
	return a, both, nil
}
