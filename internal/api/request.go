package api

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/tracing"
)

// request is one request on its way.
type request struct {
	http   *http.Request
	out    http.ResponseWriter
	limits *Limits

	uuid      string // see id
	op        mount.Operation
	path      string // without "/v1/"; of a list with a slash at its end
	rest      string // of the path: what a route's "*" stands for
	route     *route
	token     string
	identity  token.Identity
	state     *node.RoleState // nil where the route does without
	raw       *node.Raw       // of recovery mode
	query     url.Values
	body      []byte
	authentic bool // the token is known; see refuse
	sent      bool
	cut       bool           // what was sent is not whole: the connection is cut
	status    int            // that was sent
	data      map[string]any // the body, where it was read as an object
	help      bool           // what the path is for is asked, and nothing else

	deadline deadline // by which it ends

	// For the requests in flight, see [Shared].
	began      time.Time
	span       tracing.Span
	front      *config.Front
	remote     string // the address that the connection came from
	url        string // the path as it came
	next, prev *request

	wrapTTL  time.Duration // how long the answer is to be wrapped; 0: not at all
	wrapJWT  bool          // its token is to be a JWT
	wrapping string        // the wrapping token that is to be opened

	limitOnRecord bool // it exceeded a quota, and such requests are audited

	// Of a cluster, see [handler.inCluster].
	bodyRead bool
	role     *node.RoleState // the one that answers
	trace    node.Trace
	parsed   mount.Operation

	plainAnswer []string // keys of the answer whose values the audit trail may show
}

// id is the request's UUID (version 4), made when it is first asked for. It need not be secret, only unlike any other.
func (q *request) id() string {
	if q.uuid == "" {
		q.uuid = newUUID()
	}
	return q.uuid
}

func newUUID() string {
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
	errBadParam    = bare(http.StatusBadRequest)
	errUnsupported = fault.New(fault.Unsupported, "unsupported operation")
	errNoPath      = fault.New(fault.NotFound, "unsupported path")
)

// parse reads path, operation and query of a request.
func (q *request) parse() error {
	path, ok := strings.CutPrefix(q.http.URL.Path, "/v1/")
	if !ok {
		return errNoSuchPage
	}
	if err := checkPath(path); err != nil {
		return err
	}
	q.path = path
	if q.http.URL.RawQuery != "" {
		query, err := url.ParseQuery(q.http.URL.RawQuery)
		if err != nil {
			return fault.New(fault.Invalid, "the query behind the ? cannot be read: escape its parameters as in application/x-www-form-urlencoded")
		}
		q.query = query
	}
	if err := q.operation(); err != nil {
		return err
	}
	switch q.op {
	case mount.List, mount.Scan:
		if !strings.HasSuffix(q.path, "/") {
			q.path += "/"
		}
	case mount.Update, mount.Patch:
		if strings.HasSuffix(q.path, "/") {
			return fault.New(fault.Invalid, "cannot write to a path ending in '/'")
		}
	}
	return nil
}

// checkPath refuses what no client means and a storage could misunderstand.
func checkPath(path string) error {
	if !utf8.ValidString(path) {
		return fault.New(fault.Invalid, "the path is not UTF-8")
	}
	begin := 0
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if path[i] < ' ' || path[i] == 0x7f {
				return fault.New(fault.Invalid, "the path has a control character at byte %d", i)
			}
			continue
		}
		segment := path[begin:i]
		if segment == "." || segment == ".." {
			return fault.New(fault.Invalid, "the path has a relative segment (%q); name the path in full", segment)
		}
		if segment == "" && i < len(path) {
			return fault.New(fault.Invalid, "the path has an empty segment (two slashes in a row, or one in front); name the path without")
		}
		begin = i + 1
	}
	return nil
}

// operation derives from the method, and from ?list= and ?scan=, what is to be done.
func (q *request) operation() error {
	list, err := q.flag("list")
	if err != nil {
		return err
	}
	scan, err := q.flag("scan")
	if err != nil {
		return err
	}
	switch q.http.Method {
	case http.MethodGet:
		if q.help, err = q.flag("help"); err != nil {
			return err
		}
		switch {
		case list && scan:
			return errBadParam
		case list:
			q.op = mount.List
		case scan:
			q.op = mount.Scan
		}
	case http.MethodHead:
	case "LIST":
		q.op = mount.List
	case "SCAN":
		q.op = mount.Scan
	case http.MethodPost, http.MethodPut:
		q.op = mount.Update
	case http.MethodPatch:
		q.op = mount.Patch
	case http.MethodDelete:
		q.op = mount.Delete
	case "HELP":
		q.help = true
	default:
		return errNoMethod
	}
	return nil
}

// flag reads a boolean parameter; an empty one is false.
func (q *request) flag(name string) (bool, error) {
	if q.query == nil {
		return false, nil
	}
	v := q.query.Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, errBadParam
	}
	return b, nil
}

// readToken takes the token from the headers. X-Vault-Token wins; the word Bearer is case-sensitive.
func (q *request) readToken() {
	if q.token = q.http.Header.Get("X-Vault-Token"); q.token != "" {
		return
	}
	if bearer, ok := strings.CutPrefix(q.http.Header.Get("Authorization"), "Bearer "); ok {
		q.token = bearer
	}
}

// checkHeaders answers headers that ask for what is not there: silence would be a promise.
func (q *request) checkHeaders() error {
	if err := q.checkNamespace(); err != nil {
		return err
	}
	return q.readWrapTTL()
}

// checkNamespace knows the root namespace alone. What anybody may ask at any time is answered in every one.
func (q *request) checkNamespace() error {
	name := q.http.Header.Get("X-Vault-Namespace")
	if name == "" {
		return nil
	}
	q.out.Header().Set("X-Vault-Namespace", name)
	if clean := strings.Trim(name, "/"); clean == "" || clean == "root" {
		return nil
	}
	if q.route.Access == anybodyAlways && !q.route.Lifecycle {
		return nil
	}
	if q.route.Lifecycle {
		return fault.New(fault.Invalid, "operation unavailable in namespaces")
	}
	return fault.New(fault.NotFound, "namespace not found")
}
