package operate

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/listener"
	"github.com/sealgate/sealgate/internal/logs"
)

var errNoLogs = fault.New(fault.Unsupported, "this server's log cannot be looked at or set from here")

// levelName returns Vault's name of a level.
func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

func readLoggers(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	all := map[string]string{}
	for name, level := range h.Shared.Logs.Levels() {
		if q.Rest == "" || q.Rest == name {
			all[name] = levelName(level)
		}
	}
	if len(all) == 0 {
		return nil, errNoLogger(q.Rest)
	}
	return api.Show(all)
}

func errNoLogger(name string) error { return fault.New(fault.NotFound, "logger %q not found", name) }

func setLogger(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	data, err := q.Object()
	if err != nil {
		return nil, err
	}
	var word string
	if err := field.Map(data).Text("level", &word); err != nil {
		return nil, err
	}
	if word == "" {
		return nil, fault.New(fault.Invalid, "level is required")
	}
	level, ok := config.Level(word)
	if !ok {
		return nil, fault.New(fault.Invalid, "invalid level %q provided: trace, debug, info, warn or error", word)
	}
	if !h.Shared.Logs.Set(q.Rest, level) {
		return nil, errNoLogger(q.Rest)
	}
	h.Log.Info("the log level was changed", "of", q.Rest, "level", levelName(level), "request_id", q.ID())
	return api.Done()
}

func resetLogger(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	if !h.Shared.Logs.Reset(q.Rest) {
		return nil, errNoLogger(q.Rest)
	}
	return api.Done()
}

// monitor sends the log as it is written, until the client closes the connection or the server
// stops.
func monitor(_ context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	level, format := slog.LevelInfo, logs.Text
	if word := q.Query.Get("log_level"); word != "" {
		var ok bool
		if level, ok = config.Level(word); !ok {
			return nil, fault.New(fault.Invalid, "unknown log level: trace, debug, info, warn or error")
		}
	}
	if word := q.Query.Get("log_format"); word != "" {
		format = word
	}
	w, err := h.Shared.Logs.Watch(format, level)
	if err != nil {
		return nil, fault.New(fault.Invalid, "unknown log format: standard or json")
	}
	defer w.Close()
	out := http.NewResponseController(q.Out)
	_ = out.SetWriteDeadline(time.Time{}) // an error means that the connection has no deadline
	q.Out.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	api.SetHeaders(q.Out.Header(), q.Front, http.StatusOK)
	q.Sent, q.Status = true, http.StatusOK
	q.Out.WriteHeader(http.StatusOK)
	for err = out.Flush(); err == nil; err = out.Flush() {
		select {
		case <-listener.Stopping(q.HTTP.Context()):
			return &api.Answer{}, nil
		case <-q.HTTP.Context().Done():
			return &api.Answer{}, nil
		case line := <-w.Lines():
			if _, err := q.Out.Write(line); err != nil {
				return &api.Answer{}, nil
			}
		}
	}
	return &api.Answer{}, nil
}
