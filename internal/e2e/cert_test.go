package e2e

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// crl makes a revocation list of the authority.
func (a *authority) crl(number int64, revoked ...int64) string {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute),
		NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// ocsp makes an answer about a certificate of the authority.
func (a *authority) ocsp(serial int64, status int) []byte {
	a.t.Helper()
	raw, err := ocsp.CreateResponse(a.cert, a.cert, ocsp.Response{Status: status, SerialNumber: big.NewInt(serial),
		ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour), RevokedAt: time.Now(),
		IssuerHash: crypto.SHA256}, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return raw
}

// certLogin logs in over TLS with a certificate of the authority, which may be stapled.
func (r *harness) certLogin(a *authority, serial int64, staple []byte) (int, string) {
	r.t.Helper()
	certPEM, keyPEM := a.issue(serial, false)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		r.t.Fatal(err)
	}
	pair.OCSPStaple = staple
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "https://"+r.Addr+"/v1/auth/cert/login",
		strings.NewReader("{}"))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := a.browser(pair).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var reply struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(body, &reply); err == nil && reply.Auth.ClientToken != "" {
		r.known.add("a token", reply.Auth.ClientToken)
	}
	return resp.StatusCode, string(bytes.TrimSpace(body))
}

// TestRevokedCertificates logs in over TLS with certificates that a list or an OCSP server revokes,
// and with stapled answers, which need no server.
func TestRevokedCertificates(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	a, _ := r.useTLS(t, "")
	r.startTLS(a)
	root, err := r.initByTLS(a)
	if err != nil {
		t.Fatal(err)
	}
	r.root = root
	expect := func(what string, serial int64, staple []byte, want int) {
		t.Helper()
		if code, body := r.certLogin(a, serial, staple); code != want {
			t.Errorf("%s: %d %s; want %d", what, code, body, want)
		}
	}
	r.mustByTLS(a, "sys/auth/cert", map[string]any{"type": "cert"})
	r.mustByTLS(a, "auth/cert/certs/web", map[string]any{"certificate": string(a.pem)})
	expect("no list", 20, nil, 200)
	r.mustByTLS(a, "auth/cert/crls/main", map[string]any{"crl": a.crl(1, 20)})
	expect("revoked by the list", 20, nil, 400)
	expect("not in the list", 21, nil, 200)
	var asked int
	responder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		raw, _ := io.ReadAll(q.Body)
		request, err := ocsp.ParseRequest(raw)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		asked++
		status := ocsp.Good
		if request.SerialNumber.Int64() == 22 {
			status = ocsp.Revoked
		}
		_, _ = w.Write(a.ocsp(request.SerialNumber.Int64(), status))
	}))
	defer responder.Close()
	r.mustByTLS(a, "auth/cert/certs/web", map[string]any{"certificate": string(a.pem), "ocsp_enabled": true,
		"ocsp_servers_override": responder.URL})
	expect("good", 21, nil, 200)
	expect("revoked by the server", 22, nil, 400)
	before := asked
	expect("stapled", 23, a.ocsp(23, ocsp.Good), 200)
	expect("stapled and revoked", 23, a.ocsp(23, ocsp.Revoked), 400)
	if asked != before {
		t.Error("the server was asked although an answer was stapled")
	}
	responder.Close()
	expect("no server", 24, nil, 400)
	expect("a stapled answer about another", 24, a.ocsp(23, ocsp.Good), 400)
	r.mustByTLS(a, "auth/cert/certs/web", map[string]any{"certificate": string(a.pem), "ocsp_fail_open": true})
	expect("no server, fail open", 24, nil, 200)
}

// mustByTLS writes as root.
func (r *harness) mustByTLS(a *authority, path string, body map[string]any) {
	r.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "https://"+r.Addr+"/v1/"+path,
		bytes.NewReader(raw))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", r.root)
	resp, err := a.browser().Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode > 299 {
		r.t.Fatalf("%s: %d %s", path, resp.StatusCode, text)
	}
}
