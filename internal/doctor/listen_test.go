package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issued is a certificate with its key, in PEM.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func issue(t *testing.T, name string, by *issued, change func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: by == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &issued{c, key}
}

func (c *issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw}))
}

func (c *issued) keyPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

const secure = "listener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  tls_cert_file = \"DIR/tls.crt\"\n  tls_key_file = " +
	"\"DIR/tls.key\"\n  MORE\n}\n"

// TestCertificates checks that problems of a listener's files are found.
func TestCertificates(t *testing.T) {
	t.Parallel()
	ca, strange := issue(t, "ca", nil, nil), issue(t, "strange", nil, nil)
	good := issue(t, "sealgate.example", ca, nil)
	at := func(change func(*x509.Certificate)) *issued { return issue(t, "sealgate.example", ca, change) }
	for _, c := range []struct {
		name  string
		cert  *issued
		chain string  // behind the certificate
		key   *issued // nil: the certificate's
		more  string
		level Level
		says  string
	}{
		{"good", good, ca.pem(), nil, "", OK, "matches its key"},
		{"unknown issuer", good, "", nil, "", OK, "clients need that certificate"},
		{"another's key", good, "", strange, "", Error, "private key does not match"},
		{"no certificate", nil, "", good, "", Error, "failed to find any PEM data"},
		{"ended", at(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "", nil, "", Error,
			"expired on"},
		{"ends soon", at(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(20 * 24 * time.Hour) }), "", nil, "",
			Warning, "expires on"},
		{"from tomorrow on", at(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) }), "", nil, "",
			Error, "in the future"},
		{"wrong order", good, strange.pem(), nil, "", Error, "was not issued by strange"},
		{"no names", at(func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }), "", nil, "", Error,
			"no subject alternative name"},
		{"no client in the CA's file", good, "", nil, "tls_client_ca_file = \"DIR/tls.key\"", Error, "it has no certificate"},
		{"no client CA", good, "", nil, "tls_client_ca_file = \"DIR/none\"", Error, "cannot be read"},
		{"another name", good, "", nil, "}\napi_addr = \"https://elsewhere.example:8200\"\nlog_requests_level = " +
			"\"off\"\ntelemetry {", Warning, "not valid for elsewhere.example"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			cert, key := c.chain, c.key
			if c.cert != nil {
				cert = c.cert.pem() + cert
			}
			if key == nil {
				key = c.cert
			}
			r.file("tls.crt", cert, 0o644)
			r.file("tls.key", key.keyPEM(t), 0o600)
			want(t, r.run(memory+strings.Replace(secure, "MORE", c.more, 1)), c.level, "tls", c.says)
		})
	}
}

// TestReadablePrivateKey checks a private key that other users can read, and one that does not
// exist.
func TestReadablePrivateKey(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	c := issue(t, "sealgate.example", nil, nil)
	r.file("tls.crt", c.pem(), 0o644)
	r.file("tls.key", c.keyPEM(t), 0o644)
	text := memory + strings.Replace(secure, "MORE", "", 1)
	want(t, r.run(text), Warning, "files", "other users of this machine can access")
	if err := os.Remove(filepath.Join(r.dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	report := r.run(text)
	want(t, report, Error, "files", "does not exist")
	want(t, report, Error, "tls", "no such file")
}

// sealgate answers as a running server does.
func sealgate(sealed bool, name string, would bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/v1/sys/seal-status":
			fmt.Fprintf(w, `{"version":"9.8.7","sealed":%t}`, sealed)
		case "/v1/sys/seal-backend-status":
			fmt.Fprintf(w, `{"would_unseal":%t,"backends":[{"name":%q,"would_unseal":%[1]t,"last_proof":"2026-01-02T03:04:05Z","failure_class":"denied","failure":"cause","remedy":"remedy"}]}`, would, name)
		}
	})
}

// TestRunningServer checks an address that is in use: by this server, by another Sealgate server,
// or by another program. If the server holds the lock of the storage, its own status of the seals
// counts.
func TestRunningServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		serves     http.Handler
		held       bool
		level      Level
		area, says string
	}{
		{"sealed", sealgate(true, "box", false), false, OK, "listener", "version 9.8.7, uses the address; it is sealed"},
		{"would unseal", sealgate(false, "box", true), true, OK, "seal", "decrypted the stored root key with it at " +
			"2026-01-02T03:04:05Z"},
		{"storage", sealgate(false, "box", true), true, OK, "storage", "the running server has it open"},
		{"all would unseal", sealgate(false, "box", true), true, OK, "seal", "they would unseal it"},
		{"would not unseal", sealgate(false, "box", false), true, Error, "seal",
			"does not decrypt the stored root key: cause"},
		{"none unseals", sealgate(true, "box", false), true, Error, "seal", "it unseals automatically once they can"},
		{"none would unseal", sealgate(false, "box", false), true, Error, "seal", "do not restart it"},
		{"other seals", sealgate(false, "other", true), true, Error, "seal", "does not have this seal"},
		{"another program", http.NotFoundHandler(), false, Error, "listener", "status 404"},
		{"another program of Vault's protocol",
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }), false, Error, "listener",
			"another program"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			r.key("5e")
			if c.held {
				r.Open = held
			}
			srv := httptest.NewServer(c.serves)
			defer srv.Close()
			f := want(t, r.run(disk+strings.Replace(quiet, "127.0.0.1:0", srv.Listener.Addr().String(), 1)+box), c.level,
				c.area, c.says)
			if c.level == Error && c.area == "seal" && f.About == "box" && f.Remedy == "" {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestServedCertificate checks a server that has not reloaded its certificate.
func TestServedCertificate(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	shown, fresh := issue(t, "sealgate.example", nil, nil), issue(t, "sealgate.example", nil, nil)
	srv := httptest.NewUnstartedServer(sealgate(false, "box", true))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{shown.cert.Raw}, PrivateKey: shown.key}}}
	srv.StartTLS()
	defer srv.Close()
	text := memory + strings.NewReplacer("MORE", "", "127.0.0.1:0", srv.Listener.Addr().String()).Replace(secure)
	r.file("tls.crt", shown.pem(), 0o644)
	r.file("tls.key", shown.keyPEM(t), 0o600)
	want(t, r.run(text), OK, "listener", "uses the address")
	r.file("tls.crt", fresh.pem(), 0o644)
	r.file("tls.key", fresh.keyPEM(t), 0o600)
	want(t, r.run(text), Warning, "listener", "another certificate")
}

// TestSockets checks a socket that can be created, a stale one, and one in use.
func TestSockets(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	text := memory + "listener \"unix\" {\n  address = \"DIR/s\"\n  tls_disable = true\n}\n"
	want(t, r.run(text), OK, "listener", "can be created")
	l, err := net.Listen("unix", filepath.Join(r.dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: sealgate(false, "box", true)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	want(t, r.run(text), OK, "listener", "uses the address")
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	<-done
	want(t, r.run(text), OK, "listener", "a stale socket")
}
