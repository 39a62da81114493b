package api

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/version"
)

// Config configures the API of one listener.
type Config struct {
	Node       *node.Node
	Recovery   *node.RecoveryMode // in recovery mode, in place of Node
	Version    string             // of this program: "1.0.0"
	APIVersion string             // the version of Vault that clients see; "": version.APILevel
	CommitDate string             // RFC 3339, or ""
	Limits     Limits
	Trail      *audit.Trail // nil: nothing is audited
	Log        *slog.Logger // nil: nothing is logged
	Now        func() time.Time

	// DisableUnauthRekey takes sys/rekey and sys/rekey-recovery-key away
	// (disable_unauthed_rekey_endpoints).
	DisableUnauthRekey bool
	// DisableUnauthRoot takes sys/generate-root away (disable_unauthed_generate_root_endpoints);
	// sys/generate-root-token stays.
	DisableUnauthRoot bool

	// RawStorage opens sys/raw, which reads and writes behind the barrier (raw_storage_endpoint).
	RawStorage bool

	// ForcedRestore lets a token alone restore a foreign snapshot where the store has no shares
	// (unsafe_allow_forced_restore).
	ForcedRestore bool

	Front    config.Front // proxies and origins of this listener
	Hostname string       // sent as X-Vault-Hostname; "" sends none
	Shared   *Shared      // by all listeners of a server; nil makes one for this listener

	// Lockout limits wrong credentials (user_lockout), by type of auth method, or "all".
	Lockout map[string]*mount.Lockout

	Peer         bool // it answers other nodes, see [NewPeer]
	NoForwarding bool // standbys redirect clients to the leader (disable_clustering)

	Refusals *limits.Refusals // by all listeners of a server; nil makes one for this listener

	// Gateways lists the gateways of this server, for sys/gateways; nil: it has none.
	Gateways func(context.Context) []Gateway
}

// Gateway is a protocol of other systems that this server speaks.
type Gateway struct {
	Name    string `json:"name"`
	Type    string `json:"type"`    // "kmsv2" or "xks"
	Address string `json:"address"` // of its socket or listener; "": the API's listeners answer it
	Mount   string `json:"mount"`
	Key     string `json:"key,omitempty"` // kmsv2: the transit key

	// kmsv2: what an API server reads of its status call.
	Healthz   string     `json:"healthz,omitempty"` // "ok", or a warning
	Error     string     `json:"error,omitempty"`   // the call fails with it
	Version   int        `json:"key_version,omitempty"`
	KeyIDHash string     `json:"key_id_hash,omitempty"` // as in the metrics of API servers
	Proven    *time.Time `json:"last_proof,omitempty"`
}

// Limits bound one request. A zero value is the default.
type Limits struct {
	Body        int64         // bytes: 33554432
	JSONMemory  int64         // estimated bytes of the decoded body: 34078720
	JSONStrings int64         // strings in a body: 1000
	JSONDepth   int           // 256
	Duration    time.Duration // 90 s
}

func (l Limits) withDefaults() Limits {
	l.Body = cmp.Or(l.Body, 32<<20)
	l.JSONMemory = cmp.Or(l.JSONMemory, 34078720)
	l.JSONStrings = cmp.Or(l.JSONStrings, 1000)
	l.JSONDepth = cmp.Or(l.JSONDepth, 256)
	l.Duration = cmp.Or(l.Duration, 90*time.Second)
	return l
}

// Handler is the API of one listener.
type Handler struct {
	Config
	routes *table
	Lines  []Route // of the table, in order
	Docs   map[string]Doc
	login  *Route
	help   *Route

	shown   string // API version and version, as clients read them
	running string // version of what is mounted, as the audit trail shows it

	Statuses Statuses

	// Document is the OpenAPI document, made when it is first asked for.
	Document atomic.Pointer[Opaque]
}

// Area is one part of the API: its routes, and the documentation of their paths.
type Area struct {
	Routes []Route
	Docs   map[string]Doc // by path
}

// Table is everything that a handler answers.
type Table struct {
	Area
	Login Route // paths of auth methods
	Help  Route // HELP, and GET with ?help=1, on every path
}

// Join makes a table of areas.
func Join(areas []Area, login, help Route) Table {
	t := Table{Login: login, Help: help, Area: Area{Docs: map[string]Doc{}}}
	for _, a := range areas {
		t.Routes = append(t.Routes, a.Routes...)
		maps.Copy(t.Docs, a.Docs)
	}
	return t
}

// NewHandler returns the API of a listener.
func NewHandler(c Config, t Table) *Handler {
	c.Limits = c.Limits.withDefaults()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Refusals == nil {
		c.Refusals = limits.NewRefusals(c.Now, c.Log)
	}
	if c.Shared == nil {
		c.Shared = NewShared(nil, c.Log)
	}
	return &Handler{Config: c, routes: newTable(t.Routes), Lines: t.Routes, Docs: t.Docs, login: &t.Login, help: &t.Help,
		shown: version.Shown(cmp.Or(c.APIVersion, version.APILevel), c.Version), running: "v" + c.Version + "+builtin"}
}

// ShownVersion is the version that clients read to switch features on: Vault's, with this program's
// as build metadata.
func (h *Handler) ShownVersion() string { return h.shown }

// Has reports whether a path is in the table.
func (h *Handler) Has(path string) bool {
	methods, _ := h.routes.methods(path)
	return methods != nil
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := started(w, r, h)
	h.Shared.begin(q)
	defer h.Shared.finish(q)
	defer q.deadline.end()
	var ctx context.Context = q.deadline.begin(r.Context(), q.began.Add(h.Limits.Duration))
	ctx, q.span = h.Shared.Tracer.Start(ctx, r)
	defer h.recovered(q)
	header := w.Header()
	header["Cache-Control"] = noStore
	header["Content-Type"] = applicationJSON
	header["Strict-Transport-Security"] = hsts
	if h.Hostname != "" {
		header["X-Vault-Hostname"] = []string{h.Hostname}
	}
	if carriesShares(r.Method, r.URL.Path) {
		h.serveShares(q, func() { h.serve(ctx, q) })
		return
	}
	h.serve(ctx, q)
}

func (h *Handler) serve(ctx context.Context, q *Request) {
	a, err := h.answer(ctx, q)
	if err != nil {
		h.refuse(q, err)
		return
	}
	h.render(q, a)
}

// Header values that all answers share.
var (
	noStore         = []string{"no-store"}
	applicationJSON = []string{"application/json"}
	hsts            = []string{"max-age=31536000; includeSubDomains"}
)

// recovered turns a handler's panic into a 500 unless something was sent already.
func (h *Handler) recovered(q *Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	h.Log.Error("a handler panicked", "request_id", q.ID(), "path", q.Path, "panic", p, "stack", string(debug.Stack()))
	if !q.Sent {
		q.sendErrors(http.StatusInternalServerError, Bulleted(internalText(q)))
	}
}
