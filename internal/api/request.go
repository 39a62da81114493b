package api

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/tracing"
)

// Request is one request on its way through the pipeline.
type Request struct {
	HTTP   *http.Request
	Out    http.ResponseWriter
	Limits *Limits
	Front  *config.Front

	// As the request came.
	id requestID

	originAllowed bool   // by CORS
	remote        string // the address of the connection
	url           string // the path, before it was parsed
	began         time.Time
	deadline      deadline
	span          tracing.Span

	next, prev *Request // in the ring of requests in flight, see [Shared]

	// As it was parsed.
	Path    string // without "/v1/"; a list's ends in a slash
	Rest    string // what the "*" of the route's path stands for
	Route   *Route
	WrapTTL time.Duration // how long the answer is to be wrapped; 0: not at all
	WrapJWT bool          // its wrapping token is to be a JWT
	help    bool          // HELP, or ?help=1
	Folded  bool          // a name without case was given in upper case
	fold    int           // the length of Path before that name; 0: it has none
	parsed  struct {
		op    mount.Operation
		query url.Values
	}

	// The body, as far as it was read. It is kept for the next attempt.
	body     []byte
	bodyRead bool
	memory   *limits.Bytes // of all requests; nil: not counted
	reserved int64         // of it, by this one
	wipes    bool          // body or answer may have shares: see [carriesShares]

	// AuditDone records that the request succeeded with an empty answer, for a handler that ends the
	// role whose audit devices would take the response.
	AuditDone func() error

	// What was sent.
	Sent      bool
	Truncated bool // the body is not complete: the connection is cut
	Status    int

	trace      ha.Trace       // what the node did for it, in all attempts
	assumption *ha.Assumption // of a standby that reads before it has proven to be current
	attempt
}

// attempt is the state of a request that changes while it is answered. In a cluster a request is
// answered again by another role, or forwarded, where its role ended before anything was done: then
// all of this starts anew.
type attempt struct {
	Op       mount.Operation
	Query    url.Values
	Data     map[string]any // the body, once it was read as an object
	Token    string
	Identity token.Identity
	Role     *node.RoleState // nil where the route needs none
	Raw      *node.Raw       // in recovery mode
	Wrapping string          // the wrapping token to be opened

	authentic    bool            // the token is known: refusals have another form
	assigned     *node.RoleState // the role that answers, where it was chosen before authorisation
	auditRefusal bool            // it exceeds a quota, and such requests are audited
	plainAnswer  []string        // keys of the answer whose values the audit trail may show
	mounted      mounted         // where its path is mounted, once it was looked up
}

// reset starts an attempt.
func (q *Request) reset() { q.attempt = attempt{Op: q.parsed.op, Query: q.parsed.query} }

// Errors with an empty list of texts, as Vault has them.
var (
	errNoSuchPage  = bare(http.StatusNotFound)
	errNoMethod    = bare(http.StatusMethodNotAllowed)
	ErrBadParam    = bare(http.StatusBadRequest)
	ErrUnsupported = fault.New(fault.Unsupported, "unsupported operation")
	ErrNoPath      = fault.New(fault.NotFound, "unsupported path")
)

// flag reads a boolean parameter; an empty one is false.
func (q *Request) Flag(name string) (bool, error) {
	if q.Query == nil {
		return false, nil
	}
	v := q.Query.Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, ErrBadParam
	}
	return b, nil
}

// readToken takes the token from the headers. X-Vault-Token wins; the word Bearer is
// case-sensitive.
func (q *Request) ReadToken() {
	if q.Token = q.HTTP.Header.Get("X-Vault-Token"); q.Token != "" {
		return
	}
	if bearer, ok := strings.CutPrefix(q.HTTP.Header.Get("Authorization"), "Bearer "); ok {
		q.Token = bearer
	}
}

// Local reports whether the client is on the same machine, by a unix socket, and no proxy says that
// it asks for another client.
func (q *Request) Local() bool {
	addr, ok := q.HTTP.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix" && q.HTTP.RemoteAddr == q.remote && q.HTTP.Header["X-Forwarded-For"] == nil
}

// Bearer returns the identity of the request's token, without using the token. It is for routes
// that need none and show more with one.
func (q *Request) Bearer(ctx context.Context) (token.Identity, error) {
	q.ReadToken()
	return q.Role.Tokens().Bearer(ctx, q.Token, q.HTTP.RemoteAddr)
}

// checkHeaders answers headers that ask for what is not there: silence would be a promise.
func (q *Request) checkHeaders() error {
	if err := q.checkNamespace(); err != nil {
		return err
	}
	return q.readWrapTTL()
}

// checkNamespace knows the root namespace alone. What anybody may ask at any time is answered in
// every one.
func (q *Request) checkNamespace() error {
	name := q.HTTP.Header.Get("X-Vault-Namespace")
	if name == "" {
		return nil
	}
	q.Out.Header().Set("X-Vault-Namespace", name)
	if clean := strings.Trim(name, "/"); clean == "" || clean == "root" {
		return nil
	}
	if q.Route.Access == AlwaysOpen && !q.Route.Lifecycle {
		return nil
	}
	if q.Route.Lifecycle {
		return fault.New(fault.Invalid, "operation unavailable in namespaces")
	}
	return fault.New(fault.NotFound, "namespace not found")
}
