package api

import (
	"bytes"
	"context"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
)

// pprofRoutes show the profiles of Go's runtime: functions and counts, never what memory holds. They need sudo, because a profile
// costs, and tells what others do.
var pprofRoutes = []route{
	{Methods: get, Path: "sys/pprof", Capability: policy.Read, Sudo: true, Style: bareStyle, Lifecycle: true,
		Switch: profileSwitch, Handle: (*handler).profiles},
	{Methods: get, Path: "sys/pprof/*", Capability: policy.Read, Sudo: true, Style: bareStyle, Lifecycle: true,
		Switch: profileSwitch, Handle: (*handler).profile},
}

// profiles lists what there is.
func (h *handler) profiles(context.Context, *request) (*answer, error) {
	names := []string{"profile", "trace"}
	for _, p := range pprof.Profiles() {
		names = append(names, p.Name())
	}
	return shown(keysAnswer{names})
}

const (
	shortProfile = 30 * time.Second // where "seconds" is not given; a trace 1 s
	longProfile  = 10 * time.Minute
)

// profile answers in the form of Go's tools. The texts of goroutines, which show arguments, are not offered: debug=1 gives names and counts.
func (h *handler) profile(ctx context.Context, q *request) (*answer, error) {
	var buf bytes.Buffer
	var err error
	switch q.rest {
	case "profile":
		err = h.during(ctx, q, shortProfile, func() error { return pprof.StartCPUProfile(&buf) }, pprof.StopCPUProfile)
	case "trace":
		err = h.during(ctx, q, time.Second, func() error { return trace.Start(&buf) }, trace.Stop)
	case "cmdline": // without what stands behind the name: flags may bear a token
		buf.WriteString("sealgate")
	case "symbol":
		buf.WriteString("num_symbols: 1\n")
	default:
		p := pprof.Lookup(q.rest)
		if p == nil {
			return nil, fault.New(fault.NotFound, "there is no profile %q", q.rest)
		}
		debug := 0
		if q.query.Get("debug") != "" && q.query.Get("debug") != "0" {
			debug = 1
		}
		err = p.WriteTo(&buf, debug)
	}
	if err != nil {
		return nil, err
	}
	kind := "application/octet-stream"
	if q.query.Get("debug") != "" || q.rest == "cmdline" || q.rest == "symbol" {
		kind = "text/plain; charset=utf-8"
	}
	q.out.Header()["Content-Type"] = []string{kind}
	return &answer{data: opaque(buf.Bytes())}, nil
}

// during runs what measures for as many seconds as are asked for, within the request's deadline.
func (h *handler) during(ctx context.Context, q *request, d time.Duration, start func() error, stop func()) error {
	if text := q.query.Get("seconds"); text != "" {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n > 0) || n > longProfile.Seconds() {
			return fault.New(fault.Invalid, "seconds must be a number above 0 and at most %d", int(longProfile.Seconds()))
		}
		d = time.Duration(n * float64(time.Second))
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return fault.New(fault.Invalid, "%s is more than a request may take (%s; max_request_duration)", d,
			q.limits.Duration)
	}
	if !h.Shared.profiling.TryLock() {
		return &status{http.StatusConflict, "a profile is being taken already; try again when it is over"}
	}
	defer h.Shared.profiling.Unlock()
	if err := start(); err != nil {
		return err
	}
	defer stop()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-stopping(q.http.Context()):
		return nil // with what there is
	case <-ctx.Done():
		return ctx.Err()
	}
}
