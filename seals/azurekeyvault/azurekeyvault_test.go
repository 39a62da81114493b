package azurekeyvault

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/testkit/azurekv"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

const (
	tenant = "46646709-b63e-4747-be42-516edeaf1e14"
	app    = "03dc33fc-16d9-4b77-8152-3ec568f8af6e"
)

var all = []string{"get", "wrapKey", "unwrapKey"}

// peer is the emulator behind TLS, with a secret in a file.
type peer struct {
	*azurekv.Service
	srv            *httptest.Server
	ca, secretFile string
	generation     int
	secret         string
}

func newPeer(t testing.TB) *peer {
	t.Helper()
	p := &peer{Service: azurekv.New(tenant)}
	p.srv = httptest.NewUnstartedServer(p.Service)
	p.srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.srv.StartTLS()
	t.Cleanup(p.srv.Close)
	dir := t.TempDir()
	p.ca, p.secretFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "secret")
	must(t, os.WriteFile(p.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.srv.Certificate().Raw}),
		0o600))
	p.renew(t)
	p.NewKey("wrap")
	p.NewKey("other")
	return p
}

// renew gives the application another secret.
func (p *peer) renew(t testing.TB) {
	t.Helper()
	p.generation++
	p.secret = "app-secret-" + strings.Repeat("x", p.generation)
	p.Put(app, azurekv.Principal{Secret: p.secret, Permissions: all})
	must(t, os.WriteFile(p.secretFile, []byte(p.secret+"\n"), 0o600))
}

func (p *peer) open(t testing.TB, key string, params ...string) *Wrapper {
	t.Helper()
	m := map[string]string{"endpoint": p.srv.URL, "authority_host": p.srv.URL, "tls_ca_cert": p.ca, "key_name": key,
		"tenant_id": tenant, "client_id": app,
		"client_secret": "file://" + p.secretFile}
	for i := 0; i < len(params); i += 2 {
		m[params[i]] = params[i+1]
	}
	w, err := New(seals.Config{Name: "az", Type: "azurekeyvault", Params: m})
	must(t, err)
	t.Cleanup(func() { must(t, w.(*Wrapper).Close()) })
	return w.(*Wrapper)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConforms(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{New: func(t *testing.T) *sealtest.Fixture {
		p := newPeer(t)
		return &sealtest.Fixture{
			Wrapper: p.open(t, "wrap"), Other: p.open(t, "other"),
			Again:        func() wrapping.Wrapper { return p.open(t, "wrap") },
			Unresponsive: p.Unresponsive, Away: p.Away, Garble: p.Garble, Throttle: p.Throttle, Calls: p.Calls,
			Disable:    func() { p.Change("wrap", func(v *azurekv.Version) { v.Enabled = false }) },
			Enable:     func() { p.Change("wrap", func(v *azurekv.Version) { v.Enabled = true }) },
			Schedule:   func() { p.Delete("wrap") },
			Unschedule: func() { p.Recover("wrap") },
			Destroy:    func() { p.Purge("wrap") },
			Rotate:     func() { p.Rotate("wrap") },
			Deny: func() func() {
				p.Put(app, azurekv.Principal{Secret: p.secret, Permissions: []string{"get"}})
				return func() { p.Put(app, azurekv.Principal{Secret: p.secret, Permissions: all}) }
			},
			Expire: func() {
				p.RevokeTokens()
				p.Put(app, azurekv.Principal{Secret: "another", Permissions: all})
			},
			Renew: func() { p.renew(t) },
		}
	}, Stride: 3})
}

func failed(t *testing.T, what string, err error, class seals.Class, words ...string) {
	t.Helper()
	if seals.ClassOf(err) != class {
		t.Errorf("%s: %v; want class %q", what, err, class)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: no %q in: %v", what, word, err)
		}
	}
}

func works(t *testing.T, w *Wrapper) *wrapping.BlobInfo {
	t.Helper()
	plain := []byte("the root key")
	blob, err := w.Encrypt(t.Context(), plain)
	must(t, err)
	if got, err := w.Decrypt(t.Context(), blob); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("Decrypt: %q, %v", got, err)
	}
	return blob
}

func TestVersionIsPinned(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	w := p.open(t, "wrap")
	old := works(t, w)
	p.Rotate("wrap")
	fresh := works(t, w)
	if a, b := w.VersionOf(old), w.VersionOf(fresh); a == "" || a == b {
		t.Errorf("versions %q and %q", a, b)
	}
	p.Change("wrap", func(v *azurekv.Version) { v.Enabled = v.ID != w.VersionOf(old) })
	_, err := w.Decrypt(t.Context(), old)
	failed(t, "the old version is disabled", err, seals.KeyDisabled, "KeyDisabled", "--enabled true")
	works(t, w)
}

func TestDatesAndOperations(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	w := p.open(t, "wrap")
	blob := works(t, w)
	for what, c := range map[string]struct {
		change   func(*azurekv.Version)
		class    seals.Class
		word     string
		decrypts bool
	}{
		"expired": {func(v *azurekv.Version) { v.Expires = time.Now().Add(-time.Hour) }, seals.KeyDisabled,
			"expiration date", true},
		"not yet valid": {func(v *azurekv.Version) { v.NotBefore = time.Now().Add(time.Hour) }, seals.KeyDisabled,
			"nbf", true},
		"signs only": {func(v *azurekv.Version) { v.Operations = []string{"sign"} }, seals.KeyDisabled, "key_ops",
			false},
	} {
		p.Change("wrap", c.change)
		_, err := w.Encrypt(t.Context(), []byte("x"))
		failed(t, what, err, c.class, c.word)
		if _, err := w.Decrypt(t.Context(), blob); (err == nil) != c.decrypts {
			t.Errorf("%s: Decrypt: %v", what, err)
		}
		st, err := w.Describe(t.Context())
		if err != nil || st.State != "enabled" || c.decrypts && st.Detail["expires"]+st.Detail["not before"] == "" {
			t.Errorf("%s: %+v, %v", what, st, err)
		}
		p.Change("wrap", func(v *azurekv.Version) {
			v.Expires, v.NotBefore, v.Operations = time.Time{}, time.Time{},
				nil
		})
	}
}

// TestCredentials tries each way to authenticate, and what is wrong with it.
func TestCredentials(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	federated := filepath.Join(t.TempDir(), "federated")
	must(t, os.WriteFile(federated, []byte("assertion-of-the-cluster"), 0o600))
	p.Put("workload", azurekv.Principal{Assertion: "assertion-of-the-cluster", Permissions: all})
	works(t, p.open(t, "wrap", "client_secret", "", "client_id", "workload", "federated_token_file", federated))
	works(t, p.open(t, "wrap", "client_secret", p.secret))
	for what, c := range map[string]struct {
		params []string
		class  seals.Class
		word   string
	}{
		"a wrong secret":      {[]string{"client_secret", "hunter2hunter2"}, seals.Denied, "AADSTS7000215"},
		"no such application": {[]string{"client_id", "nobody"}, seals.Denied, "AADSTS700016"},
		"another tenant": {[]string{"tenant_id", "11111111-b63e-4747-be42-516edeaf1e14"}, seals.Misconfigured,
			"tenant"},
		"another resource": {[]string{"resource", "vault.azure.cn"}, seals.Misconfigured,
			"resource is https://vault.azure.cn"},
		"no secret yet": {[]string{"client_secret", "file:///nowhere/secret"}, seals.Denied,
			"/nowhere/secret"},
		"a certificate not there": {[]string{"client_secret", "", "cert_path", "/nowhere/cert.pem"}, seals.Denied,
			"/nowhere/cert.pem"},
		"an unknown authority": {[]string{"tls_ca_cert", ""}, seals.Misconfigured, "tls_ca_cert"},
		"no server":            {[]string{"endpoint", "https://127.0.0.1:1"}, seals.Unreachable, "reachable"},
	} {
		_, err := p.open(t, "wrap", c.params...).Encrypt(t.Context(), []byte("x"))
		failed(t, what, err, c.class, c.word)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the secret: %v", what, err)
		}
	}
}

// TestCertificate logs in by a certificate, which is replaced in its file.
func TestCertificate(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	file := filepath.Join(t.TempDir(), "app.pem")
	certify := func() {
		t.Helper()
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		must(t, err)
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
			&x509.Certificate{}, &key.PublicKey, key)
		must(t, err)
		cert, err := x509.ParseCertificate(der)
		must(t, err)
		private, err := x509.MarshalPKCS8PrivateKey(key)
		must(t, err)
		text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
		must(t, os.WriteFile(file+".new", text, 0o600))
		must(t, os.Rename(file+".new", file))
		p.Put(app, azurekv.Principal{Certificate: cert, Permissions: all})
	}
	certify()
	w := p.open(t, "wrap", "client_secret", "", "cert_path", file)
	works(t, w)
	p.RevokeTokens()
	certify()
	works(t, w)
	p.RevokeTokens()
	p.Put(app, azurekv.Principal{Secret: "another", Permissions: all})
	_, err := p.open(t, "wrap", "client_secret", "", "cert_path", file).Encrypt(t.Context(), []byte("x"))
	failed(t, "a certificate that is not the application's", err, seals.Denied, "AADSTS700027")
}

// TestManagedIdentity is not parallel: hosts name their identity endpoint by the
// environment.
func TestManagedIdentity(t *testing.T) {
	p := newPeer(t)
	p.Put("machine", azurekv.Principal{MSI: "header", Permissions: all})
	host := httptest.NewServer(p.Service)
	t.Cleanup(host.Close)
	t.Setenv("IDENTITY_ENDPOINT", host.URL+"/msi/token")
	t.Setenv("IDENTITY_HEADER", "header")
	works(t, p.open(t, "wrap", "client_secret", "", "client_id", "", "tenant_id", ""))
	works(t, p.open(t, "wrap", "client_secret", "", "client_id", "machine", "tenant_id", ""))
	_, err := p.open(t, "wrap", "client_secret", "", "client_id", "other").Encrypt(t.Context(), []byte("x"))
	failed(t, "another identity", err, seals.Denied, "managed_identity")
}

func TestVersionWithoutGet(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	p.Put(app, azurekv.Principal{Secret: p.secret, Permissions: []string{"wrapKey", "unwrapKey"}})
	w := p.open(t, "wrap")
	blob := works(t, w)
	if v, err := w.KeyVersion(t.Context()); err != nil || v != w.VersionOf(blob) {
		t.Errorf("%q, %v; want %q", v, err, w.VersionOf(blob))
	}
	if st, err := w.Describe(t.Context()); err != nil || st.Version != w.VersionOf(blob) ||
		st.Detail["degraded"] == "" {
		t.Errorf("%+v, %v", st, err)
	}
	p.Delete("wrap") // whether it can be recovered may not be asked
	_, err := w.Decrypt(t.Context(), blob)
	failed(t, "deleted", err, seals.KeyGone, "KeyNotFound")
}

func TestStrangeAnswers(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	w := p.open(t, "wrap")
	blob := works(t, w)
	for _, body := range []string{"<html>", "{}", `{"kid":"https://x/keys/other/1","value":"AAAA"}`,
		`{"kid":"x","value":"AAAA"}`, `{"kid":7}`, `[]`} {
		p.Answer(body)
		_, err := w.Encrypt(t.Context(), []byte("x"))
		failed(t, body, err, seals.Corrupt)
		_, err = w.Decrypt(t.Context(), blob)
		failed(t, body, err, seals.Corrupt)
		if _, err := w.KeyVersion(t.Context()); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("%s: KeyVersion: %v", body, err)
		}
	}
	// The SDK breaks down over this one.
	broken := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https:", resource="https://vault.azure.net"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(broken.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: broken.Certificate().Raw}),
		0o600))
	_, err := p.open(t, "wrap", "endpoint", broken.URL, "tls_ca_cert", ca).Encrypt(t.Context(), []byte("x"))
	failed(t, "a challenge that is none", err, seals.Corrupt)
}
