package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// locate finds the backend of a path outside of the table of routes.
func (q *Request) Locate() (mount.Backend, mount.Entry, string, error) {
	rest, ok := strings.CutPrefix(q.Path, AuthPath)
	if !ok {
		return q.State.Mounts().Route(q.Path)
	}
	backend, m, rest, err := q.State.AuthMethods().Route(rest)
	if fault.Is(err, fault.NotFound) && m.Path == "" {
		err = fault.New(fault.NotFound, "no handler for route %q. route entry not found.", q.Path)
	}
	if m.Path != "" {
		m.Path = AuthPath + m.Path
	}
	return backend, m, rest, err
}

// open reports whether a request is a login: no token is looked at.
func (q *Request) Open() bool {
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

const AuthPath = "auth/"

// backend hands a request to the mount that its path is in. Where the mount was changed while the request was under way, it is routed
// again: a client never learns that somebody tuned a mount.
func backend(ctx context.Context, h *Handler, q *Request) (*Answer, error) {
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
		backend, _, rest, err := q.State.Mounts().Route(q.Path)
		if err != nil {
			return nil, err
		}
		a, err := backend.Handle(ctx, &mount.Request{Operation: q.Op, Path: rest, Data: data, Query: q.Query, Identity: q.Identity})
		if err == nil {
			return BackendAnswer(a)
		}
		if !errors.Is(err, mount.ErrChanged) || ctx.Err() != nil {
			return nil, err
		}
		q.State.Mounts().Settle()
	}
}

// backendAnswer gives what a backend answers its form.
func BackendAnswer(a *mount.Response) (*Answer, error) {
	switch {
	case a == nil:
		return nil, nil
	case a.Status == http.StatusNotFound && a.Data == nil && a.Warnings == nil:
		return nil, bare(http.StatusNotFound)
	}
	return &Answer{Status: a.Status, Data: a.Data, Lease: a.LeaseDuration, Warnings: a.Warnings}, nil
}

// ours reports whether a path is in the table or nowhere, rather than behind a mount.
func InTable(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return first == "sys" || first == "auth"
}

const tokenPath = "auth/token/"
