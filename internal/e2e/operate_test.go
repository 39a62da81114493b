package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOperators runs a server as operators do: a pid file, a log in JSON whose level SIGHUP
// changes, a dump of goroutines by SIGUSR2, metrics for a scraper without a token, and spans to a
// collector.
func TestOperators(t *testing.T) {
	t.Parallel()
	spans := make(chan string, 64)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		if body, err := io.ReadAll(q.Body); err == nil {
			select {
			case spans <- string(body):
			default:
			}
		}
	}))
	defer collector.Close()
	r := newStaticHarness(t)
	r.Env = append(r.Env, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_BSP_SCHEDULE_DELAY=50")
	file := filepath.Join(r.Dir, "sealgate.hcl")
	plain, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(string(plain), "tls_disable = true",
		"tls_disable = true\n  telemetry { unauthenticated_metrics_access = true }", 1) +
		"pid_file = \"server.pid\"\nlog_format = \"json\"\nlog_level = \"warn\"\ntelemetry { metrics_prefix = \"box\" }\n"
	if err := r.WriteConfig(config); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.mustInit()
	pid, err := os.ReadFile(filepath.Join(r.Dir, "server.pid"))
	if err != nil || strings.TrimSpace(string(pid)) != strconv.Itoa(r.Pid()) {
		t.Errorf("pid_file: %q, %v", pid, err)
	}
	root := r.root
	r.root = ""
	if got := string(r.must(200, "GET", "sys/metrics?format=prometheus", nil).Body); !strings.Contains(got,
		"sealgate_barrier_term 1\n") ||
		!strings.Contains(got, "box_seal_static_encrypt ") || !strings.Contains(got, "box_barrier_put_count ") ||
		!strings.Contains(got, "sealgate_storage_bytes ") {
		t.Errorf("metrics:\n%s", got)
	}
	r.root = root
	if err := r.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	r.eventually(patience, "a dump of goroutines", func() bool { return strings.Contains(r.Log(), "goroutine 1 [") })
	r.must(204, "POST", "sys/rotate", nil)
	if strings.Contains(r.Log(), "rotated the barrier key") {
		t.Error("the level warn lets info through")
	}
	if err := r.WriteConfig(strings.Replace(config, `"warn"`, `"info"`, 1)); err != nil {
		t.Fatal(err)
	}
	if err := r.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.eventually(patience, "the level info", func() bool {
		return strings.Contains(string(r.must(200, "GET", "sys/loggers", nil).Body), `"core":"info"`)
	})
	r.must(204, "POST", "sys/rotate", nil)
	r.eventually(patience, "a line of JSON",
		func() bool { return strings.Contains(r.Log(), `"msg":"rotated the barrier key","logger":"core"`) })
	r.span(spans)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "server.pid")); !os.IsNotExist(err) {
		t.Errorf("the pid file stays: %v", err)
	}
}

// span waits for the span of a rotation.
func (r *harness) span(spans <-chan string) {
	r.t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case body := <-spans:
			body = strings.ReplaceAll(body, `": "`, `":"`) // the spaces of protojson vary from build to build
			if !json.Valid([]byte(body)) || strings.Contains(body, r.root) {
				r.t.Fatalf("a span: %s", body)
			}
			if strings.Contains(body, `"name":"update sys/rotate"`) && strings.Contains(body, `"stringValue":"sealgate"`) {
				return
			}
		case <-deadline:
			r.t.Fatal("no span of the rotation came")
		}
	}
}
