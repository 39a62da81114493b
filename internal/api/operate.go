package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api/settings"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/logs"
	"github.com/sealgate/sealgate/internal/storage"
)

// operateRoutes are for those who run the server: what it does, how it is set, what it says.
var operateRoutes = []route{
	{Methods: get, Path: "sys/metrics", Capability: policy.Read, Style: bareStyle, Lifecycle: true,
		Switch: metricsSwitch, Own: true, Here: true, Handle: (*handler).showMetrics},
	{Methods: get, Path: "sys/host-info", Capability: policy.Read, Own: true, Here: true, Handle: (*handler).hostInfo},
	{Methods: get, Path: "sys/in-flight-req", Capability: policy.Read, Style: bareStyle, Lifecycle: true,
		Switch: inFlightSwitch, Own: true, Here: true, Handle: (*handler).inFlight},
	{Methods: get, Path: "sys/config/state/sanitized", Capability: policy.Read, Own: true, Here: true,
		Handle: (*handler).sanitized},
	{Methods: listing, Path: "sys/version-history", Capability: policy.List, Handle: (*handler).versionHistory},
	{Methods: get, Path: "sys/loggers", Capability: policy.Read, Own: true, Here: true, Handle: (*handler).readLoggers},
	{Methods: write, Path: "sys/loggers", Body: smallBody, Capability: policy.Update, Own: true, Here: true,
		Handle: (*handler).setLogger},
	{Methods: remove, Path: "sys/loggers", Capability: policy.Delete, Own: true, Here: true,
		Handle: (*handler).resetLogger},
	{Methods: get, Path: "sys/loggers/*", Capability: policy.Read, Own: true, Here: true,
		Handle: (*handler).readLoggers},
	{Methods: write, Path: "sys/loggers/*", Body: smallBody, Capability: policy.Update, Own: true, Here: true,
		Handle: (*handler).setLogger},
	{Methods: remove, Path: "sys/loggers/*", Capability: policy.Delete, Own: true, Here: true,
		Handle: (*handler).resetLogger},
	{Methods: get, Path: "sys/monitor", Capability: policy.Read, Style: bareStyle, Own: true, Here: true,
		Duration: lasting, Handle: (*handler).monitor},

	{Methods: get, Path: "sys/config/cors", Capability: policy.Read, Sudo: true, Style: doubleStyle, Here: true,
		Handle: (*handler).readCORS},
	{Methods: write, Path: "sys/config/cors", Body: smallBody, Capability: policy.Update, Sudo: true,
		Style: doubleStyle, Handle: (*handler).writeCORS},
	{Methods: remove, Path: "sys/config/cors", Capability: policy.Delete, Sudo: true, Style: doubleStyle,
		Handle: (*handler).deleteCORS},

	{Methods: get, Path: "sys/quotas/config", Capability: policy.Read, Here: true, Handle: (*handler).readQuotaConfig},
	{Methods: write, Path: "sys/quotas/config", Body: smallBody, Capability: policy.Update,
		Handle: (*handler).writeQuotaConfig},
	{Methods: listing, Path: "sys/quotas/rate-limit", Capability: policy.List, Here: true,
		Handle: (*handler).listQuotas},
	{Methods: get, Path: "sys/quotas/rate-limit/*", Capability: policy.Read, Here: true, Handle: (*handler).readQuota},
	{Methods: write, Path: "sys/quotas/rate-limit/*", Body: smallBody, Capability: policy.Update,
		Handle: (*handler).writeQuota},
	{Methods: remove, Path: "sys/quotas/rate-limit/*", Capability: policy.Delete, Handle: (*handler).deleteQuota},
}

func (h *handler) sanitized(context.Context, *request) (*answer, error) {
	if h.Shared.Sanitized == nil {
		return done()
	}
	return shown(h.Shared.Sanitized)
}

type versionAnswer struct {
	Keys []string               `json:"keys"`
	Info map[string]versionInfo `json:"key_info"`
}

type versionInfo struct {
	BuildDate string  `json:"build_date"`
	Previous  *string `json:"previous_version"`
	Installed string  `json:"timestamp_installed"`
}

// versionHistory lists the versions that were noted on this storage: each when the history is first looked at, or a quota or
// origin first checked, after its start. A version that ran without any of these is not in it.
func (h *handler) versionHistory(ctx context.Context, q *request) (*answer, error) {
	if err := h.noteVersion(ctx, q); err != nil {
		return nil, err
	}
	names, err := q.state.Store().List(ctx, settings.PathVersions, "", 0)
	if err != nil {
		return nil, err
	}
	times := map[string]time.Time{}
	for _, name := range names {
		var v settings.Installed
		if err := settings.Read(ctx, q.state, settings.PathVersions+name, &v); err != nil {
			return nil, err
		}
		times[name] = v.At
	}
	slices.SortStableFunc(names, func(a, b string) int { return times[a].Compare(times[b]) })
	a := versionAnswer{Keys: names, Info: map[string]versionInfo{}}
	for i, name := range names {
		info := versionInfo{Installed: times[name].UTC().Format(time.RFC3339Nano)}
		if name == h.Version {
			info.BuildDate = h.CommitDate
		}
		if i > 0 {
			info.Previous = &names[i-1]
		}
		a.Info[name] = info
	}
	return shown(a)
}

func (h *handler) noteVersion(ctx context.Context, q *request) error {
	_, err := q.state.Store().Get(ctx, settings.PathVersions+h.Version)
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return h.Shared.settings.Change(ctx, q.state, settings.PathVersions+h.Version, settings.Installed{Version: settings.Version, At: h.Now().UTC()})
}

var errNoLogs = fault.New(fault.Unsupported, "this server's log cannot be looked at or set from here")

// levelName is Vault's word for a level.
func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

func (h *handler) readLoggers(_ context.Context, q *request) (*answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	all := map[string]string{}
	for name, level := range h.Shared.Logs.Levels() {
		if q.rest == "" || q.rest == name {
			all[name] = levelName(level)
		}
	}
	if len(all) == 0 {
		return nil, errNoLogger(q.rest)
	}
	return shown(all)
}

func errNoLogger(name string) error { return fault.New(fault.NotFound, "logger %q not found", name) }

func (h *handler) setLogger(_ context.Context, q *request) (*answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	data, err := q.object()
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
	if !h.Shared.Logs.Set(q.rest, level) {
		return nil, errNoLogger(q.rest)
	}
	h.Log.Info("the log level was changed", "of", q.rest, "level", levelName(level), "request_id", q.id())
	return done()
}

func (h *handler) resetLogger(_ context.Context, q *request) (*answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	if !h.Shared.Logs.Reset(q.rest) {
		return nil, errNoLogger(q.rest)
	}
	return done()
}

// monitor sends the log as it is written, until the client goes or the server stops.
func (h *handler) monitor(_ context.Context, q *request) (*answer, error) {
	if h.Shared.Logs == nil {
		return nil, errNoLogs
	}
	level, format := slog.LevelInfo, logs.Text
	if word := q.query.Get("log_level"); word != "" {
		var ok bool
		if level, ok = config.Level(word); !ok {
			return nil, fault.New(fault.Invalid, "unknown log level: trace, debug, info, warn or error")
		}
	}
	if word := q.query.Get("log_format"); word != "" {
		format = word
	}
	w, err := h.Shared.Logs.Watch(format, level)
	if err != nil {
		return nil, fault.New(fault.Invalid, "unknown log format: standard or json")
	}
	defer w.Close()
	out := http.NewResponseController(q.out)
	_ = out.SetWriteDeadline(time.Time{}) // where the connection has none there is none to lift
	q.out.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	dress(q.out.Header(), q.front, http.StatusOK)
	q.sent, q.status = true, http.StatusOK
	q.out.WriteHeader(http.StatusOK)
	for err = out.Flush(); err == nil; err = out.Flush() {
		select {
		case <-stopping(q.http.Context()):
			return &answer{}, nil
		case <-q.http.Context().Done():
			return &answer{}, nil
		case line := <-w.Lines():
			if _, err := q.out.Write(line); err != nil {
				return &answer{}, nil
			}
		}
	}
	return &answer{}, nil
}
