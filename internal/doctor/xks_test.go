package doctor

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// proxyOf answers as an XKS proxy does an unsigned request.
func proxyOf(t *testing.T, change func(w http.ResponseWriter)) (connect string, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if change != nil {
			change(w)
		}
		w.WriteHeader(http.StatusUnauthorized)
		name := "AuthenticationFailedException"
		if r.URL.Path != "/store-prod/kms/xks/v1/health" {
			name = "InvalidUriPathException"
		}
		fmt.Fprintf(w, `{"errorName":%q}`, name)
	}))
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.Listener.Addr().String(), roots
}

func xksTexts(r *Report) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s\n", f.Level, f.Text)
	}
	return b.String()
}

func TestXKS(t *testing.T) {
	t.Parallel()
	connect, roots := proxyOf(t, nil)
	late, lateRoots := proxyOf(t, func(w http.ResponseWriter) {
		w.Header().Set("Date", time.Now().Add(-6*time.Minute).UTC().Format(http.TimeFormat))
	})
	for what, c := range map[string]struct {
		address, connect string
		roots            *x509.CertPool
		result           Level
		words            string
	}{
		"good":                {"https://example.com/store-prod", connect, roots, OK, "refuses an unsigned request"},
		"with the whole path": {"https://example.com/store-prod/kms/xks/v1", connect, roots, OK, "a call takes"},
		"another prefix":      {"https://example.com/store-dev", connect, roots, Error, "no store has this prefix"},
		"private CA":          {"https://example.com/store-prod", connect, x509.NewCertPool(), Error, "chain"},
		"another name":        {"https://other.org/store-prod", connect, roots, Error, "another name"},
		"another port":        {"https://example.com:8443/store-prod", connect, roots, Error, "443 alone"},
		"an address":          {"https://127.0.0.1/store-prod", connect, roots, Error, "fully qualified"},
		"http":                {"http://example.com/store-prod", connect, roots, Error, "not https"},
		"a clock of 6 min":    {"https://example.com/store-prod", late, lateRoots, Error, "clock differs by 6m"},
		"nothing listens":     {"https://example.com/store-prod", "127.0.0.1:1", roots, Error, "cannot be reached"},
	} {
		r := XKS(t.Context(), c.address, XKSTools{Connect: c.connect, Roots: c.roots, Deadline: 10 * time.Second})
		if r.Result != c.result && c.result == Error || !strings.Contains(xksTexts(r), c.words) {
			t.Errorf("%s: %s, want %s and %q:\n%s", what, r.Result, c.result, c.words, xksTexts(r))
		}
		if c.result == OK && r.Result == Error {
			t.Errorf("%s:\n%s", what, xksTexts(r))
		}
	}
}
