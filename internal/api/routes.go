package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/auth"
	"github.com/sealgate/sealgate/internal/doors"
)

// access says whose request a route answers, and when.
type access uint8

const (
	// withToken: the token is authorised for the route's capability; 503 while sealed.
	withToken access = iota
	// withTokenUnlessSealed: the same while unsealed; a sealed node looks at no token.
	withTokenUnlessSealed
	// anybody: no token is looked at; 503 while sealed.
	anybody
	// anybodyAlways: no token is looked at, sealed or not.
	anybodyAlways
)

var accessNames = [...]string{"token", "token unless sealed", "anybody unsealed", "anybody"}

// Sizes of bodies. Shares and settings are small; init may bring 255 PGP keys twice; a secret is bounded by the storage, and the listener's
// own limit is what counts.
const (
	noBody    = 0 // a body is ignored
	smallBody = 64 << 10
	initBody  = 8 << 20
	anyBody   = 1 << 40
)

type handle func(h *handler, ctx context.Context, q *request) (*answer, error)

// route is one line of the table: an operation on a path.
type route struct {
	Methods    []string // GET implies HEAD
	Path       string   // below /v1/; "*" at its end stands for a rest that is not empty
	Body       int64    // most bytes that are read
	Access     access
	Capability auth.Capability // on the path; see [auth.Need]
	Sudo       bool
	Style      style
	Lifecycle  bool // refused in namespaces; a wrong method gets 405 with no text
	Rekey      bool // not there where the listener says so
	handle     handle
}

var (
	get    = []string{"GET"}
	write  = []string{"PUT", "POST"}
	remove = []string{"DELETE"}
	both   = []string{"GET", "PUT", "POST"}
)

// routes is the table. A test pins it, and another makes every request to every line with every kind of token.
var routes = []route{
	{get, "sys/init", noBody, anybodyAlways, 0, false, bareStyle, true, false, (*handler).initStatus},
	{write, "sys/init", initBody, anybodyAlways, 0, false, bareStyle, true, false, (*handler).init},
	{get, "sys/seal-status", noBody, anybodyAlways, 0, false, bareStyle, false, false, (*handler).sealStatus},
	{write, "sys/unseal", smallBody, anybodyAlways, 0, false, bareStyle, true, false, (*handler).unseal},
	{write, "sys/seal", smallBody, withTokenUnlessSealed, auth.Update, true, bareStyle, true, false, (*handler).seal},
	{get, "sys/health", noBody, anybodyAlways, 0, false, bareStyle, true, false, (*handler).health},
	{get, "sys/leader", noBody, anybodyAlways, 0, false, bareStyle, false, false, (*handler).leader},
	{write, "sys/step-down", smallBody, withToken, auth.Update, true, bareStyle, true, false, (*handler).stepDown},

	{get, "sys/rekey/init", noBody, anybody, 0, false, bareStyle, true, true, (*handler).rekeyStatus},
	{write, "sys/rekey/init", initBody, withToken, auth.Update, false, bareStyle, true, true, (*handler).rekeyStart},
	{remove, "sys/rekey/init", smallBody, withToken, auth.Delete, false, bareStyle, true, true, (*handler).rekeyCancel},
	{write, "sys/rekey/update", smallBody, anybody, 0, false, bareStyle, true, true, (*handler).rekeyUpdate},
	{get, "sys/rekey-recovery-key/init", noBody, anybody, 0, false, bareStyle, true, true, (*handler).rekeyStatus},
	{write, "sys/rekey-recovery-key/init", initBody, withToken, auth.Update, false, bareStyle, true, true, (*handler).rekeyStart},
	{remove, "sys/rekey-recovery-key/init", smallBody, withToken, auth.Delete, false, bareStyle, true, true, (*handler).rekeyCancel},
	{write, "sys/rekey-recovery-key/update", smallBody, anybody, 0, false, bareStyle, true, true, (*handler).rekeyUpdate},

	{write, "sys/rotate", smallBody, withToken, auth.Update, true, doubleStyle, false, false, (*handler).rotate},
	{write, "sys/rotate/keyring", smallBody, withToken, auth.Update, true, doubleStyle, false, false, (*handler).rotate},
	{write, "sys/rotate/root", smallBody, withToken, auth.Update, true, envelopeStyle, false, false, (*handler).rotateRoot},
	{get, "sys/rotate/config", noBody, withToken, auth.Read, false, envelopeStyle, false, false, (*handler).rotationConfig},
	{write, "sys/rotate/config", smallBody, withToken, auth.Update, false, envelopeStyle, false, false, (*handler).setRotationConfig},
	{get, "sys/rotate/keyring/config", noBody, withToken, auth.Read, false, envelopeStyle, false, false, (*handler).rotationConfig},
	{write, "sys/rotate/keyring/config", smallBody, withToken, auth.Update, false, envelopeStyle, false, false, (*handler).setRotationConfig},
	{get, "sys/key-status", noBody, withToken, auth.Read, false, doubleStyle, false, false, (*handler).keyStatus},

	{get, "sys/mounts", noBody, withToken, auth.Read, false, doubleStyle, false, false, (*handler).mounts},
	{get, "sys/mounts/*", noBody, withToken, auth.Read, false, doubleStyle, false, false, (*handler).mount},
	{write, "sys/mounts/*", smallBody, withToken, auth.Update, false, doubleStyle, false, false, (*handler).enableMount},
	{remove, "sys/mounts/*", noBody, withToken, auth.Delete, false, doubleStyle, false, false, (*handler).disableMount},
	{get, "sys/internal/ui/mounts", noBody, anybody, 0, false, envelopeStyle, false, false, (*handler).visibleMounts},
	{get, "sys/internal/ui/mounts/*", noBody, anybody, 0, false, envelopeStyle, false, false, (*handler).preflight},

	{both, "auth/token/lookup-self", smallBody, withToken, auth.Read, false, envelopeStyle, false, false, (*handler).lookupSelf},
}

// Routes that are not in the table because their paths are not fixed.
var (
	// mounted is for whatever lies behind the table of mounts. The capability follows the operation.
	mounted = route{Body: anyBody, Access: withToken, Style: envelopeStyle, handle: (*handler).door}
	// nothing is for paths below sys/ and auth/ that are not there. A token is asked for first: who has none learns nothing.
	nothing = route{Access: withToken, Style: envelopeStyle, handle: func(*handler, context.Context, *request) (*answer, error) {
		return nil, errNoPath
	}}
	// wrongMethod is for paths that are there, with another operation.
	wrongMethod = route{Access: withToken, Style: envelopeStyle, handle: func(*handler, context.Context, *request) (*answer, error) {
		return nil, errUnsupported
	}}
)

// table finds routes.
type table struct {
	exact  map[string]map[string]*route // path, method
	prefix map[string]map[string]*route // path without the "*", method
}

func newTable(all []route) *table {
	t := &table{exact: map[string]map[string]*route{}, prefix: map[string]map[string]*route{}}
	for i := range all {
		in, path := t.exact, all[i].Path
		if before, star := strings.CutSuffix(path, "*"); star {
			in, path = t.prefix, before
		}
		if in[path] == nil {
			in[path] = map[string]*route{}
		}
		for _, method := range all[i].Methods {
			in[path][method] = &all[i]
		}
	}
	return t
}

// find chooses the request's route. The error is that of a lifecycle path with a method that it does not have.
func (t *table) find(q *request) error {
	if !ours(q.path) {
		q.route = &mounted
		return nil
	}
	methods := t.exact[q.path]
	if methods == nil {
		methods = t.exact[strings.TrimSuffix(q.path, "/")]
	}
	if methods == nil {
		for prefix, m := range t.prefix {
			if rest, ok := strings.CutPrefix(q.path, prefix); ok && rest != "" {
				methods, q.rest = m, rest
			}
		}
	}
	if methods == nil {
		q.route = &nothing
		return nil
	}
	if q.route = methods[q.method()]; q.route != nil {
		return nil
	}
	q.route = slices.MinFunc(slices.Collect(maps.Values(methods)), func(a, b *route) int { return int(b.Access) - int(a.Access) })
	if q.route.Lifecycle || q.route.Access == anybodyAlways {
		return errNoMethod
	}
	if q.route.Access == withToken {
		q.route = &wrongMethod
		return nil
	}
	return errUnsupported
}

// ours reports whether a path is in the table or nowhere, rather than behind a mount.
func ours(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "sys" || first == "auth"
}

// method is the one under which the table has the operation.
func (q *request) method() string {
	switch q.op {
	case doors.Read:
		return "GET"
	case doors.Create, doors.Update:
		return "PUT"
	case doors.Delete:
		return "DELETE"
	}
	return q.op.String()
}
