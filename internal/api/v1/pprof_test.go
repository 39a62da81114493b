package v1

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("policy", w.do("PUT", "sys/policies/acl/reader",
		`{"policy":"path \"sys/pprof*\" { capabilities = [\"read\"] }"}`), 204, "")
	reader := w.grant("reader", moment.AddDate(1, 0, 0), "reader")
	w.expect("without sudo", w.do("GET", "sys/pprof/heap", "", "X-Vault-Token", reader), 403, "")
	w.expect("without a token", w.do("GET", "sys/pprof/heap", "", "X-Vault-Token", ""), 403, "")
	w.expect("unknown", w.do("GET", "sys/pprof/nope", ""), 404, refusal(`profile "nope" does not exist`))
	w.expect("forever", w.do("GET", "sys/pprof/profile?seconds=1e9", ""), 400, "")
	w.expect("longer than a request", w.do("GET", "sys/pprof/profile?seconds=100", ""), 400, "")
	if a := w.do("GET", "sys/pprof", ""); !strings.Contains(a.Body.String(), `"goroutine"`) {
		t.Errorf("the list is %s", a.Body)
	}
	for _, name := range []string{"heap", "goroutine", "allocs", "profile?seconds=0.01", "trace?seconds=0.01"} {
		if a := w.do("GET", "sys/pprof/"+name, ""); a.Code != 200 || a.Body.Len() < 100 ||
			a.Header().Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%s: %d, %d bytes, %v", name, a.Code, a.Body.Len(), a.Header())
		}
	}
	if a := w.do("GET", "sys/pprof/goroutine?debug=2", ""); !strings.HasPrefix(a.Body.String(),
		"goroutine profile: total") || strings.Contains(a.Body.String(), w.token) {
		t.Errorf("goroutines with debug=2: %.200s", a.Body)
	}
	w.expect("cmdline", w.do("GET", "sys/pprof/cmdline", ""), 200, "sealgate")
	open := unsealed(t, func(c *api.Config) { c.Front = config.Front{OpenProfiles: true} })
	w.expect("open", open.do("GET", "sys/pprof/cmdline", "", "X-Vault-Token", ""), 200, "sealgate")
}

func TestRequestsAreLoggedWhereAsked(t *testing.T) {
	t.Parallel()
	level := slog.LevelInfo
	var log safeBuffer
	w := unsealed(t, func(c *api.Config) {
		c.Shared = api.NewShared(nil, slog.New(slog.NewTextHandler(&log, nil)))
		c.Shared.Requests = &level
	})
	w.expect("read", w.do("GET", "auth/token/lookup?token=s.SECRET", ""), 403, "")
	got := log.String()
	for _, want := range []string{"completed_request", "request_path=/v1/auth/token/lookup", "status_code=403",
		"request_method=GET", "duration="} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	if strings.Contains(got, "SECRET") || strings.Contains(got, w.token) {
		t.Errorf("the log has a token: %s", got)
	}
}

func TestBodiesThatAreNotJSONAreAudited(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	log := w.audited("")
	for _, path := range []string{"sys/metrics?format=prometheus", "sys/pprof/heap", "sys/pprof/goroutine?debug=1",
		"sys/pprof/cmdline"} {
		if a := w.do("GET", path, ""); a.Code != 200 || a.Body.Len() == 0 {
			t.Errorf("%s: %d %s", path, a.Code, a.Body)
		}
	}
	if got := w.trail(log); strings.Count(got, `"type":"response"`) < 4 || strings.Contains(got, "goroutine profile") {
		t.Errorf("the trail is\n%s", got)
	}
}
