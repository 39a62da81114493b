package v1

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/listener"
)

// identity is a key pair in files, signed by itself.
type identity struct {
	dir, cert, key string
	pool           *x509.CertPool
	pair           tls.Certificate
}

// issue writes a self-signed certificate, over one that is there already.
func issue(t testing.TB, dir, name string, expires time.Time) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: expires, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := &identity{dir: dir, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
		pool: x509.NewCertPool()}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for path, content := range map[string][]byte{id.cert: certPEM, id.key: keyPEM} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id.pool.AppendCertsFromPEM(certPEM)
	if id.pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return id
}

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

// serve starts a listener and stops it when the test ends.
func serve(t testing.TB, c config.Listener, h http.Handler) *listener.Server {
	t.Helper()
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	s, err := listener.Listen(t.Context(), c, h, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		wg.Wait()
	})
	return s
}

// fetch asks once over a connection of its own.
func fetch(t testing.TB, s *listener.Server, c *tls.Config) (*http.Response, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	scheme := "https://"
	if c == nil {
		scheme = "http://"
	}
	r, err := (&http.Client{Transport: tr, Timeout: 10 * time.Second}).Get(scheme + s.Addr().String() + "/v1/sys/leader")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r, err
}

func trusting(id *identity, certs ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: id.pool, ServerName: "server.test", Certificates: certs}
}

func TestTLSAndReload(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	dir := t.TempDir()
	old := issue(t, dir, "server.test", tomorrow())
	s := serve(t, config.Listener{TLSCertFile: old.cert, TLSKeyFile: old.key}, w.api)
	r, err := fetch(t, s, trusting(old))
	if err != nil || r.StatusCode != 200 || r.ProtoMajor != 2 {
		t.Fatalf("over TLS: %+v, %v; want HTTP/2", r, err)
	}
	fresh := issue(t, dir, "server.test", tomorrow())
	if _, err := fetch(t, s, trusting(old)); err != nil {
		t.Errorf("before the reload: %v", err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(t, s, trusting(fresh)); err != nil {
		t.Errorf("after the reload: %v", err)
	}
	if err := os.WriteFile(fresh.key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "keeps its old certificate") {
		t.Errorf("a reload of a broken key: %v", err)
	}
	if _, err := fetch(t, s, trusting(fresh)); err != nil {
		t.Errorf("after the failed reload: %v", err)
	}
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	server := issue(t, t.TempDir(), "server.test", tomorrow())
	known, stranger := issue(t, t.TempDir(), "known", tomorrow()), issue(t, t.TempDir(), "stranger", tomorrow())
	expired := issue(t, t.TempDir(), "expired", time.Now().Add(-time.Hour))
	base := config.Listener{TLSCertFile: server.cert, TLSKeyFile: server.key}
	for _, tc := range []struct {
		name   string
		change func(*config.Listener)
		passes map[*identity]bool // nil stands for no certificate
	}{
		{"no CA: requested, not verified", func(*config.Listener) {}, map[*identity]bool{nil: true, known: true,
			stranger: true, expired: true}},
		{"a CA: verified if given", func(c *config.Listener) { c.TLSClientCAFile = known.cert },
			map[*identity]bool{nil: true, known: true, stranger: false, expired: false}},
		{"required", func(c *config.Listener) { c.TLSClientCAFile, c.TLSRequireClient = known.cert, true },
			map[*identity]bool{nil: false, known: true, stranger: false}},
		{"switched off", func(c *config.Listener) { c.TLSDisableClient = true },
			map[*identity]bool{nil: true, stranger: true}},
	} {
		c := base
		tc.change(&c)
		s := serve(t, c, w.api)
		for client, passes := range tc.passes {
			conf, name := trusting(server), "unknown"
			if client != nil {
				// Given whatever the server asks for: Go would keep back what it does not list.
				conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &client.pair, nil }
				name = filepath.Base(client.dir)
			}
			if _, err := fetch(t, s, conf); (err == nil) != passes {
				t.Errorf("%s: the client %s: %v", tc.name, name, err)
			}
		}
	}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	id := issue(t, t.TempDir(), "server.test", tomorrow())
	s := serve(t, config.Listener{TLSCertFile: id.cert, TLSKeyFile: id.key, TLSMinVersion: tls.VersionTLS13}, w.api)
	for version, passes := range map[uint16]bool{tls.VersionTLS12: false, tls.VersionTLS13: true} {
		c := trusting(id)
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, version
		if _, err := fetch(t, s, c); (err == nil) != passes {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

func TestListenersThatCannotBe(t *testing.T) {
	t.Parallel()
	id := issue(t, t.TempDir(), "server.test", tomorrow())
	other := issue(t, t.TempDir(), "other", tomorrow())
	good := config.Listener{Address: "127.0.0.1:0", TLSCertFile: id.cert, TLSKeyFile: id.key}
	for want, change := range map[string]func(*config.Listener){
		"tls_cert_file and tls_key_file are missing": func(c *config.Listener) { c.TLSKeyFile = "" },
		"no such file":               func(c *config.Listener) { c.TLSCertFile = "/nonexistent" },
		"private key does not match": func(c *config.Listener) { c.TLSKeyFile = other.key },
		"tls_min_version is above": func(c *config.Listener) {
			c.TLSMinVersion, c.TLSMaxVersion = tls.VersionTLS13,
				tls.VersionTLS12
		},
		"contradict each other":        func(c *config.Listener) { c.TLSDisableClient, c.TLSRequireClient = true, true },
		"needs tls_client_ca_file":     func(c *config.Listener) { c.TLSRequireClient = true },
		"tls_client_ca_file: open":     func(c *config.Listener) { c.TLSClientCAFile = "/nonexistent" },
		"holds no certificate in PEM":  func(c *config.Listener) { c.TLSClientCAFile = id.key },
		"listener 256.0.0.1:1: listen": func(c *config.Listener) { c.Address = "256.0.0.1:1" },
		"is not an octal number": func(c *config.Listener) {
			c.Type, c.Address, c.SocketMode = "unix", filepath.Join(t.TempDir(), "s"), "rw"
		},
		"socket_user: user: unknown user": func(c *config.Listener) {
			c.Type, c.Address, c.SocketUser = "unix", filepath.Join(t.TempDir(), "s"), "unknown-user"
		},
		"socket_group: group: unknown group ": func(c *config.Listener) {
			c.Type, c.Address, c.SocketGroup = "unix", filepath.Join(t.TempDir(), "s"), "unknown-user"
		},
	} {
		c := good
		change(&c)
		s, err := listener.Listen(t.Context(), c, nil, nil)
		if err == nil {
			_ = s.Shutdown(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	c := config.Listener{Type: "unix", Address: path, TLSDisable: true, SocketMode: "600"}
	if _, err := listener.Listen(t.Context(), c, w.api, nil); err == nil ||
		!strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a socket in use: %v", err)
	}
	_ = left.Close() // as a killed process leaves it
	serve(t, c, w.api)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	var d net.Dialer
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
		error) {
		return d.DialContext(ctx, "unix", path)
	}}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get("http://sealgate/v1/sys/health")
	if err != nil || r.StatusCode != 501 {
		t.Fatalf("over the socket: %+v, %v", r, err)
	}
	_ = r.Body.Close()
}

func TestShutdownWaitsForRequests(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	entered, leave := make(chan struct{}), make(chan struct{})
	r := failing(nil)
	r.Path, r.Handle = "sys/test", func(context.Context, *api.Handler, *api.Request) (*api.Answer, error) {
		close(entered)
		<-leave
		return api.Show(struct{}{})
	}
	s := serve(t, config.Listener{TLSDisable: true}, withRoute(w, r))
	answered := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://" + s.Addr().String() + "/v1/sys/test")
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close()
		answered <- resp.StatusCode
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	for { // until the listener is closed
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
	}
	select {
	case err := <-stopped:
		t.Errorf("Shutdown did not wait: %v", err)
	default:
	}
	close(leave)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if code := <-answered; code != 200 {
		t.Errorf("the request under way: %d", code)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestShutdownCutsOffAtItsDeadline(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	entered := make(chan struct{})
	r := failing(nil)
	r.Handle = func(ctx context.Context, _ *api.Handler, _ *api.Request) (*api.Answer, error) {
		close(entered)
		<-ctx.Done() // the connection is cut
		return nil, ctx.Err()
	}
	s := serve(t, config.Listener{TLSDisable: true}, withRoute(w, r))
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = fetchPath(s, "sys/test") })
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("a cut request was not reported")
	}
	wg.Wait()
}

func fetchPath(s *listener.Server, path string) (int, error) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get("http://" + s.Addr().String() + "/v1/" + path)
	if err != nil {
		return 0, err
	}
	return r.StatusCode, r.Body.Close()
}

func TestPathsOnTheWire(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	s := serve(t, config.Listener{TLSDisable: true}, w.api)
	for _, tc := range []struct {
		line string
		code string
	}{
		{"GET /v1/secret/a%2fb HTTP/1.1", "404"},
		{"PUT /v1/secret/%2e%2e/sys/health HTTP/1.1", "307"},
		{"GET /v1/secret//a HTTP/1.1", "307"},
		{"GET /v1/secret/%00 HTTP/1.1", "400"},
		{"GET /v1/secret/%ff HTTP/1.1", "400"},
		{"GET /v1/secret/%zz HTTP/1.1", "400"},
		{"GET * HTTP/1.1", "404"},
		{"OPTIONS * HTTP/1.1", "200"},
		{"GET http://other/v1/sys/leader HTTP/1.1", "200"},
		{"GET /v1/sys/leader HTTP/1.1\r\nContent-Length: -1", "400"},
		{"GET /v1/sys/leader HTTP/1.1\r\nX-Big: " + strings.Repeat("x", 100<<10), "431"},
	} {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(c, tc.line+"\r\nHost: x\r\nConnection: close\r\nX-Vault-Token: "+w.token+"\r\n\r\n")
		head := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(c, head); err != nil || !strings.HasSuffix(string(head), tc.code) {
			t.Errorf("%.60s: %q, %v; want %s", tc.line, head, err, tc.code)
		}
		_ = c.Close()
	}
}
