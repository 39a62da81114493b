package v1

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/operate"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/logs"
	"github.com/sealgate/sealgate/internal/metrics"
)

// watched is an unsealed harness whose node and log can be watched.
func watched(t *testing.T) (*harness, *logs.Hub, *safeBuffer) {
	t.Helper()
	out := &safeBuffer{}
	hub, err := logs.New(out, logs.Text, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	w := unsealed(t, func(c *api.Config) {
		c.Shared = api.NewShared(metrics.New("vault", nil), nil)
		c.Shared.Logs, c.Shared.Sanitized = hub, map[string]any{"log_level": "info"}
		operate.Observe(c.Shared, c.Node)
		c.Log = hub.Logger("api")
	})
	return w, hub, out
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w, _, _ := watched(t)
	w.expect("write", w.do("PUT", "secret/a", `{"x":1}`), 204, "")
	w.expect("rekey", w.do("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":2,"secret_threshold":2}`), 200, "")
	a := w.do("GET", "sys/metrics?format=prometheus", "")
	if a.Code != 200 || a.Header().Get("Content-Type") != metrics.ContentType {
		t.Errorf("%d %v", a.Code, a.Header())
	}
	for _, line := range []string{
		`sealgate_seal_would_unseal{seal="box",type="static"} `, "sealgate_barrier_term 1",
		"sealgate_barrier_term_encryptions ", `sealgate_barrier_term_entries{term="1"} `,
		`vault_core_unsealed{cluster="test-cluster"} 1`, `sealgate_ceremony_active{ceremony="rekey-recovery"} 1`,
		`sealgate_ceremony_required{ceremony="rekey-recovery"} 2`,
		`sealgate_requests{operation="create",status="2xx"} 1`, "vault_core_in_flight_requests 1",
		"vault_route_create_secret__count 1",
		"vault_core_handle_request_count", "vault_barrier_estimated_encryptions",
	} {
		if !strings.Contains(a.Body.String(), line) {
			t.Errorf("%q is not in\n%s", line, a.Body)
		}
	}
	var all metrics.Summary
	w.decode(w.do("GET", "sys/metrics", ""), &all)
	if !slices.ContainsFunc(all.Gauges,
		func(v metrics.Value) bool { return v.Name == "vault.core.unsealed" && v.Value == 1 }) {
		t.Errorf("%+v", all.Gauges)
	}
	w.expect("unknown format", w.do("GET", "sys/metrics?format=xml", ""), 400, "")
	off := api.NewShared(nil, nil)
	off.Prometheus = false
	h := New(api.Config{Node: w.node, Now: now, Shared: off})
	w.expect("switched off", sendTo(h, w.request("GET", "/v1/sys/metrics?format=prometheus", "")), 400, "")
}

// TestMetricsWhileSealed needs a listener that shows them to anybody.
func TestMetricsWhileSealed(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t), func(c *api.Config) {
		c.Shared = api.NewShared(nil, nil)
		operate.Observe(c.Shared, c.Node)
		c.Front = config.Front{OpenMetrics: true}
	})
	if a := w.do("GET", "sys/metrics?format=prometheus", ""); a.Code != 200 ||
		!strings.Contains(a.Body.String(), `vault_core_unsealed{cluster=""} 0`) {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	h := New(api.Config{Node: w.node, Now: now})
	w.expect("elsewhere", sendTo(h, w.request("GET", "/v1/sys/metrics", "")), 503, "")
}

func TestLoggers(t *testing.T) {
	t.Parallel()
	w, hub, out := watched(t)
	hub.Logger("core")
	data := func(path string) string {
		var a struct{ Data map[string]string }
		w.decode(w.do("GET", path, ""), &a)
		return fmt.Sprint(a.Data)
	}
	if got := data("sys/loggers"); got != "map[api:info core:info]" {
		t.Error(got)
	}
	w.expect("one", w.do("POST", "sys/loggers/core", `{"level":"trace"}`), 204, "")
	if got := data("sys/loggers/core"); got != "map[core:debug]" {
		t.Error(got)
	}
	w.expect("all", w.do("PUT", "sys/loggers", `{"level":"error"}`), 204, "")
	if got := data("sys/loggers"); got != "map[api:error core:error]" {
		t.Error(got)
	}
	w.expect("back", w.do("DELETE", "sys/loggers/core", ""), 204, "")
	w.expect("all back", w.do("DELETE", "sys/loggers", ""), 204, "")
	if got := data("sys/loggers"); got != "map[api:info core:info]" {
		t.Error(got)
	}
	w.expect("unknown", w.do("POST", "sys/loggers/unknown", `{"level":"info"}`), 404, "")
	w.expect("unknown read", w.do("GET", "sys/loggers/unknown", ""), 404, "")
	w.expect("unknown reset", w.do("DELETE", "sys/loggers/unknown", ""), 404, "")
	w.expect("no level", w.do("POST", "sys/loggers", `{}`), 400, "")
	w.expect("no such level", w.do("POST", "sys/loggers", `{"level":"loud"}`), 400, "")
	if !strings.Contains(out.String(), "request_id=") {
		t.Errorf("a change is not logged: %s", out)
	}
}

// TestMonitor reads the log over a connection until the client goes, and until the server stops.
func TestMonitor(t *testing.T) {
	t.Parallel()
	w, hub, _ := watched(t)
	s := serve(t, config.Listener{TLSDisable: true, HTTPWriteTimeout: 1}, w.api)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func(query string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+s.Addr().String()+"/v1/sys/monitor"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Vault-Token", w.token)
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open("?log_level=debug&log_format=json")
	defer a.Body.Close()
	hub.Logger("core").Debug("look here")
	line, err := bufio.NewReader(a.Body).ReadString('\n')
	var got map[string]any
	if err != nil || json.Unmarshal([]byte(line), &got) != nil || got["msg"] != "look here" || got["level"] != "DEBUG" {
		t.Errorf("%q %v", line, err)
	}
	cancel()
	ctx, cancel = context.WithCancel(context.Background())
	t.Cleanup(cancel)
	b := open("") // ended by the server's stop, in serve's clean-up
	t.Cleanup(func() { b.Body.Close() })
	w.expect("level", w.do("GET", "sys/monitor?log_level=loud", ""), 400, "")
	w.expect("format", w.do("GET", "sys/monitor?log_format=xml", ""), 400, "")
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	w, _, _ := watched(t)
	var all map[string]struct {
		Path    string `json:"request_path"`
		Method  string `json:"request_method"`
		Address string `json:"client_remote_address"`
		Start   string `json:"start_time"`
	}
	w.decode(w.do("GET", "sys/in-flight-req?secret=x", ""), &all)
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	for id, r := range all {
		if len(id) != 36 || r.Path != "/v1/sys/in-flight-req" || r.Method != "GET" || r.Address == "" || r.Start == "" {
			t.Errorf("%s %+v", id, r)
		}
	}
	w.expect("in a namespace", w.do("GET", "sys/in-flight-req", "", "X-Vault-Namespace", "a"), 400,
		refusal("operation unavailable in namespaces"))
	w.expect("without a token", w.do("GET", "sys/in-flight-req", "", "X-Vault-Token", ""), 403, "")
}

func TestWhatTheServerTellsOfItself(t *testing.T) {
	t.Parallel()
	w, _, _ := watched(t)
	for path, want := range map[string][]string{
		"sys/ha-status":              {`{"nodes":[{"hostname":`, `"active_node":true,"last_echo":null,"version":"1.2.3"`},
		"sys/host-info":              {`"hostname":`, `"total":`, `"timestamp":`, `"cpu":[{"cpu":0`},
		"sys/config/state/sanitized": {`"log_level":"info"`},
		"sys/version-history?list=1": {`"keys":["1.2.3"]`, `"build_date":"2026-01-01T00:00:00Z"`, `"previous_version":null`,
			`"timestamp_installed":"2026-01-02T03:04:05.5Z"`},
	} {
		a := w.do("GET", path, "")
		for _, text := range want {
			if a.Code != 200 || !strings.Contains(a.Body.String(), text) {
				t.Errorf("%s: %d, %q is not in %s", path, a.Code, text, a.Body)
			}
		}
	}
	newer := New(api.Config{Node: w.node, Version: "1.3.0", Now: now})
	a := sendTo(newer, w.request("LIST", "/v1/sys/version-history", ""))
	if !strings.Contains(a.Body.String(), `"1.3.0":{"build_date":"","previous_version":"1.2.3"`) {
		t.Errorf("%s", a.Body)
	}
	w.expect("no log", sendTo(newer, w.request("GET", "/v1/sys/loggers", "")), 405, "")
	w.expect("replication", w.do("GET", "sys/replication/status", "", "X-Vault-Token", ""), 404,
		refusal("unsupported path"))
}
