package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// Prefixes of paths that have a table of their own.
const (
	AuthPath  = "auth/"
	tokenPath = "auth/token/" // a built-in auth method, whose paths are routes
)

// mounted says where a path is mounted.
type mounted struct {
	known   bool
	backend mount.Backend
	entry   mount.Entry // its path starts with "auth/" for an auth method
	rest    string      // of the path, below the mount
	found   any         // see mount.Finder
	err     error
}

// Locate returns the mount of a path that is not in the table of routes. An attempt looks it up
// once, so that all of its steps speak of the same mount; [Request.Relocate] looks it up again.
func (q *Request) Locate() (mount.Backend, mount.Entry, string, error) {
	if !q.mounted.known {
		q.mounted = q.lookUp()
	}
	return q.mounted.backend, q.mounted.entry, q.mounted.rest, q.mounted.err
}

// Relocate waits for a change of the mounts to end, and forgets what [Request.Locate] has found.
func (q *Request) Relocate() {
	q.mounted = mounted{}
	if strings.HasPrefix(q.Path, AuthPath) {
		q.Role.AuthMethods().Settle()
		return
	}
	q.Role.Mounts().Settle()
}

func (q *Request) lookUp() mounted {
	m := mounted{known: true}
	rest, ok := strings.CutPrefix(q.Path, AuthPath)
	if !ok {
		m.backend, m.entry, m.rest, m.err = q.Role.Mounts().Route(q.Path)
		return m
	}
	m.backend, m.entry, m.rest, m.err = q.Role.AuthMethods().Route(rest)
	if fault.Is(m.err, fault.NotFound) && m.entry.Path == "" {
		m.err = fault.New(fault.NotFound, "no handler for route %q. route entry not found.", q.Path)
	}
	if m.entry.Path != "" {
		m.entry.Path = AuthPath + m.entry.Path
	}
	return m
}

// IsLogin reports whether the auth method answers the path without a token.
func (q *Request) IsLogin() bool {
	if q.Route.Access != ByMethod {
		return false
	}
	backend, _, rest, err := q.Locate()
	if err != nil {
		return false
	}
	o, ok := backend.(mount.UnauthenticatedPaths)
	return ok && o.Open(q.Op, rest)
}

// backend lets the path's secrets engine answer. Where its mount changed meanwhile, the request is
// routed again: a client never notices that a mount is tuned.
func backend(ctx context.Context, _ *Handler, q *Request) (*Answer, error) {
	var data map[string]any
	var err error
	switch q.Op {
	case mount.Patch:
		if err := q.CheckPatchType(); err != nil {
			return nil, err
		}
		fallthrough
	case mount.Create, mount.Update:
		if data, err = q.Object(); err != nil {
			return nil, err
		}
	}
	for {
		backend, _, rest, err := q.Locate()
		if err != nil {
			return nil, err
		}
		r := &mount.Request{Operation: q.Op, Path: rest, Data: data, Query: q.Query, Identity: q.Identity,
			Found: q.mounted.found}
		a, err := backend.Handle(ctx, r)
		if err == nil && a != nil && q.Op == mount.Patch && a.Status == http.StatusNotFound && a.Data == nil {
			return &Answer{Status: http.StatusNotFound}, nil // as in Vault: nothing is patched, and the body is empty
		}
		if err == nil {
			return BackendAnswer(a)
		}
		if !errors.Is(err, mount.ErrChanged) || ctx.Err() != nil {
			return nil, err
		}
		q.Relocate()
	}
}

// BackendAnswer converts what a backend answers.
func BackendAnswer(a *mount.Response) (*Answer, error) {
	switch {
	case a == nil:
		return nil, nil
	case a.Status == http.StatusNotFound && a.Data == nil && a.Warnings == nil:
		return nil, bare(http.StatusNotFound)
	}
	return &Answer{Status: a.Status, Data: a.Data, Lease: a.LeaseDuration, Warnings: a.Warnings}, nil
}

// InTable reports whether a path is in the table of routes or unsupported, rather than in a secrets
// engine.
func InTable(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "sys" || first == "auth"
}
