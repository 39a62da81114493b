package operate

import (
	"bytes"
	"context"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/listener"
)

// pprofRoutes show the profiles of Go's runtime: functions and counts, never the content of memory.
// They need sudo, because a profile costs CPU time, and shows what other clients do.
var pprofRoutes = []api.Route{
	{Methods: api.Get, Path: "sys/pprof", Capability: policy.Read, Sudo: true, Style: api.BareStyle, Lifecycle: true,
		Switch: api.ProfileSwitch, Handle: profiles},
	{Methods: api.Get, Path: "sys/pprof/*", Capability: policy.Read, Sudo: true, Style: api.BareStyle, Lifecycle: true,
		Switch: api.ProfileSwitch, Handle: profile},
}

// profiles lists the profiles.
func profiles(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	names := []string{"profile", "trace"}
	for _, p := range pprof.Profiles() {
		names = append(names, p.Name())
	}
	return api.Keys(names)
}

const (
	shortProfile = 30 * time.Second // without "seconds"; a trace takes 1 s
	longProfile  = 10 * time.Minute
)

// profile answers in the format of Go's tools. Goroutines are not shown with their arguments:
// debug=1 gives names and counts.
func profile(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var buf bytes.Buffer
	var err error
	switch q.Rest {
	case "profile":
		err = during(ctx, h, q, shortProfile, func() error { return pprof.StartCPUProfile(&buf) }, pprof.StopCPUProfile)
	case "trace":
		err = during(ctx, h, q, time.Second, func() error { return trace.Start(&buf) }, trace.Stop)
	case "cmdline": // without arguments: flags may contain a token
		buf.WriteString("sealgate")
	case "symbol":
		buf.WriteString("num_symbols: 1\n")
	default:
		p := pprof.Lookup(q.Rest)
		if p == nil {
			return nil, fault.New(fault.NotFound, "profile %q does not exist", q.Rest)
		}
		debug := 0
		if q.Query.Get("debug") != "" && q.Query.Get("debug") != "0" {
			debug = 1
		}
		err = p.WriteTo(&buf, debug)
	}
	if err != nil {
		return nil, err
	}
	kind := "application/octet-stream"
	if q.Query.Get("debug") != "" || q.Rest == "cmdline" || q.Rest == "symbol" {
		kind = "text/plain; charset=utf-8"
	}
	q.Out.Header()["Content-Type"] = []string{kind}
	return &api.Answer{Data: api.Opaque(buf.Bytes())}, nil
}

// during measures for as many seconds as are asked for, within the request's deadline.
func during(ctx context.Context, h *api.Handler, q *api.Request, d time.Duration, start func() error,
	stop func()) error {
	if text := q.Query.Get("seconds"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n > 0) || n > longProfile.Seconds() {
			return fault.New(fault.Invalid, "seconds must be a number above 0 and at most %d", int(longProfile.Seconds()))
		}
		d = time.Duration(n * float64(time.Second))
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return fault.New(fault.Invalid, "%s is more than a request may take (%s; max_request_duration)", d,
			q.Limits.Duration)
	}
	if !h.Shared.Profiling.TryLock() {
		return api.NewStatus(http.StatusConflict, "a profile is being taken already; try again when it is over")
	}
	defer h.Shared.Profiling.Unlock()
	if err := start(); err != nil {
		return err
	}
	defer stop()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-listener.Stopping(q.HTTP.Context()):
		return nil // with what was measured so far
	case <-ctx.Done():
		return ctx.Err()
	}
}
