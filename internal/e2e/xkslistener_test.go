package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestXKSListener is the proxy on a listener of its own: HTTP/2 and HTTP/1.1, TLS from 1.2 on, a
// certificate that is replaced while it runs, thousands of idle connections, and nothing of the
// API.
func TestXKSListener(t *testing.T) {
	t.Parallel()
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	dir, ca := t.TempDir(), newAuthority(t)
	write := func(serial int64) {
		t.Helper()
		cert, key := ca.issue(serial, false)
		for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(100)
	r, a := newXKS(t, fmt.Sprintf("gateway \"xks\" {\n  address = %q\n  tls_cert_file = %q\n  tls_key_file = %q\n"+
		"  deadline = \"5s\"\n}\n", addr, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	shared := *a
	if resp, err := http.Post(shared.url+"/store-prod/kms/xks/v1/health", "application/json", nil); err != nil {
		t.Fatal(err)
	} else if resp.Body.Close(); resp.StatusCode != 404 {
		t.Errorf("the API's listener answers the proxy's address: %d", resp.StatusCode)
	}
	a.url = "https://" + addr
	for proto, http2 := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool}, ForceAttemptHTTP2: http2}
		b := *a
		b.client = &http.Client{Transport: transport}
		t.Cleanup(transport.CloseIdleConnections)
		resp, err := b.client.Do(b.signed(t.Context(), "health", b.body("KmsHealthCheck", nil)))
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.Proto != proto || resp.StatusCode != 200 {
			t.Errorf("%s: %s %d, %v", proto, resp.Proto, resp.StatusCode, err)
		}
		b.want(proto, b.encrypt("orders", "text"), 200, "")
		a.client = b.client
	}
	api, err := a.client.Get(a.url + "/v1/sys/health")
	if err != nil {
		t.Fatal(err)
	}
	if err := api.Body.Close(); err != nil || api.StatusCode != 404 {
		t.Errorf("the proxy's listener answers for the API: %d, %v", api.StatusCode, err)
	}
	old := &tls.Dialer{Config: &tls.Config{RootCAs: ca.pool, MaxVersion: tls.VersionTLS11}}
	if c, err := old.DialContext(t.Context(), "tcp", addr); err == nil {
		t.Errorf("TLS 1.1 is accepted: %v", c.Close())
	}

	// Idle connections cost no place: 500 here, because the test's own limit of files may be low.
	var idle []net.Conn
	for range 500 {
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	a.want("beside idle connections", a.encrypt("orders", "text"), 200, "")
	for _, c := range idle {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}

	write(101)
	r.hup()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: ca.pool}}
	r.eventually(patience, "the new certificate is served", func() bool {
		c, err := dialer.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return false
		}
		defer c.Close()
		return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64() == 101
	})
}
