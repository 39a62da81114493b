package api

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/tracing"
)

// request is one request on its way.
type Request struct {
	HTTP   *http.Request
	Out    http.ResponseWriter
	Limits *Limits

	uuid      string // see id
	Op        mount.Operation
	Path      string // without "/v1/"; of a list with a slash at its end
	Rest      string // of the path: what a route's "*" stands for
	Route     *Route
	Token     string
	Identity  token.Identity
	State     *node.RoleState // nil where the route does without
	Raw       *node.Raw       // of recovery mode
	Query     url.Values
	body      []byte
	authentic bool // the token is known; see refuse
	Sent      bool
	Truncated bool           // what was sent is not whole: the connection is cut
	Status    int            // that was sent
	Data      map[string]any // the body, where it was read as an object
	help      bool           // what the path is for is asked, and nothing else

	deadline deadline // by which it ends

	// For the requests in flight, see [Shared].
	began      time.Time
	span       tracing.Span
	Front      *config.Front
	remote     string // the address that the connection came from
	url        string // the path as it came
	next, prev *Request

	WrapTTL  time.Duration // how long the answer is to be wrapped; 0: not at all
	WrapJWT  bool          // its token is to be a JWT
	Wrapping string        // the wrapping token that is to be opened

	limitOnRecord bool // it exceeded a quota, and such requests are audited

	// Of a cluster, see [handler.inCluster].
	bodyRead bool
	role     *node.RoleState // the one that answers
	trace    ha.Trace
	parsed   mount.Operation

	plainAnswer []string // keys of the answer whose values the audit trail may show
}

// id is the request's UUID (version 4), made when it is first asked for. It need not be secret, only unlike any other.
func (q *Request) ID() string {
	if q.uuid == "" {
		q.uuid = NewUUID()
	}
	return q.uuid
}

func NewUUID() string {
	var b [16]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[0:], b[0:4])
	hex.Encode(out[9:], b[4:6])
	hex.Encode(out[14:], b[6:8])
	hex.Encode(out[19:], b[8:10])
	hex.Encode(out[24:], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

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

// readToken takes the token from the headers. X-Vault-Token wins; the word Bearer is case-sensitive.
func (q *Request) ReadToken() {
	if q.Token = q.HTTP.Header.Get("X-Vault-Token"); q.Token != "" {
		return
	}
	if bearer, ok := strings.CutPrefix(q.HTTP.Header.Get("Authorization"), "Bearer "); ok {
		q.Token = bearer
	}
}

// checkHeaders answers headers that ask for what is not there: silence would be a promise.
func (q *Request) checkHeaders() error {
	if err := q.checkNamespace(); err != nil {
		return err
	}
	return q.readWrapTTL()
}

// checkNamespace knows the root namespace alone. What anybody may ask at any time is answered in every one.
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
