package tracing

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestOffByDefault(t *testing.T) {
	t.Parallel()
	for _, e := range []func(string) string{
		env(), env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x", "OTEL_SDK_DISABLED", "true"),
		env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x", "OTEL_TRACES_EXPORTER", "none"),
	} {
		tracer, err := FromEnvironment(e, "1.0.0", slog.New(slog.DiscardHandler))
		if tracer != nil || err != nil {
			t.Errorf("%v, %v", tracer, err)
		}
		_, span := tracer.Start(t.Context(), httptest.NewRequest("GET", "/", nil))
		span.End("sys/health", "read", requestID("id"), 200)
		if err := tracer.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestBadEndpoints(t *testing.T) {
	t.Parallel()
	for _, e := range []func(string) string{
		env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"), env("OTEL_EXPORTER_OTLP_ENDPOINT", "://"),
		env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
		env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x", "OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere"),
	} {
		if tracer, err := FromEnvironment(e, "1.0.0", nil); err == nil || tracer != nil {
			t.Errorf("%v, %v", tracer, err)
		}
	}
}

// TestSpansReachTheCollector checks the request to a collector that answered 503 to the first
// attempt.
func TestSpansReachTheCollector(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("X-Key") != "a b" ||
			r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %s %v", err, r.URL, r.Header)
		}
		got <- string(body)
	}))
	defer collector.Close()
	var log strings.Builder
	tracer, err := FromEnvironment(env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL+"/", "OTEL_EXPORTER_OTLP_HEADERS",
		"x-key=a%20b"), "1.2.3",
		slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/v1/secret/a", nil)
	r.Header.Set("Traceparent", "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
	_, span := tracer.Start(t.Context(), r)
	span.End("secret/", "read", requestID("the-id"), 503)
	if err := tracer.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	var sent struct {
		ResourceSpans []struct {
			Resource   json.RawMessage
			ScopeSpans []struct {
				Spans []struct {
					TraceID, SpanID, ParentSpanID, Name string
					Kind                                int
					Status                              struct{ Code int }
					Start                               string `json:"startTimeUnixNano"`
					End                                 string `json:"endTimeUnixNano"`
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(<-got), &sent); err != nil {
		t.Fatal(err)
	}
	s := sent.ResourceSpans[0].ScopeSpans[0].Spans[0]
	if !strings.EqualFold(s.TraceID, "0123456789abcdef0123456789abcdef") ||
		!strings.EqualFold(s.ParentSpanID, "0123456789abcdef") || len(s.SpanID) != 16 || s.Kind != 2 ||
		s.Name != "read secret/" || s.Status.Code != 2 || s.Start > s.End {
		t.Errorf("%+v", s)
	}
	resource := strings.ReplaceAll(string(sent.ResourceSpans[0].Resource), " ", "")
	if !strings.Contains(resource, `{"key":"service.name","value":{"stringValue":"sealgate"}}`) {
		t.Errorf("resource: %s", resource)
	}
	if log.Len() != 0 {
		t.Errorf("log: %s", log.String())
	}
}

func TestCollectorFailureIsLoggedOnce(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer collector.Close()
	var log strings.Builder
	tracer, err := FromEnvironment(env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.URL), "1",
		slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, span := tracer.Start(t.Context(), httptest.NewRequest("GET", "/", nil))
		span.End("x", "read", requestID("id"), 200)
		if err := tracer.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := tracer.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if strings.Count(log.String(), "spans are lost") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

// requestID is a text that shows itself.
type requestID string

func (id requestID) String() string { return string(id) }
