package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/mount"
)

// Routes that are not in the table because their paths are not fixed.
var (
	// inEngine is the route of all paths in secrets engines. The capability follows from the
	// operation.
	inEngine = Route{Body: AnyBody, Mount: true, Handle: backend}
	// nothing is the route of unsupported paths below sys/ and auth/. Without a token a client does
	// not learn which paths exist.
	nothing = Route{Here: true, Guarded: true, Handle: func(context.Context, *Handler, *Request) (*Answer, error) {
		return nil, ErrNoPath
	}}
	// wrongMethod is the route of supported paths with another operation.
	wrongMethod = Route{Here: true, Guarded: true, Handle: func(context.Context, *Handler, *Request) (*Answer, error) {
		return nil, ErrUnsupported
	}}
)

// table finds routes.
type table struct {
	exact  map[string]map[string]*Route // path, method
	prefix map[string]map[string]*Route // path up to the slash before "*", method
	open   map[*Route]*Route            // the routes that a listener may open, without authorisation
}

func newTable(all []Route) *table {
	t := &table{exact: map[string]map[string]*Route{}, prefix: map[string]map[string]*Route{}, open: map[*Route]*Route{}}
	for i := range all {
		r := &all[i]
		in, path := t.exact, r.Path
		if before, star := strings.CutSuffix(path, "*"); star {
			if !strings.HasSuffix(before, "/") {
				panic("api: the route " + path + " has no slash before its *")
			}
			in, path = t.prefix, before
		}
		if in[path] == nil {
			in[path] = map[string]*Route{}
		}
		for _, method := range r.Methods {
			in[path][method] = r
		}
		if r.Switch == MetricsSwitch || r.Switch == InFlightSwitch || r.Switch == ProfileSwitch {
			open := *r
			open.Access, open.Capability, open.Sudo = AlwaysOpen, 0, false
			t.open[r] = &open
		}
	}
	return t
}

// methods returns the routes of a path by method: those of the path itself, else those of its
// longest prefix.
func (t *table) methods(path string) (methods map[string]*Route, rest string) {
	if m := t.exact[strings.TrimSuffix(path, "/")]; m != nil {
		return m, ""
	}
	for end := strings.LastIndexByte(path, '/'); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		if m := t.prefix[path[:end+1]]; m != nil && end+1 < len(path) {
			return m, path[end+1:]
		}
	}
	return nil, ""
}

// find chooses the request's route. It returns an error for a lifecycle path with a method that it
// does not have.
func (t *table) find(q *Request, login *Route) error {
	if !InTable(q.Path) {
		q.Route = &inEngine
		return nil
	}
	methods, rest := t.methods(q.Path)
	q.Rest = rest
	if methods == nil {
		q.Route = &nothing
		if rest, ok := strings.CutPrefix(q.Path, AuthPath); ok && rest != "" && !strings.HasPrefix(q.Path, tokenPath) {
			q.Route = login
		}
		return nil
	}
	if q.Route = methods[q.method()]; q.Route != nil {
		return nil
	}
	q.Route = slices.MinFunc(slices.Collect(maps.Values(methods)),
		func(a, b *Route) int { return int(b.Access) - int(a.Access) })
	if q.Route.Lifecycle || q.Route.Access == AlwaysOpen {
		return errNoMethod
	}
	if q.Route.Access == WithToken {
		q.Route = &wrongMethod
		return nil
	}
	return ErrUnsupported
}

// method returns the method under which the table has the operation.
func (q *Request) method() string {
	switch q.Op {
	case mount.Read:
		return "GET"
	case mount.Create, mount.Update:
		return "PUT"
	case mount.Delete:
		return "DELETE"
	}
	return strings.ToUpper(q.Op.String())
}
