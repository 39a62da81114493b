package v1

import (
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
)

func TestQuotas(t *testing.T) {
	t.Parallel()
	clock := moment
	w := unsealed(t, func(c *api.Config) { c.Now = func() time.Time { return clock } })
	w.expect("none", w.do("LIST", "sys/quotas/rate-limit", ""), 404, empty)
	w.expect("write", w.do("POST", "sys/quotas/rate-limit/global", `{"rate":"2","interval":"10s","block_interval":30}`),
		204, "")
	a := w.do("GET", "sys/quotas/rate-limit/global", "")
	if want := `"data":{"block_interval":30,"inheritable":true,"interval":10,"name":"global","path":"","rate":2,"role":"","type":"rate-limit"}`; !strings.Contains(a.Body.String(), want) {
		t.Errorf("%s", a.Body)
	}
	w.expect("headers on", w.do("POST", "sys/quotas/config", `{"enable_rate_limit_response_headers":true,"rate_limit_exempt_paths":["sys/quotas/*","sys/seal-status"]}`), 204, "")
	for i, code := range []int{404, 404, 429, 429} {
		a := w.do("GET", "secret/none", "")
		if a.Code != code || a.Header().Get("X-Ratelimit-Limit") != "2" {
			t.Errorf("request %d: %d %v", i, a.Code, a.Header())
		}
		if code == 429 && a.Header().Get("Retry-After") != "30" {
			t.Errorf("request %d: %v", i, a.Header())
		}
	}
	w.expect("exempt", w.do("GET", "sys/seal-status", ""), 200, "")
	w.expect("list", w.do("LIST", "sys/quotas/rate-limit", ""), 200, "")
	w.expect("without a token it counts too", w.do("GET", "secret/none", "", "X-Vault-Token", ""), 429, "")
	clock = clock.Add(29 * time.Second)
	w.expect("still blocked", w.do("GET", "secret/none", ""), 429, "")
	clock = clock.Add(2 * time.Second)
	w.expect("free again", w.do("GET", "secret/none", ""), 404, empty)
	w.expect("gone", w.do("DELETE", "sys/quotas/rate-limit/global", ""), 204, "")
	for range 10 {
		w.expect("without a quota", w.do("GET", "secret/none", ""), 404, empty)
	}
}

func TestBadQuotas(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("first", w.do("PUT", "sys/quotas/rate-limit/a", `{"rate":100,"path":"secret/"}`), 204, "")
	for _, tc := range []struct{ name, body string }{
		{"b", `{}`}, {"b", `{"rate":0}`}, {"b", `{"rate":-1}`}, {"b", `{"rate":"NaN"}`}, {"b", `{"rate":"Inf"}`},
		{"b", `{"rate":"x"}`},
		{"b", `{"rate":1,"interval":"0s"}`}, {"b", `{"rate":1,"interval":-1}`}, {"b", `{"rate":1,"block_interval":"-1s"}`},
		{"b", `{"rate":1,"path":"nowhere/"}`}, {"b", `{"rate":1,"path":"secret/../x"}`}, {"b", `{"rate":1,"path":"secret/"}`},
		{"b", `{"rate":1,"role":"r"}`}, {"b/c", `{"rate":1}`}, {strings.Repeat("n", 129), `{"rate":1}`},
		{"b", `{"rate":[]}`}, {"b", `[`},
	} {
		if a := w.do("POST", "sys/quotas/rate-limit/"+tc.name, tc.body); a.Code != 400 {
			t.Errorf("%s %s: %d %s", tc.name, tc.body, a.Code, a.Body)
		}
	}
	w.expect("change", w.do("PUT", "sys/quotas/rate-limit/a", `{"rate":0.5}`), 204, "")
	w.expect("changed", w.do("GET", "sys/quotas/rate-limit/none", ""), 404, empty)
}

func TestSettingsOutliveSealing(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("quota", w.do("PUT", "sys/quotas/rate-limit/a", `{"rate":1,"path":"secret/"}`), 204, "")
	fresh := New(api.Config{Node: w.node, Version: "1.2.3", Now: now})
	r := w.request("GET", "/v1/sys/quotas/rate-limit/a", "")
	if a := sendTo(fresh, r); a.Code != 200 {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	w.expect("sealed", w.do("GET", "secret/a", ""), 503, "")
}
