package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// oidcServer is a server with the auth method oidc. Its auth URL is the redirect URI with a state
// and a code.
type oidcServer struct {
	mu    sync.Mutex
	nonce string
	asked []string
}

func (o *oidcServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Vault-Wrap-TTL"))
	switch r.URL.Path {
	case "/v1/auth/oidc/oidc/auth_url":
		var in map[string]string
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &in) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		o.nonce = in["client_nonce"]
		at := in["redirect_uri"] + "?state=S&code=C&scope=x"
		if in["role"] != "dev" {
			at = ""
		}
		fmt.Fprintf(w, `{"data":{"auth_url":%q}}`, at)
	case "/v1/auth/oidc/oidc/callback":
		q := r.URL.Query()
		if q.Get("state") != "S" || q.Get("code") != "C" || q.Get("client_nonce") != o.nonce || len(o.nonce) < 20 ||
			q.Has("scope") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, tokenAnswer)
	}
}

// browser follows the provider's redirect, after an unrelated request.
func browser(t *testing.T) func(string) error {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	return func(at string) error {
		u, err := url.Parse(at)
		if err != nil {
			return err
		}
		for _, address := range []string{"http://" + u.Host + callbackPath, at, at} {
			a, err := client.Get(address)
			if err != nil {
				if address == at { // the listener may be gone after the first visit
					return nil
				}
				return err
			}
			body, err := io.ReadAll(a.Body)
			a.Body.Close()
			if err != nil {
				return err
			}
			if want := map[bool]int{true: 200, false: 400}[address == at]; a.StatusCode != want ||
				strings.Contains(string(body), "code") {
				t.Errorf("%s: %d %s", address, a.StatusCode, body)
			}
		}
		return nil
	}
}

func TestLoginByBrowser(t *testing.T) {
	t.Parallel()
	server := &oidcServer{}
	s := httptest.NewServer(server)
	defer s.Close()
	login := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := Run(append([]string{"login", "-method=oidc", "-address=" + s.URL, "-token-only"}, args...), Env{
			Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" },
			Home: t.TempDir(), Browse: browser(t),
		})
		return code, out.String(), errs.String()
	}
	if code, out, errs := login("role=dev", "port=0", "listenaddress=127.0.0.1", "callbackhost=127.0.0.1"); code != 0 ||
		out != "s.CREATED" || !strings.Contains(errs, "Launching browser to") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	if code, _, errs := login("role=other", "port=0", "listenaddress=127.0.0.1"); code != 1 ||
		!strings.Contains(errs, `unable to authorize role "other"`) {
		t.Errorf("an unknown role: %d %q", code, errs)
	}
	for _, bad := range []string{"port=x", "port=70000", "callbackport=-1", "callbackmethod=ftp", "skip_browser=perhaps",
		"listenaddress=256.0.0.1:1"} {
		if code, _, errs := login("role=dev", bad); code != 1 || !strings.Contains(errs, "Error authenticating") {
			t.Errorf("%s: %d %q", bad, code, errs)
		}
	}
}
