package v1

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
)

func prefixes(t *testing.T, all ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, text := range all {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// TestForwardedForReachesRateLimits sees that two clients behind one proxy are two.
func TestForwardedForReachesRateLimits(t *testing.T) {
	t.Parallel()
	w := unsealed(t,
		func(c *api.Config) { c.Front.Forwarded = config.ForwardedFor{Authorized: prefixes(t, "192.0.2.1/32")} })
	w.expect("quota", w.do("POST", "sys/quotas/rate-limit/all", `{"rate":1,"path":"secret/"}`), 204, "")
	for _, client := range []string{"198.51.100.1", "198.51.100.2"} {
		w.expect(client, w.do("GET", "secret/none", "", "X-Forwarded-For", client), 404, empty)
		w.expect(client+" again", w.do("GET", "secret/none", "", "X-Forwarded-For", client), 429,
			refusal(`request path "secret/none": rate limit quota exceeded`))
	}
}

// overProxy sends raw bytes and a request behind them, and returns the status line, "" where the
// connection was cut.
func overProxy(t *testing.T, addr, before string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "%sGET /v1/sys/in-flight-req HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", before)
	b, err := io.ReadAll(bufio.NewReader(c))
	if err != nil {
		return ""
	}
	return string(b)
}

func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t), func(c *api.Config) { c.Front.OpenInFlight = true })
	const v1 = "PROXY TCP4 198.51.100.22 203.0.113.7 35646 80\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x16\xcb\x00\x71\x07\x12\x34\x00\x50"
	const client, peer = `"client_remote_address":"198.51.100.22:`, `"client_remote_address":"127.0.0.1:`
	here, elsewhere := prefixes(t, "127.0.0.0/8"), prefixes(t, "192.0.2.0/24")
	for _, tc := range []struct {
		name, behavior, before, want string
		authorized                   []netip.Prefix
	}{
		{"always, version 1", config.ProxyAlways, v1, client, nil},
		{"always, version 2", config.ProxyAlways, v2, client, nil},
		{"always, without", config.ProxyAlways, "", peer, nil},
		{"authorized", config.ProxyAuthorized, v1, client, here},
		{"a stranger's is ignored", config.ProxyAuthorized, v1, peer, elsewhere},
		{"denied", config.ProxyDeny, v1, "", elsewhere},
		{"denied, but without", config.ProxyDeny, "", peer, elsewhere},
		{"malformed", config.ProxyAlways, "PROXY TCP4 nonsense\r\n", "", nil},
		{"endless", config.ProxyAlways, "PROXY " + strings.Repeat("A", 4096), "", nil},
		{"not spoken", "", v1, "400 Bad Request", nil},
	} {
		s := serve(t, config.Listener{TLSDisable: true, Front: config.Front{ProxyBehavior: tc.behavior,
			ProxyAuthorized: tc.authorized}}, w.api)
		got := overProxy(t, s.Addr().String(), tc.before)
		if tc.want == "" && strings.Contains(got, "200 OK") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestResponseHeaders has headers for all answers, for a class, for a status.
func TestResponseHeaders(t *testing.T) {
	t.Parallel()
	w := unsealed(t, func(c *api.Config) {
		c.Hostname = "here"
		c.Front.Headers = map[string]http.Header{
			"default": {"X-A": {"all"}, "X-B": {"all"}, "X-C": {"all"}, "Strict-Transport-Security": {"max-age=1"}},
			"2xx":     {"X-B": {"two"}}, "4xx": {"X-B": {"four"}, "X-C": {"four"}}, "404": {"X-C": {"nothing", "twice"}},
		}
	})
	for path, want := range map[string]string{
		"sys/health": "[all] [two] [all]", "secret/none": "[all] [four] [nothing twice]",
		"secret/none?list=x": "[all] [four] [four]",
	} {
		h := w.do("GET", path, "").Header()
		if got := fmt.Sprint(h["X-A"], h["X-B"], h["X-C"]); got != want ||
			h.Get("Strict-Transport-Security") != "max-age=1" || h.Get("X-Vault-Hostname") != "here" {
			t.Errorf("%s: %s %v", path, got, h)
		}
	}
	if h := w.do("PUT", "secret/a", `{"a":1}`).Header(); h.Get("X-B") != "two" {
		t.Errorf("of a 204: %v", h)
	}
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	const path = "sys/internal/specs/openapi"
	plain := w.do("GET", path, "")
	if plain.Header().Get("Content-Encoding") != "" || plain.Header().Get("Vary") != "Accept-Encoding" ||
		plain.Body.Len() < 32<<10 {
		t.Errorf("without asking: %v, %d bytes", plain.Header(), plain.Body.Len())
	}
	for accept, packed := range map[string]bool{"gzip": true, "br, gzip;q=0.5": true, "GZIP": true, "gzip;q=0": false,
		"identity": false, "gzip; q=x": false} {
		a := w.do("GET", path, "", "Accept-Encoding", accept)
		if got := a.Header().Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("%q: %v", accept, a.Header())
		}
		if !packed {
			continue
		}
		r, err := gzip.NewReader(bytes.NewReader(a.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(b, plain.Body.Bytes()) || a.Header().Get("Content-Length") != fmt.Sprint(a.Body.Len()) {
			t.Errorf("%q: %v, %d bytes, %v", accept, err, len(b), a.Header())
		}
	}
	if a := w.do("GET", "sys/seal-status", "", "Accept-Encoding", "gzip"); a.Header().Get("Content-Encoding") != "" ||
		a.Header().Get("Vary") != "" {
		t.Errorf("a small answer: %v", a.Header())
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	const page = "https://page.example.com"
	if h := w.do("GET", "sys/health", "", "Origin", page).Header(); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without CORS: %v", h)
	}
	w.expect("off", w.do("OPTIONS", "sys/health", "", "Origin", page), 405, empty)
	for body, text := range map[string]string{
		`{}`:                                    "at least one origin or the wildcard must be provided",
		`{"allowed_origins":["*","https://a"]}`: "to allow all origins the '*' must be the only value for allowed_origins",
	} {
		w.expect(body, w.do("PUT", "sys/config/cors", body), 400, refusal(text))
	}
	w.expect("on",
		w.do("PUT", "sys/config/cors",
			`{"allowed_origins":"`+page+`, https://other.example.com","allowed_headers":"X-Custom"}`), 204, "")
	var read struct {
		Enabled bool     `json:"enabled"`
		Origins []string `json:"allowed_origins"`
		Headers []string `json:"allowed_headers"`
	}
	w.decode(w.do("GET", "sys/config/cors", ""), &read)
	if !read.Enabled || len(read.Origins) != 2 || read.Headers[len(read.Headers)-1] != "X-Custom" {
		t.Errorf("%+v", read)
	}
	a := w.do("OPTIONS", "secret/a", "", "Origin", page, "X-Vault-Token", "", "Access-Control-Request-Method", "PUT")
	if h := a.Header(); a.Code != 204 || h.Get("Access-Control-Allow-Origin") != page ||
		!strings.Contains(h.Get("Access-Control-Allow-Headers"), "X-Vault-Token") ||
		!strings.Contains(h.Get("Access-Control-Allow-Headers"), "X-Custom") ||
		!strings.Contains(h.Get("Access-Control-Allow-Methods"), "LIST") ||
		h.Get("Vary") != "Origin" || h.Get("Access-Control-Max-Age") != "300" {
		t.Errorf("preflight: %d %v", a.Code, h)
	}
	if h := w.do("GET", "secret/a", "", "Origin", page).Header(); h.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("a page's request: %v", h)
	}
	w.expect("a stranger", w.do("GET", "secret/a", "", "Origin", "https://evil.example.com"), 403,
		refusal("origin not allowed"))
	w.expect("off again", w.do("DELETE", "sys/config/cors", ""), 204, "")
	w.expect("a stranger, off", w.do("GET", "secret/a", "", "Origin", "https://evil.example.com"), 404, empty)
}

func TestCORSOfAListener(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t), func(c *api.Config) {
		c.Front.CORS = config.CORS{Enabled: true, Origins: []string{"https://a"}, AllowCredentials: true}
	})
	a := w.do("GET", "sys/health", "", "Origin", "https://a")
	if h := a.Header(); h.Get("Access-Control-Allow-Origin") != "https://a" ||
		h.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("%v", h)
	}
	w.expect("a stranger, while sealed", w.do("GET", "sys/health", "", "Origin", "https://b"), 403,
		refusal("origin not allowed"))
}

func TestListenersForMetricsAlone(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	front := config.Front{MetricsOnly: true, OpenMetrics: true, MetricsPath: "/metrics"}
	alone := New(api.Config{Node: w.node, Now: now, Front: front})
	for path, code := range map[string]int{
		"/metrics?format=prometheus": 200, "/v1/sys/metrics": 200, "/v1/sys/health": 200, "/v1/sys/seal-status": 404,
		"/v1/secret/a": 404,
	} {
		if a := sendTo(alone, w.request("GET", path, "", "X-Vault-Token", "")); a.Code != code {
			t.Errorf("%s: %d %s", path, a.Code, a.Body)
		}
	}
	none := New(api.Config{Node: w.node, Now: now, Front: config.Front{DisallowMetrics: true}})
	w.expect("disallowed", sendTo(none, w.request("GET", "/v1/sys/metrics", "")), 404, "")
}

// TestHTTP2OverProxyProtocol has TLS and HTTP/2 behind a header.
func TestHTTP2OverProxyProtocol(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	id := issue(t, t.TempDir(), "server.test", tomorrow())
	s := serve(t, config.Listener{TLSCertFile: id.cert, TLSKeyFile: id.key,
		Front: config.Front{ProxyBehavior: config.ProxyAlways}}, w.api)
	tr := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string,
		string) (net.Conn, error) {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			return nil, err
		}
		fmt.Fprint(c, "PROXY TCP4 198.51.100.22 203.0.113.7 35646 443\r\n")
		conf := trusting(id)
		conf.NextProtos = []string{"h2"}
		return tls.Client(c, conf), nil
	}}
	defer tr.CloseIdleConnections()
	r, err := (&http.Client{Transport: tr}).Get("https://server.test/v1/sys/leader")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != 200 {
		t.Errorf("%+v", r)
	}
}
