package api

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/api/settings"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/logs"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/tracing"
)

// Shared is what all listeners of a server have in common: metrics, log, requests in flight, limits
// and settings. It is safe for concurrent use.
type Shared struct {
	Metrics    *metrics.Registry
	Prometheus bool            // sys/metrics has Prometheus's format
	Logs       *logs.Hub       // nil: sys/loggers and sys/monitor are not available
	Tracer     *tracing.Tracer // nil: no spans
	Sanitized  map[string]any  // the configuration without secrets, for sys/config/state/sanitized

	// Requests is the level at which answered requests are logged; nil logs none.
	Requests *slog.Level

	log       *slog.Logger
	Profiling sync.Mutex // held by a CPU profile or trace: the runtime can make one of each at a time
	Settings  settings.Cache
	quotas    limits.Quotas
	Lockouts  limits.Lockouts
	Starts    limits.Starts
	Memory    limits.Bytes // of requests in flight
	garbage   collector

	requests    [len(operations)][6]*metrics.Counter // by operation, and first digit of the status
	times       [len(operations)]*metrics.Timer
	handled     *metrics.Timer
	authMethods *metrics.Timer
	checked     *metrics.Timer // checks of tokens
	fetched     *metrics.Timer // authorisations
	refused     *metrics.Counter
	routes      sync.Map // routeKey to *metrics.Timer, one for each mount and operation

	mu     sync.Mutex
	flight Request // head of the ring of requests in flight
	flying int
}

var operations = [...]mount.Operation{
	mount.Read: mount.Read, mount.List: mount.List, mount.Create: mount.Create, mount.Update: mount.Update,
	mount.Patch: mount.Patch, mount.Delete: mount.Delete, mount.Scan: mount.Scan,
}

// NewShared returns what listeners share. A nil registry makes one.
func NewShared(r *metrics.Registry, log *slog.Logger) *Shared {
	if r == nil {
		r = metrics.New("vault", nil)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Shared{Metrics: r, Prometheus: true, log: log}
	s.flight.next, s.flight.prev = &s.flight, &s.flight
	r.Help("sealgate.requests", "Requests that were answered, by operation and first digit of the status.")
	r.Help("sealgate.request.milliseconds", "From a request's headers to the end of its answer.")
	for _, op := range operations {
		for digit := range s.requests[op] {
			if digit >= 2 {
				s.requests[op][digit] = r.Counter("sealgate.requests", "operation", op.String(), "status",
					string(rune('0'+digit))+"xx")
			}
		}
		s.times[op] = r.Timer("sealgate.request.milliseconds", "operation", op.String())
	}
	s.handled, s.authMethods = r.Timer("core.handle_request"), r.Timer("core.handle_login_request")
	s.checked, s.fetched = r.Timer("core.check_token"), r.Timer("core.fetch_acl_and_token")
	s.refused = r.Counter("quota.rate_limit.violation")
	r.Sampled(func(sample *metrics.Sample) {
		s.mu.Lock()
		defer s.mu.Unlock()
		sample.Gauge("core.in_flight_requests", float64(s.flying))
		used, _ := s.Memory.Used()
		sample.Gauge("sealgate.requests.memory_reserved", float64(used))
	})
	return s
}

// begin records a new request.
func (s *Shared) begin(q *Request) {
	q.began, q.id = time.Now(), newRequestID()
	s.mu.Lock()
	defer s.mu.Unlock()
	q.next, q.prev = s.flight.next, &s.flight
	q.next.prev, s.flight.next = q, q
	s.flying++
}

// finish records an answered request.
func (s *Shared) finish(q *Request) {
	s.mu.Lock()
	q.prev.next, q.next.prev = q.next, q.prev
	q.next, q.prev = nil, nil
	s.flying--
	s.mu.Unlock()
	q.release()
	took := time.Since(q.began)
	if digit := q.Status / 100; digit >= 2 && digit <= 5 {
		s.requests[q.Op][digit].Inc()
	}
	s.times[q.Op].Observe(took)
	route := "none"
	if q.Route != nil {
		route = q.Route.Path
	}
	if q.Role != nil {
		if s.handled.Observe(took); strings.HasSuffix(q.Path, "/login") {
			s.authMethods.Observe(took)
		}
		if mount := q.mountOf(); mount != "" {
			s.ofMount(q.Op, mount).Observe(took)
			if route == "" {
				route = mount
			}
		}
	}
	s.logRequest(q, took)
	q.span.End(route, q.Op.String(), &q.id, q.Status)
}

// logRequest logs an answered request without its query, which may contain a token.
func (s *Shared) logRequest(q *Request, took time.Duration) {
	if s.Requests == nil || !s.log.Enabled(q.HTTP.Context(), *s.Requests) {
		return
	}
	s.log.Log(q.HTTP.Context(), *s.Requests, "completed_request", "request_id", q.id.String(), "client_address", q.remote,
		"request_method", q.HTTP.Method,
		"request_path", q.url, "status_code", q.Status, "start_time", q.began.UTC().Format(time.RFC3339Nano),
		"duration", took.String(),
		"accessor", q.Identity.Accessor)
}

type routeKey struct {
	op    mount.Operation
	mount string
}

// ofMount returns the timer that Vault calls route.<operation>.<mount>-.
func (s *Shared) ofMount(op mount.Operation, mount string) *metrics.Timer {
	key := routeKey{op, mount}
	if t, ok := s.routes.Load(key); ok {
		return t.(*metrics.Timer)
	}
	t := s.Metrics.Timer("route." + op.String() + "." + strings.ReplaceAll(mount, "/", "-"))
	s.routes.Store(key, t)
	return t
}

// mountOf returns the mount of the request's path, with its slash; "" for none.
func (q *Request) mountOf() string {
	if InTable(q.Path) && q.Route.Access != ByMethod {
		return "sys/"
	}
	_, m, _, err := q.Locate()
	if err != nil {
		return ""
	}
	return m.Path
}

// Flight is a request in flight. Its path is shown without the query.
type Flight struct {
	StartTime time.Time `json:"start_time"`
	Address   string    `json:"client_remote_address"`
	Path      string    `json:"request_path"`
	Method    string    `json:"request_method"`
	ClientID  string    `json:"client_id"`
	Elapsed   int64     `json:"elapsed_ms"`
}

// InFlight returns up to so many requests that are not answered yet, by id.
func (s *Shared) InFlight(most int) map[string]Flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]Flight{}
	for q := s.flight.next; q != &s.flight && len(all) < most; q = q.next {
		all[q.id.String()] = Flight{
			StartTime: q.began.UTC(), Address: q.remote, Path: q.url, Method: q.HTTP.Method,
			Elapsed: time.Since(q.began).Milliseconds(),
		}
	}
	return all
}

// started returns a request as it came.
func started(w http.ResponseWriter, r *http.Request, h *Handler) *Request {
	return &Request{HTTP: r, Out: w, Limits: &h.Limits, Front: &h.Front, remote: r.RemoteAddr, url: r.URL.Path,
		memory: &h.Shared.Memory}
}
