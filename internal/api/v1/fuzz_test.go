package v1

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api/raw"
)

// fuzzOne sends one input to the server that all inputs share. Bad input may be refused in any way,
// but never by a 5xx.
func fuzzOne(t *testing.T, w *harness, method, url, body, header, value string) {
	r := httptest.NewRequest("GET", "/", strings.NewReader(body))
	r.Method = method
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(url, "?")
	r.Header.Set("X-Vault-Token", w.token)
	r.Header.Set("Content-Type", "application/merge-patch+json")
	if header != "" {
		r.Header.Set(header, value)
	}
	a := w.send(r)
	allowed := a.Code < 500 || a.Code == 503 && strings.Contains(a.Body.String(), "Vault is sealed") ||
		strings.Contains(r.URL.RawQuery, "code=") && strings.HasSuffix(r.URL.Path, "health")
	if !allowed || strings.Contains(w.log.String(), "panicked") {
		t.Errorf("%s %q %q %s=%q: %d %s\n%s", method, url, body, header, value, a.Code, a.Body, w.log)
	}
}

func FuzzRequest(f *testing.F) {
	for _, r := range table.Routes {
		for _, method := range append(r.Methods, "LIST") {
			f.Add(method, "/v1/"+strings.ReplaceAll(r.Path, "*", "x"), `{"key":"ab","nonce":"c","secret_shares":1}`, "", "")
		}
	}
	f.Add("PUT", "/v1/secret/a", `{"a":[{"b":null}],"ttl":"1h"}`, "X-Vault-Namespace", "x")
	f.Add("POST", "/v1/secret/a", `a=b&c=d`, "Content-Type", "application/x-www-form-urlencoded")
	f.Add("GET", "/v1/secret/?list=true&limit=3&after=a", "", "Authorization", "Bearer x")
	f.Add("GET", "/v1/sys/health?standbyok=1&activecode=299", "", "X-Vault-Wrap-TTL", "1h")
	f.Add("PATCH", "/v1/secret/../a\x00\xff//", "\x00", "", "")
	w := unsealed(f)
	f.Fuzz(func(t *testing.T, method, url, body, header, value string) {
		if strings.Contains(url, "sys/seal") && !strings.Contains(url, "status") {
			return // it would stop the harness for the inputs that follow
		}
		fuzzOne(t, w, method, url, body, header, value)
	})
}

// FuzzRecoveryMode does the same to a server in recovery mode, with its token and, to what it
// reads, raw storage.
func FuzzRecoveryMode(f *testing.F) {
	for _, r := range raw.RecoveryRoutes {
		for _, method := range r.Methods {
			f.Add(method, "/v1/"+strings.ReplaceAll(r.Path, "*", "x"),
				`{"key":"ab","nonce":"c","value":"YQ==","encoding":"base64","compression_type":""}`, "", "")
		}
	}
	f.Add("PUT", "/v1/sys/raw/"+strings.Repeat("x/", 600), `{"value":null,"compression_type":"none"}`, "", "")
	f.Add("GET", "/v1/sys/raw/core/mounts?encoding=base64&list=false", "", "", "")
	w := newHarness(f, autoSeal(f))
	keys := w.init(`{"recovery_shares":2,"recovery_threshold":2}`).RecoveryKeys
	r := w.rescue(autoSeal(f))
	r.recover(keys...)
	f.Fuzz(func(t *testing.T, method, url, body, header, value string) {
		fuzzOne(t, r, method, url, body, header, value)
	})
}
