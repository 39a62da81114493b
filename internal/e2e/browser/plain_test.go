package browser

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// plain is a browser without script: it keeps cookies, follows redirects, and sends forms.
type plain struct {
	t       *testing.T
	base    string
	client  http.Client
	cookies map[string]string
	header  http.Header // of the last answer
}

func newPlain(t *testing.T, base string) *plain {
	p := &plain{t: t, base: base, cookies: map[string]string{}}
	p.client = http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// do sends one request. origin is the site whose page sends it; "" for the server's own.
func (p *plain) do(method, path, body, origin string) (int, string) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for name, value := range p.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", p.base)
		if origin != "" {
			r.Header.Set("Origin", origin)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
		}
	}
	answer, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, c := range answer.Cookies() {
		p.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(p.cookies, c.Name)
		}
	}
	p.header = answer.Header
	if answer.StatusCode == http.StatusSeeOther {
		return p.do(http.MethodGet, answer.Header.Get("Location"), "", "")
	}
	return answer.StatusCode, string(text)
}

func (p *plain) get(path string) string {
	p.t.Helper()
	code, text := p.do(http.MethodGet, path, "", "")
	if code != http.StatusOK {
		p.t.Fatalf("GET %s: %d %s", path, code, text)
	}
	return text
}

// send posts a form with the hidden fields of the page that is shown.
func (p *plain) send(path string, values map[string]string) (int, string) {
	p.t.Helper()
	f := url.Values{"form": {p.cookies["__Host-sealgate-form"]}}
	for name, value := range values {
		f.Set(name, value)
	}
	return p.do(http.MethodPost, path, f.Encode(), "")
}

var hiddenNonce = regexp.MustCompile(`name="nonce" value="([^"]+)"`)

// TestWithoutScript makes new recovery shares with verification by forms alone.
func TestWithoutScript(t *testing.T) {
	t.Parallel()
	s := newServer(t, "alice", "bob", "carol")
	p := newPlain(t, s.URL())
	p.get("/ui/login")
	_, text := p.send("/ui/login", map[string]string{"method": "token", "token": s.root})
	if !strings.Contains(text, "Signed in as") {
		t.Fatal(text)
	}
	_, text = p.send("/ui/do/ceremonies/recovery", map[string]string{"secret_shares": "2", "secret_threshold": "2",
		"holders": "dora\nemil", "require_verification": "on"})
	if !strings.Contains(text, "The ceremony has begun.") {
		t.Fatal(text)
	}
	custodian := newPlain(t, s.URL())
	for i := range 2 {
		nonce := hiddenNonce.FindStringSubmatch(custodian.get("/ui/ceremony/recovery"))[1]
		_, text = custodian.send("/ui/ceremony/recovery/share",
			map[string]string{"share": " " + s.shares[i] + "\r\n", "nonce": nonce})
		if !strings.Contains(text, "Receipt:") {
			t.Fatal(text)
		}
	}
	var shares []string
	for _, m := range regexp.MustCompile(`<pre class="share-out">([^<]+)</pre>`).FindAllStringSubmatch(text, -1) {
		shares = append(shares, strings.ReplaceAll(m[1], "&#43;", "+"))
	}
	if len(shares) != 2 {
		t.Fatalf("%d new shares: %s", len(shares), text)
	}
	for _, share := range shares {
		nonce := hiddenNonce.FindStringSubmatch(custodian.get("/ui/ceremony/recovery"))[1]
		_, text = custodian.send("/ui/ceremony/recovery/verify", map[string]string{"share": share, "nonce": nonce})
	}
	if !strings.Contains(text, "the new shares are in force now") {
		t.Fatal(text)
	}
	_, text = custodian.send("/ui/prove", map[string]string{"share": shares[0]})
	if !strings.Contains(text, "Your share is valid.") {
		t.Error(text)
	}
}

// TestAttacksOnTheBrowser: other sites, fixed sessions, redirects, frames and caches.
func TestAttacksOnTheBrowser(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := newPlain(t, s.URL())
	p.get("/ui/login")
	login := url.Values{"form": {p.cookies["__Host-sealgate-form"]}, "method": {"token"}, "token": {s.root}}
	if code, text := p.do(http.MethodPost, "/ui/login", login.Encode(), "https://evil.example"); code != 403 {
		t.Errorf("a form from another site: %d %s", code, text)
	}
	login.Set("form", strings.Repeat("A", 52))
	if code, text := p.do(http.MethodPost, "/ui/login", login.Encode(), ""); code != 403 ||
		!strings.Contains(text, "out of date") {
		t.Errorf("a form without the cookie's value: %d %s", code, text)
	}
	p.cookies["__Host-sealgate-session"] = "chosen-by-an-attacker"
	p.send("/ui/login", map[string]string{"method": "token", "token": s.root, "next": "https://evil.example/"})
	if id := p.cookies["__Host-sealgate-session"]; id == "chosen-by-an-attacker" || len(id) < 52 {
		t.Errorf("the session's id after login is %q", id)
	}
	for _, next := range []string{"//evil.example/ui/", `/\evil.example/ui/`, "/ui/%0d%0aX:1", "javascript:alert(1)",
		"/v1/sys/seal"} {
		q := newPlain(t, s.URL())
		q.get("/ui/login")
		f := url.Values{"form": {q.cookies["__Host-sealgate-form"]}, "method": {"token"}, "token": {s.root},
			"next": {next}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/ui/login",
			strings.NewReader(f.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for name, value := range q.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		answer, err := q.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if to := answer.Header.Get("Location"); !strings.HasPrefix(to, "/ui/") || strings.ContainsAny(to, "\r\n") {
			t.Errorf("next=%s leads to %q", next, to)
		}
	}
	for _, path := range []string{"/ui/", "/ui/keys", "/ui/prove", "/ui/nowhere", "/ui/static/ui.mjs"} {
		p.do(http.MethodGet, path, "", "")
		h := p.header
		if policy := h.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") ||
			!strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", path, policy)
		}
		if strings.HasPrefix(path, "/ui/static") != (h.Get("Cache-Control") != "no-store") ||
			h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	// A session is not a token of the API, and the token is on no page.
	if code, _ := p.do(http.MethodGet, "/v1/sys/policies/acl?list=true", "", ""); code != 403 {
		t.Errorf("the API accepts the cookie: %d", code)
	}
	for _, path := range append([]string{""}, pages...) {
		if _, text := p.do(http.MethodGet, "/ui/"+path, "", ""); strings.Contains(text, s.root) {
			t.Errorf("/ui/%s shows the token", path)
		}
	}
	if code, text := p.send("/ui/logout", nil); code != 200 || strings.Contains(text, "Signed in as") {
		t.Errorf("signing out: %d %s", code, text)
	}
	if code, text := p.do(http.MethodPost, "/ui/prove", strings.Repeat("a", 3<<20), ""); code != 413 {
		t.Errorf("a form of 3 MiB: %d %.100s", code, text)
	}
	if code, _ := p.do(http.MethodPost, "/ui/prove", "share=%4", ""); code != 400 {
		t.Errorf("a broken escape: %d", code)
	}
}
