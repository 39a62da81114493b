//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	vault "github.com/hashicorp/vault/api"
)

// authReply is what both libraries make of an answer.
type authReply struct {
	token, accessor, wrap string
	policies              []string
	meta                  map[string]string
	data                  map[string]any
}

// authSDK is what the clients' libraries do about auth methods, wrapping and leases; their types
// differ.
type authSDK struct {
	token           func(string)
	write           func(path string, data map[string]any) (authReply, error)
	read            func(path string) (authReply, error)
	wrapNext        func(ttl string) // "" ends it
	unwrap          func(token string) (authReply, error)
	enable, disable func(path, kind string) error
	methods         func() ([]string, error)
	tune            func(path, ttl string) error
	tuned           func(path string) (defaultTTL int, err error)
	lookupLease     func(id string) error
	revokePrefix    func(prefix string) error
}

func names[V any](m map[string]V) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// TestAuthMethodsBySDKs: users, machines, certificates and platform tokens log in by the unmodified
// libraries, over TLS; answers can be wrapped; and disabling a method revokes its tokens, also when
// the server is killed meanwhile.
func TestAuthMethodsBySDKs(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, string, *http.Client) authSDK{"vault": vaultAuth,
		"openbao": baoAuth} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newStaticHarness(t)
			a, _ := r.useTLS(t, "")
			r.startTLS(a)
			certPEM, keyPEM := a.issue(7, false)
			pair, err := tls.X509KeyPair(certPEM, keyPEM)
			if err != nil {
				t.Fatal(err)
			}
			root, err := r.initByTLS(a)
			if err != nil {
				t.Fatal(err)
			}
			s := &authStory{authSDK: open(t, r.Addr, patient(a.browser(pair))), t: t, harness: r, root: root, a: a}
			s.token(root)
			s.mounts()
			s.custodians()
			s.machines()
			s.certificates()
			s.platform()
			s.wrapping()
			s.restart()
		})
	}
}

// initByTLS initialises the server and gives its root token.
func (r *harness) initByTLS(a *authority) (string, error) {
	c := vault.DefaultConfig()
	c.Address, c.HttpClient = "https://"+r.Addr, a.browser()
	client, err := vault.NewClient(c)
	if err != nil {
		return "", err
	}
	out, err := client.Sys().Init(&vault.InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		return "", err
	}
	r.known.add("the root token", out.RootToken)
	return out.RootToken, nil
}

type authStory struct {
	authSDK
	t       *testing.T
	harness *harness
	root    string
	a       *authority
	kept    string // a token of userpass
}

func (s *authStory) must(what string, r authReply, err error) authReply {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	return r
}

func (s *authStory) put(path string, data map[string]any) authReply {
	s.t.Helper()
	r, err := s.write(path, data)
	return s.must(path, r, err)
}

// login comes without a token, and looks itself up with the token it gets.
func (s *authStory) login(path string, data map[string]any, policy, display string) authReply {
	s.t.Helper()
	s.token("")
	in := s.put(path, data)
	if !slices.Contains(in.policies, policy) || in.token == "" {
		s.t.Fatalf("%s: %+v", path, in.policies)
	}
	s.harness.known.add("a token", in.token)
	s.token(in.token)
	self, err := s.read("auth/token/lookup-self")
	if s.must("lookup-self", self, err); self.data["display_name"] != display {
		s.t.Errorf("%s: the token is called %v, want %s", path, self.data["display_name"], display)
	}
	s.token(s.root)
	return in
}

func (s *authStory) mounts() {
	for _, kind := range []string{"userpass", "approle", "cert", "jwt"} {
		if err := s.enable(kind, kind); err != nil {
			s.t.Fatalf("enable %s: %v", kind, err)
		}
	}
	got, err := s.methods()
	if err != nil || !slices.Equal(got, []string{"approle/", "cert/", "jwt/", "token/", "userpass/"}) {
		s.t.Fatalf("ListAuth: %v, %v", got, err)
	}
	if err := s.tune("userpass", "30m"); err != nil {
		s.t.Fatal(err)
	}
	if ttl, err := s.tuned("userpass"); err != nil || ttl != 1800 {
		s.t.Errorf("tuned: %d, %v", ttl, err)
	}
	if err := s.enable("userpass", "userpass"); err == nil {
		s.t.Error("a path was taken twice")
	}
}

func (s *authStory) custodians() {
	s.put("auth/userpass/users/alice", map[string]any{"password": "a password of alice",
		"token_policies": []string{"people"}})
	s.harness.known.add("a password", "a password of alice")
	in := s.login("auth/userpass/login/alice", map[string]any{"password": "a password of alice"},
		"people", "userpass-alice")
	if in.meta["username"] != "alice" {
		s.t.Errorf("metadata: %v", in.meta)
	}
	s.kept = in.token
	s.token("")
	if _, err := s.write("auth/userpass/login/alice", map[string]any{"password": "wrong"}); err == nil {
		s.t.Error("a wrong password was taken")
	}
	s.token(s.root)
}

func (s *authStory) machines() {
	s.put("auth/approle/role/ci", map[string]any{"token_policies": "ci", "secret_id_num_uses": 1})
	id, err := s.read("auth/approle/role/ci/role-id")
	s.must("role-id", id, err)
	secret := s.put("auth/approle/role/ci/secret-id", nil)
	text, _ := secret.data["secret_id"].(string)
	s.harness.known.add("a secret id", text)
	body := map[string]any{"role_id": id.data["role_id"], "secret_id": text}
	s.login("auth/approle/login", body, "ci", "approle")
	s.token("")
	if _, err := s.write("auth/approle/login", body); err == nil {
		s.t.Error("a secret of one use was used twice")
	}
	s.token(s.root)
}

func (s *authStory) certificates() {
	s.put("auth/cert/certs/web", map[string]any{"certificate": string(s.a.pem), "allowed_common_names": "127.*",
		"token_policies": "web", "display_name": "web"})
	s.login("auth/cert/login", nil, "web", "cert-web")
}

func (s *authStory) platform() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put("auth/jwt/config",
		map[string]any{"jwt_validation_pubkeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY",
			Bytes: der}))}})
	s.put("auth/jwt/role/build", map[string]any{"role_type": "jwt", "user_claim": "sub",
		"bound_audiences": []string{"sealgate"}, "token_policies": "build"})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	claims,
		err := json.Marshal(map[string]any{"sub": "job-7", "aud": "sealgate", "exp": time.Now().Add(time.Minute).Unix()})
	if err != nil {
		s.t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		s.t.Fatal(err)
	}
	s.harness.known.add("a JWT", token)
	s.login("auth/jwt/login", map[string]any{"role": "build", "jwt": token}, "build", "jwt-job-7")
}

// wrapping hands a token on: by the receiver without any token, and by one with a token of his own.
func (s *authStory) wrapping() {
	for _, own := range []bool{false, true} {
		s.wrapNext("5m")
		wrapped := s.put("auth/token/create", map[string]any{"policies": []string{"people"}})
		s.wrapNext("")
		if wrapped.wrap == "" || wrapped.accessor == "" || wrapped.token != "" {
			s.t.Fatalf("not wrapped: %+v", wrapped.data)
		}
		s.harness.known.add("a wrapping token", wrapped.wrap)
		if !own {
			s.token("")
		}
		got, err := s.unwrap(wrapped.wrap)
		if s.must("unwrap", got, err); got.accessor != wrapped.accessor {
			s.t.Errorf("the unwrapped token's accessor differs from the one announced")
		}
		s.harness.known.add("a token", got.token)
		s.token(s.root)
		if _, err := s.unwrap(wrapped.wrap); err == nil {
			s.t.Error("unwrapped twice")
		}
	}
}

// restart kills the server: methods, users and tokens are there again, and go when their method
// does.
func (s *authStory) restart() {
	if err := s.harness.Kill(); err != nil {
		s.t.Fatal(err)
	}
	s.harness.startTLS(s.a)
	s.harness.eventually(patience, "unsealing",
		func() bool { _, err := s.read("auth/token/lookup-self"); return err == nil })
	s.login("auth/userpass/login/alice", map[string]any{"password": "a password of alice"}, "people", "userpass-alice")
	s.token(s.kept)
	if _, err := s.read("auth/token/lookup-self"); err != nil {
		s.t.Errorf("after a kill: %v", err)
	}
	s.token(s.root)
	if err := s.lookupLease("auth/userpass/login/absent/h00"); err == nil {
		s.t.Error("a lease that does not exist")
	}
	if err := s.revokePrefix("auth/approle"); err != nil {
		s.t.Error(err)
	}
	if err := s.disable("userpass", ""); err != nil {
		s.t.Fatal(err)
	}
	s.token(s.kept)
	if _, err := s.read("auth/token/lookup-self"); err == nil {
		s.t.Error("a token outlives its auth method")
	}
	s.token(s.root)
}

// patient waits for passwords to be hashed, which takes its time with the race detector on.
func patient(c *http.Client) *http.Client {
	c.Timeout = time.Minute
	return c
}
