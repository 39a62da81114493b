// Package logs is the server's log: named loggers with levels that change at run time, text or JSON
// on one writer, and watchers for sys/monitor.
//
// It guarantees that each line is written in one call; that a slow watcher loses lines, and learns
// how many, instead of delaying the server; and that a closed watcher costs nothing.
package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Formats of lines.
const (
	Text = "standard"
	JSON = "json"
)

// Hub is the log of one server. It is safe for concurrent use.
type Hub struct {
	main slog.Handler
	base slog.LevelVar

	mu      sync.Mutex
	loggers map[string]*named

	watchers atomic.Pointer[[]*Watcher] // never nil
}

// named is one logger's level.
type named struct {
	level slog.LevelVar
	own   bool // it was set for this logger only
}

// New makes a log that writes to w in the given format.
func New(w io.Writer, format string, level slog.Level) (*Hub, error) {
	h := &Hub{loggers: map[string]*named{}}
	var err error
	if h.main, err = newHandler(w, format); err != nil {
		return nil, err
	}
	h.base.Set(level)
	h.watchers.Store(&[]*Watcher{})
	return h, nil
}

func newHandler(w io.Writer, format string) (slog.Handler, error) {
	o := &slog.HandlerOptions{Level: slog.Level(-100)} // handler.Enabled checks levels
	switch format {
	case JSON:
		return slog.NewJSONHandler(w, o), nil
	case "", Text, "text":
		return slog.NewTextHandler(w, o), nil
	}
	return nil, fmt.Errorf("unknown log format %q: use standard or json", format)
}

// Logger returns the logger of this name, which its lines have as "logger". Lines of the empty name
// have none; its level is set under the name "root".
func (h *Hub) Logger(name string) *slog.Logger {
	key := name
	if name == "" {
		key = "root"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.loggers[key]
	if n == nil {
		n = &named{}
		n.level.Set(h.base.Level())
		h.loggers[key] = n
	}
	var l slog.Handler = &handler{hub: h, level: &n.level}
	if name != "" {
		l = l.WithAttrs([]slog.Attr{slog.String("logger", name)})
	}
	return slog.New(l)
}

// Levels are the levels of all loggers.
func (h *Hub) Levels() map[string]slog.Level {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]slog.Level{}
	for name, n := range h.loggers {
		out[name] = n.level.Level()
	}
	return out
}

// Names are the names of all loggers, sorted.
func (h *Hub) Names() []string { return slices.Sorted(maps.Keys(h.Levels())) }

// SetBase changes the configured level, which applies to all loggers without a level of their own.
func (h *Hub) SetBase(level slog.Level) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.base.Set(level)
	for _, n := range h.loggers {
		if !n.own {
			n.level.Set(level)
		}
	}
}

// Set sets the level of one logger, or of all if the name is empty. It reports whether the logger
// exists.
func (h *Hub) Set(name string, level slog.Level) bool {
	return h.each(name, func(n *named) { n.own = true; n.level.Set(level) })
}

// Reset restores the configured level of a logger, or of all.
func (h *Hub) Reset(name string) bool {
	return h.each(name, func(n *named) { n.own = false; n.level.Set(h.base.Level()) })
}

func (h *Hub) each(name string, f func(*named)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if name != "" {
		n := h.loggers[name]
		if n == nil {
			return false
		}
		f(n)
		return true
	}
	for _, n := range h.loggers {
		f(n)
	}
	return true
}

// handler is the slog.Handler of one logger.
type handler struct {
	hub   *Hub
	level *slog.LevelVar
	with  []func(slog.Handler) slog.Handler // attributes and groups, also applied to watchers' handlers
	main  slog.Handler                      // the hub's handler with them; nil if there are none
}

func (l *handler) Enabled(_ context.Context, level slog.Level) bool {
	if level >= l.level.Level() {
		return true
	}
	for _, w := range *l.hub.watchers.Load() {
		if level >= w.level {
			return true
		}
	}
	return false
}

func (l *handler) Handle(ctx context.Context, r slog.Record) error {
	for _, w := range *l.hub.watchers.Load() {
		if r.Level >= w.level {
			w.take(ctx, l.with, r)
		}
	}
	if r.Level < l.level.Level() {
		return nil
	}
	if l.main != nil {
		return l.main.Handle(ctx, r)
	}
	return l.hub.main.Handle(ctx, r)
}

func (l *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return l.extended(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (l *handler) WithGroup(name string) slog.Handler {
	return l.extended(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (l *handler) extended(f func(slog.Handler) slog.Handler) slog.Handler {
	next := *l
	next.with = append(slices.Clip(l.with), f)
	if next.main == nil {
		next.main = l.hub.main
	}
	next.main = f(next.main)
	return &next
}

// Watcher receives the log lines. It must be closed.
type Watcher struct {
	hub   *Hub
	level slog.Level
	lines chan []byte

	mu      sync.Mutex
	format  slog.Handler
	buf     bytes.Buffer
	dropped int
}

// maxBehind is the number of lines that are buffered for a watcher.
const maxBehind = 512

// Watch returns a watcher of lines of this level and above, regardless of the loggers' levels.
func (h *Hub) Watch(format string, level slog.Level) (*Watcher, error) {
	w := &Watcher{hub: h, level: level, lines: make(chan []byte, maxBehind)}
	var err error
	if w.format, err = newHandler(&w.buf, format); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := append(slices.Clone(*h.watchers.Load()), w)
	h.watchers.Store(&next)
	return w, nil
}

// Lines are the lines, each with its newline.
func (w *Watcher) Lines() <-chan []byte { return w.lines }

// Close removes the watcher.
func (w *Watcher) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(*w.hub.watchers.Load()), func(o *Watcher) bool { return o == w })
	w.hub.watchers.Store(&next)
}

// take formats a record and buffers it for the watcher, unless the buffer is full.
func (w *Watcher) take(ctx context.Context, with []func(slog.Handler) slog.Handler, r slog.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines) == cap(w.lines) {
		w.dropped++
		return
	}
	w.buf.Reset()
	f := w.format
	for _, extend := range with {
		f = extend(f)
	}
	if w.dropped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("lines_lost_before", w.dropped))
		w.dropped = 0
	}
	if f.Handle(ctx, r) == nil {
		w.lines <- bytes.Clone(w.buf.Bytes()) // never blocks: only take sends, under mu
	}
}
