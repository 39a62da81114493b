package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	a.cert, a.key = a.sign(template, nil, nil)
	a.pool.AddCert(a.cert)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

// sign makes a key and a certificate for it; without a parent one that signs itself.
func (a *authority) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate,
	*ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue makes a certificate for 127.0.0.1, a server's and a client's in one, with its key in PEM.
func (a *authority) issue(serial int64, expired bool) (cert, key []byte) {
	a.t.Helper()
	ends := time.Now().Add(time.Hour)
	if expired {
		ends = time.Now().Add(-time.Minute)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth,
			x509.ExtKeyUsageClientAuth},
	}
	c, k := a.sign(template, a.cert, a.key)
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// useTLS adds TLS to the harness's listener, with more lines in its stanza. It returns the
// authority and a function that replaces the listener's files.
func (r *harness) useTLS(t *testing.T, more string) (*authority, func(cert, key []byte)) {
	t.Helper()
	a := newAuthority(t)
	write := func(cert, key []byte) {
		t.Helper()
		for name, text := range map[string][]byte{"server.crt": cert, "server.key": key} {
			if err := os.WriteFile(filepath.Join(r.Dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(a.issue(100, false))
	if err := os.WriteFile(filepath.Join(r.Dir, "ca.crt"), a.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	// Paths are relative to the working directory, as clients' own harnesses have them.
	text := strings.Replace(string(config), "tls_disable = true",
		"tls_cert_file = \"server.crt\"\n  tls_key_file = \"server.key\"\n"+more, 1)
	if err := r.WriteConfig(text); err != nil {
		t.Fatal(err)
	}
	return a, write
}

// browser is a client of its own connections.
func (a *authority) browser(certificates ...tls.Certificate) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool, Certificates: certificates}}
	a.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// serial asks for health and returns the serial number of the certificate that answered.
func serial(c *http.Client, addr string) (int64, error) {
	resp, err := c.Get("https://" + addr + "/v1/sys/health")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.TLS.PeerCertificates[0].SerialNumber.Int64(), err
}

// startTLS starts a server whose health is asked by TLS.
func (r *harness) startTLS(a *authority) {
	r.t.Helper()
	if err := r.Start(); err != nil {
		r.t.Fatal(err)
	}
	c := a.browser()
	r.eventually(patience, "answering by TLS", func() bool { _, err := serial(c, r.Addr); return err == nil })
}

// TestCertificateReload changes the certificate under open connections. A broken one changes
// nothing.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	a, write := r.useTLS(t, "")
	r.startTLS(a)
	old := a.browser()
	is := func(c *http.Client, want int64) bool {
		got, err := serial(c, r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		return got == want
	}
	if !is(old, 100) {
		t.Fatal("not the first certificate")
	}
	write(a.issue(200, false))
	r.reload()
	r.eventually(patience, "answering with the new certificate", func() bool { return is(a.browser(), 200) })
	if !is(old, 100) {
		t.Error("the open connection was closed")
	}
	_, key := a.issue(300, false)
	cert, _ := a.issue(301, false)
	for _, bad := range [][2][]byte{{cert, key}, {[]byte("no PEM"), key}, {nil, nil}} {
		errors := strings.Count(r.Log(), "keeps its old certificate")
		write(bad[0], bad[1])
		r.reload()
		r.eventually(patience, "reporting that it stays",
			func() bool { return strings.Count(r.Log(), "keeps its old certificate") > errors })
		if !is(a.browser(), 200) {
			t.Error("a broken certificate took effect")
		}
	}
	r.logs("server.crt", "tls_key_file")
	if resp, err := http.Get("http://" + r.Addr + "/v1/sys/health"); err == nil {
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("plain HTTP on the TLS listener: %d", resp.StatusCode)
		}
	}
}

// TestClientCertificates: without a CA of clients theirs are asked for and taken as they are; with
// one they are verified, if given; and where the configuration wants them, they must be.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, listener                  string
		none, good, expired, selfSigned bool // who gets in
	}{
		{"no CA", "", true, true, true, true},
		{"a CA", "tls_client_ca_file = \"ca.crt\"", true, true, false, false},
		{"required", "tls_client_ca_file = \"ca.crt\"\n  tls_require_and_verify_client_cert = true", false,
			true, false, false},
		{"disabled", "tls_disable_client_certs = true", true, true, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newStaticHarness(t)
			a, _ := r.useTLS(t, "  "+tc.listener)
			client := func(cert, key []byte) *http.Client {
				pair, err := tls.X509KeyPair(cert, key)
				if err != nil {
					t.Fatal(err)
				}
				return a.browser(pair)
			}
			good := client(a.issue(7, false))
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
			r.eventually(patience, "answering", func() bool { _, err := serial(good, r.Addr); return err == nil })
			for who, c := range map[string]struct {
				client *http.Client
				in     bool
			}{
				"none": {a.browser(), tc.none}, "good": {good, tc.good}, "expired": {client(a.issue(8, true)), tc.expired},
				"self-signed": {client(newAuthority(t).issue(9, false)), tc.selfSigned},
			} {
				if _, err := serial(c.client, r.Addr); (err == nil) != c.in {
					t.Errorf("a client with %s certificate: %v; may come in: %v", who, err, c.in)
				}
			}
		})
	}
}

// TestBadListeners: what cannot be served ends the start, with the line, before anything is
// changed.
func TestBadListeners(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ stanza, words string }{
		"no certificate": {"", "tls_cert_file"},
		"missing file":   {"tls_cert_file = \"nowhere.crt\"\n tls_key_file = \"nowhere.key\"", "nowhere.crt"},
		"unknown key":    {"tls_disable = true\n tls_cart_file = \"x\"", "tls_cart_file"},
		"contradiction": {"tls_disable = true\n tls_disable_client_certs = true\n " +
			"tls_require_and_verify_client_cert = true", ""},
		"address in use":   {"tls_disable = true", "address already in use"},
		"not an address":   {"tls_disable = true", "address"},
		"raft for storage": {"tls_disable = true", "raft"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newStaticHarness(t)
			addr, storage := r.Addr, "storage \"bbolt\" {\n path = \"data\"\n}\n"
			switch name {
			case "address in use":
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				addr = l.Addr().String()
			case "not an address":
				addr = "here"
			case "raft for storage":
				storage = "storage \"raft\" {\n path = \"data\"\n node_id = \"a\"\n}\n"
			case "contradiction":
				tc.stanza = strings.Replace(tc.stanza, "tls_disable = true",
					"tls_cert_file = \"server.crt\"\n tls_key_file = \"server.key\"", 1)
				tc.words = "exclude each other"
				r.useTLS(t, "")
			}
			if err := r.WriteConfig(storage + fmt.Sprintf("listener \"tcp\" {\n address = %q\n %s\n}\n", addr,
				tc.stanza)); err != nil {
				t.Fatal(err)
			}
			r.exits(tc.words)
		})
	}
}

// TestStopUnderLoad: on SIGTERM requests that were accepted are answered. A client sees an answer,
// or that it cannot connect; what was acknowledged is there after the next start.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	var acked, unanswered sync.Map
	var writes atomic.Int64
	var wg sync.WaitGroup
	problems := make(chan string, 1000)
	for c := range 8 {
		tr := &http.Transport{}
		httpClient := &http.Client{Transport: tr, Timeout: 20 * time.Second}
		wg.Go(func() {
			defer tr.CloseIdleConnections()
			for i := 0; ; i++ {
				key := fmt.Sprintf("stop/%d-%d", c, i)
				code, body, err := putOnce(t.Context(), httpClient, r, key)
				switch {
				case err == nil && code == 204:
					acked.Store(key, true)
					writes.Add(1)
				case errors.Is(err, syscall.ECONNREFUSED):
					return
				case closedBetween(err): // by the server, while the client was sending: it must not have taken effect
					unanswered.Store(key, true)
					return
				case err == nil && code == 503: // it arrived after the node was sealed
					return
				default:
					problems <- fmt.Sprintf("%s: %d %s %v", key, code, body, err)
					return
				}
			}
		})
	}
	r.eventually(patience, "writing", func() bool { return writes.Load() > 200 })
	if err := r.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	code, err := r.Wait(patience)
	if err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	wg.Wait()
	close(problems)
	for p := range problems {
		t.Error(p)
	}
	r.mustStart()
	r.until(patience, "unsealed", unsealed)
	acked.Range(func(key, _ any) bool {
		r.mustGet(key.(string), "x")
		return true
	})
	unanswered.Range(func(key, _ any) bool {
		r.must(404, "GET", "kv/"+key.(string), nil)
		return true
	})
}

func putOnce(ctx context.Context, c *http.Client, r *harness, key string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, "PUT", r.URL()+"/v1/kv/"+key, bytes.NewReader([]byte(`{"v":"x"}`)))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("X-Vault-Token", r.root)
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// closedBetween reports that the server closed the connection between two requests.
func closedBetween(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) ||
		(err != nil && strings.Contains(err.Error(), "server closed idle connection"))
}
