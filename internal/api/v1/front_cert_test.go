package v1

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
)

func TestForwardedCertificates(t *testing.T) {
	t.Parallel()
	ca, other := newIssuer(t), newIssuer(t)
	leaf := ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "web-1"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, other.key)
	text := url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})))
	for _, tc := range []struct {
		name, peer, value string
		decoders          []string
		code              int
	}{
		{"PEM in URL encoding", "192.0.2.1:1", text, []string{"URL", "DER"}, 200},
		{"base64", "192.0.2.1:1", base64.StdEncoding.EncodeToString(leaf.Raw), []string{"BASE64"}, 200},
		{"a stranger vouches", "203.0.113.1:1", text, []string{"URL", "DER"}, 400},
		{"none", "192.0.2.1:1", "", []string{"URL", "DER"}, 400},
		{"not URL encoding", "192.0.2.1:1", "%zz", []string{"URL", "DER"}, 400},
		{"not base64", "192.0.2.1:1", "?", []string{"BASE64"}, 400},
		{"not PEM", "192.0.2.1:1", "x", []string{"DER"}, 400},
		{"not a certificate", "192.0.2.1:1", "eA==", []string{"BASE64"}, 400},
		{"too long", "192.0.2.1:1", strings.Repeat("A", 32<<10+1), []string{"BASE64"}, 400},
	} {
		w := unsealed(t, func(c *api.Config) {
			c.Front.Forwarded = config.ForwardedFor{Authorized: prefixes(t, "192.0.2.0/24"), CertHeader: "X-Client-Cert",
				CertDecoders: tc.decoders}
		})
		w.expect("enable", w.do("POST", "sys/auth/cert", `{"type":"cert"}`), 204, "")
		w.expect("entry",
			w.do("PUT", "auth/cert/certs/web", fmt.Sprintf(`{"certificate":%q,"token_policies":"web"}`, ca.pem)), 204, "")
		login := func() *httptest.ResponseRecorder {
			r := w.request("POST", "/v1/auth/cert/login", `{}`, "X-Vault-Token", "", "X-Client-Cert", tc.value)
			r.RemoteAddr = tc.peer
			return w.send(r)
		}
		w.expect(tc.name, login(), tc.code, "")
	}
}

// TestProxysOwnCertificate: the certificate of a proxy's connection does not log its clients in.
func TestProxysOwnCertificate(t *testing.T) {
	t.Parallel()
	ca, other := newIssuer(t), newIssuer(t)
	leaf := ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "proxy"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, other.key)
	header := base64.StdEncoding.EncodeToString(leaf.Raw)
	w := unsealed(t, func(c *api.Config) {
		c.Front.Forwarded = config.ForwardedFor{Authorized: prefixes(t, "192.0.2.0/24"), CertHeader: "X-Client-Cert",
			CertDecoders: []string{"BASE64"}}
	})
	w.expect("enable", w.do("POST", "sys/auth/cert", `{"type":"cert"}`), 204, "")
	w.expect("entry", w.do("PUT", "auth/cert/certs/web", fmt.Sprintf(`{"certificate":%q}`, ca.pem)), 204, "")
	for name, tc := range map[string]struct {
		peer   string
		values []string
		code   int
	}{
		"by the proxy, without a header":  {"192.0.2.1:1", nil, 400},
		"by the proxy, an empty header":   {"192.0.2.1:1", []string{""}, 400},
		"by the proxy, the client's too":  {"192.0.2.1:1", []string{header, header}, 400},
		"by the proxy, its header":        {"192.0.2.1:1", []string{header}, 200},
		"without a proxy":                 {"203.0.113.1:1", nil, 200},
		"without a proxy, with a header":  {"203.0.113.1:1", []string{"?"}, 200},
		"by the proxy, an empty one more": {"192.0.2.1:1", []string{"", header}, 400},
	} {
		r := w.request("POST", "/v1/auth/cert/login", `{}`, "X-Vault-Token", "")
		r.Header["X-Client-Cert"] = tc.values
		r.RemoteAddr, r.TLS = tc.peer, &tls.ConnectionState{HandshakeComplete: true,
			PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
		w.expect(name, w.send(r), tc.code, "")
	}
}
