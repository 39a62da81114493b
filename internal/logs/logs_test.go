package logs

import (
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
)

func newHub(t *testing.T, format string) (*Hub, *strings.Builder) {
	t.Helper()
	var b strings.Builder
	h, err := New(&b, format, slog.LevelInfo)
	if err != nil {
		t.Fatal(err)
	}
	return h, &b
}

func TestFormats(t *testing.T) {
	t.Parallel()
	h, b := newHub(t, JSON)
	h.Logger("api").With("a", 1).WithGroup("g").Info("hello", "b", 2)
	var line map[string]any
	if err := json.Unmarshal([]byte(b.String()), &line); err != nil {
		t.Fatal(err)
	}
	if line["msg"] != "hello" || line["logger"] != "api" || line["a"] != 1. || line["g"].(map[string]any)["b"] != 2. {
		t.Errorf("%s", b)
	}
	h, b = newHub(t, Text)
	h.Logger("").Info("hello", "b", 2)
	if !strings.HasSuffix(b.String(), "level=INFO msg=hello b=2\n") {
		t.Errorf("%s", b)
	}
	if _, err := New(b, "xml", slog.LevelInfo); err == nil {
		t.Error("xml passed")
	}
	if _, err := h.Watch("xml", slog.LevelInfo); err == nil {
		t.Error("watching xml passed")
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	h, b := newHub(t, Text)
	core, api := h.Logger("core"), h.Logger("api")
	core.Debug("no")
	if !h.Set("core", slog.LevelDebug) || h.Set("missing", slog.LevelDebug) {
		t.Error("Set does not know who is there")
	}
	core.Debug("yes-core")
	api.Debug("no")
	h.SetBase(slog.LevelError)
	api.Warn("no")
	core.Debug("yes-still")
	want := map[string]slog.Level{"core": slog.LevelDebug, "api": slog.LevelError}
	if got := h.Levels(); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	h.Set("", slog.LevelWarn)
	api.Warn("yes-all")
	h.Reset("")
	core.Warn("no")
	h.Reset("core")
	if h.Reset("missing") {
		t.Error("Reset of a missing logger")
	}
	if got := strings.Count(b.String(), "msg=yes"); got != 3 || strings.Contains(b.String(), "msg=no") {
		t.Errorf("%s", b)
	}
}

func TestWatching(t *testing.T) {
	t.Parallel()
	h, b := newHub(t, Text)
	l := h.Logger("core").With("a", 1)
	w, err := h.Watch(JSON, slog.LevelDebug)
	if err != nil {
		t.Fatal(err)
	}
	l.Debug("seen by the watcher alone")
	if got := string(<-w.Lines()); !strings.Contains(got, `"msg":"seen by the watcher alone","logger":"core","a":1}`) ||
		b.Len() != 0 {
		t.Errorf("%s; log %s", got, b)
	}
	for range maxBehind + 3 {
		l.Info("many")
	}
	for range maxBehind {
		<-w.Lines()
	}
	l.Info("after")
	if got := string(<-w.Lines()); !strings.Contains(got, `"lines_lost_before":3`) {
		t.Errorf("%s", got)
	}
	w.Close()
	l.Info("unseen")
	if len(w.Lines()) != 0 || l.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("a closed watcher watches")
	}
}

func TestConcurrently(t *testing.T) {
	t.Parallel()
	h, _ := newHub(t, Text)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			l := h.Logger("x")
			for range 200 {
				l.Info("line")
			}
		})
		wg.Go(func() {
			for range 50 {
				w, err := h.Watch(Text, slog.LevelDebug)
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case <-w.Lines():
				default:
				}
				h.Set("x", slog.LevelInfo)
				w.Close()
			}
		})
	}
	wg.Wait()
}
