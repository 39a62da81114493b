package kubernetes

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pods stands in for the part of the Kubernetes API that is called: it knows one pod and one token,
// and refuses all else as the API does.
type pods struct {
	mu      sync.Mutex
	labels  map[string]string
	token   string
	failing int // status of every answer; 0: none
	changed chan struct{}
}

func (p *pods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	refuse := func(code int, text string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","status":"Failure","message":%q,"code":%d}`, text, code)
	}
	var patch struct {
		Metadata struct{ Labels map[string]string }
	}
	switch {
	case p.failing != 0:
		refuse(p.failing, "set to fail")
	case r.Header.Get("Authorization") != "Bearer "+p.token:
		refuse(http.StatusUnauthorized, "Unauthorized")
	case r.URL.Path != "/api/v1/namespaces/ns/pods/pod-0":
		refuse(http.StatusNotFound, "pods not found")
	case r.Method != http.MethodPatch || r.Header.Get("Content-Type") != "application/merge-patch+json":
		refuse(http.StatusUnsupportedMediaType, "the body of the request was in an unknown format")
	case json.NewDecoder(r.Body).Decode(&patch) != nil:
		refuse(http.StatusBadRequest, "bad body")
	default:
		maps.Copy(p.labels, patch.Metadata.Labels)
		fmt.Fprint(w, `{"kind":"Pod"}`)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *pods) fail(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = status
}

func (p *pods) has(want map[string]string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Equal(p.labels, want)
}

// until waits for calls until the labels are these.
func (p *pods) until(t *testing.T, want map[string]string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for !p.has(want) {
		select {
		case <-p.changed:
		case <-timeout:
			t.Fatalf("the labels are %v; want %v", p.labels, want)
		}
	}
}

func labelled(active, sealed, initialized string) map[string]string {
	return map[string]string{"app": "mine", "vault-active": active, "vault-sealed": sealed,
		"vault-initialized": initialized, "vault-perf-standby": "false",
		"vault-version": "1.2.3-dirty"}
}

// fakeCluster starts an API server, and makes a service account folder and a registration for it.
func fakeCluster(t *testing.T, pod string, state func() State) (*pods, *Registration, *safeLog) {
	t.Helper()
	p := &pods{labels: map[string]string{"app": "mine"}, token: "first", changed: make(chan struct{}, 100)}
	server := httptest.NewTLSServer(p)
	t.Cleanup(server.Close)
	folder := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, content := range map[string][]byte{"ca.crt": ca, "token": []byte("first\n")} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"KUBERNETES_SERVICE_HOST": u.Hostname(), "KUBERNETES_SERVICE_PORT": u.Port()}
	log := &safeLog{}
	r, err := New(Options{Namespace: "ns", Pod: pod, Version: "1.2.3+dirty", State: state, Folder: folder,
		Getenv: func(name string) string { return env[name] }, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return p, r, log
}

type safeLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *safeLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestLabelsFollowTheState checks a start, an election, a failing API, a replaced token, and the
// stop.
func TestLabelsFollowTheState(t *testing.T) {
	t.Parallel()
	var state atomic.Pointer[State]
	state.Store(&State{Sealed: true})
	p, r, log := fakeCluster(t, "pod-0", func() State { return *state.Load() })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.Run(ctx) })
	p.until(t, labelled("false", "true", "false"))
	state.Store(&State{Active: true, Initialized: true})
	p.until(t, labelled("true", "false", "true"))
	p.fail(http.StatusInternalServerError)
	state.Store(&State{Initialized: true})
	<-p.changed
	p.mu.Lock()
	p.token, p.failing = "second", 0
	p.mu.Unlock()
	if err := os.WriteFile(filepath.Join(r.o.Folder, "token"), []byte("second"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.until(t, labelled("false", "false", "true"))
	cancel()
	wg.Wait()
	if want := labelled("false", "true", "false"); !p.has(want) {
		t.Errorf("after the end: %v, want %v", p.labels, want)
	}
	if strings.Contains(log.String(), "first") || strings.Contains(log.String(), "second") {
		t.Error("the log has a token")
	}
}

func TestRefusalsNameTheRemedy(t *testing.T) {
	t.Parallel()
	p, r, _ := fakeCluster(t, "other", func() State { return State{} })
	if err := r.label(t.Context(), State{}); err == nil || !strings.Contains(err.Error(), "set namespace and pod_name") {
		t.Errorf("another pod: %v", err)
	}
	p.fail(http.StatusForbidden)
	if err := r.label(t.Context(), State{}); err == nil || !strings.Contains(err.Error(), `"patch" on pods`) ||
		!strings.Contains(err.Error(), "set to fail") {
		t.Errorf("forbidden: %v", err)
	}
}

func TestOutside(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{Getenv: func(string) string { return "" }}); !errors.Is(err, ErrOutside) {
		t.Errorf("New: %v", err)
	}
}

func TestLabelValue(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"1.2.3": "1.2.3", "1.2.3+ent (x)": "1.2.3-ent-x",
		strings.Repeat("a", 70): strings.Repeat("a", 63), "+": ""} {
		if got := labelValue(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
