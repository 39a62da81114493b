package api

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/mount"
)

// authMounted is for whatever lies behind the table of auth methods. Their logins are open to anybody, the rest needs the capability that
// follows from the operation.
var authMounted = route{Body: keyBody, Access: asMethod, Mount: true, Guarded: true, Handle: (*handler).method}

// locate finds the backend of a path outside of the table of routes.
func (q *request) locate() (mount.Backend, mount.Entry, string, error) {
	rest, ok := strings.CutPrefix(q.path, authPath)
	if !ok {
		return q.state.Mounts().Route(q.path)
	}
	backend, m, rest, err := q.state.AuthMethods().Route(rest)
	if fault.Is(err, fault.NotFound) && m.Path == "" {
		err = fault.New(fault.NotFound, "no handler for route %q. route entry not found.", q.path)
	}
	if m.Path != "" {
		m.Path = authPath + m.Path
	}
	return backend, m, rest, err
}

// open reports whether a request is a login: no token is looked at.
func (q *request) open() bool {
	if q.route.Access != asMethod {
		return false
	}
	backend, _, rest, err := q.locate()
	if err != nil {
		return false
	}
	o, ok := backend.(mount.UnauthenticatedPaths)
	return ok && o.Open(q.op, rest)
}

// method hands a request to an auth method, and gives a token to whoever has proven who he is.
func (h *handler) method(ctx context.Context, q *request) (*answer, error) {
	var data map[string]any
	if q.op == mount.Create || q.op == mount.Update || q.op == mount.Delete {
		var err error
		if data, err = q.object(); err != nil {
			return nil, err
		}
	}
	for {
		backend, m, rest, err := q.locate()
		if err != nil {
			return nil, err
		}
		r := &mount.Request{
			Operation: q.op, Path: rest, Data: data, Query: q.query, Identity: q.identity, Remote: q.http.RemoteAddr, TLS: q.http.TLS,
		}
		a, err := h.guarded(ctx, backend, m, r, q.open())
		switch {
		case err == nil && a != nil && a.Login != nil:
			return h.loggedIn(ctx, q, m, a)
		case err == nil:
			return backendAnswer(a)
		case !errors.Is(err, mount.ErrChanged) || ctx.Err() != nil:
			return nil, err
		}
		q.state.AuthMethods().Settle()
	}
}

// guarded lets the backend answer, unless a login is for somebody who is locked out, and counts what comes of it.
func (h *handler) guarded(ctx context.Context, backend mount.Backend, m mount.Entry, r *mount.Request, login bool) (*mount.Response, error) {
	named, ok := backend.(mount.AliasLookup)
	if !ok || !login {
		return backend.Handle(ctx, r)
	}
	alias, err := named.Alias(ctx, r)
	if err != nil {
		return nil, err
	}
	l := &h.Shared.lockouts
	settings := limits.EffectiveLockout(m.Config.Lockout, h.Lockout[m.Type], h.Lockout["all"])
	if settings.Disable || alias == "" {
		return backend.Handle(ctx, r)
	}
	if l.Locked(m.Accessor, alias, h.Now()) {
		return nil, fault.New(fault.Denied, "permission denied")
	}
	a, err := backend.Handle(ctx, r)
	switch {
	case errors.Is(err, mount.ErrCredentials):
		if l.Failed(m.Accessor, alias, settings, h.Now()) {
			h.Log.Warn("somebody has given wrong credentials too often and is locked out",
				"mount", m.Path, "for", time.Duration(settings.Duration)*time.Second)
		}
	case err == nil:
		l.Clear(m.Accessor, alias)
	}
	return a, err
}

// loggedIn makes the token of a login.
func (h *handler) loggedIn(ctx context.Context, q *request, m mount.Entry, a *mount.Response) (*answer, error) {
	in := a.Login
	lease, most := m.Config.Effective()
	req := token.LoginRequest{
		Path: q.path, DisplayName: token.DisplayName(strings.TrimPrefix(m.Path, authPath), in.DisplayName), Policies: in.Policies,
		NoDefault: in.NoDefault, Meta: in.Meta, TTL: in.TTL, Max: time.Duration(most) * time.Second, ExplicitMax: in.ExplicitMax,
		Period: in.Period, Uses: in.Uses, Batch: isBatch(in.Type, m.Config.TokenType), Networks: in.Networks,
	}
	if req.TTL == 0 {
		req.TTL = time.Duration(lease) * time.Second
		if in.MaxTTL > 0 {
			req.TTL = min(req.TTL, in.MaxTTL)
		}
	}
	if in.MaxTTL > 0 {
		req.Max = min(req.Max, in.MaxTTL)
	}
	made, err := q.state.Tokens().Login(ctx, req)
	if err != nil {
		return nil, err
	}
	// Whoever disables a method ends the tokens that are there then. This one may have come too late for that.
	if still, ok := q.state.AuthMethods().Get(strings.TrimPrefix(m.Path, authPath)); !ok || still.UUID != m.UUID {
		if err := q.state.Tokens().Revoke(ctx, made.Text); err != nil && !fault.Is(err, fault.Denied) && !req.Batch {
			return nil, err
		}
		return nil, mount.ErrChanged
	}
	out := h.granted(made.Token, made.Text, append(a.Warnings, made.Warnings...))
	out.created = true
	return out, nil
}

// isBatch decides the type of a token: a mount that says "service" or "batch" decides for all, then its role does.
func isBatch(role, mount string) bool {
	switch {
	case mount == "service" || mount == "batch":
		return mount == "batch"
	case role == "":
		return mount == "default-batch"
	}
	return role == "batch" || role == "default-batch"
}
