package authn

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/limits"
	"github.com/sealgate/sealgate/internal/mount"
)

// AuthMounted is the route of all paths of auth methods. Logins need no token; other operations
// need their capability.
var AuthMounted = api.Route{Body: api.KeyBody, Access: api.ByMethod, Mount: true, Guarded: true, Handle: method}

// method lets an auth method answer, and issues a token for a login.
func method(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var data map[string]any
	if q.Op == mount.Create || q.Op == mount.Update || q.Op == mount.Delete {
		var err error
		if data, err = q.Object(); err != nil {
			return nil, err
		}
	}
	for {
		backend, m, rest, err := q.Locate()
		if err != nil {
			return nil, err
		}
		r := &mount.Request{
			Operation: q.Op, Path: rest, Data: data, Query: q.Query, Identity: q.Identity,
			Remote: q.HTTP.RemoteAddr, TLS: q.HTTP.TLS,
		}
		a, err := guarded(ctx, h, backend, m, r, q.IsLogin())
		switch {
		case err == nil && a != nil && a.Login != nil:
			return loggedIn(ctx, h, q, m, a)
		case err == nil:
			return api.BackendAnswer(a)
		case !errors.Is(err, mount.ErrChanged) || ctx.Err() != nil:
			return nil, err
		}
		q.Relocate()
	}
}

// guarded refuses a login for a name that is locked out, and counts wrong credentials.
func guarded(ctx context.Context, h *api.Handler, backend mount.Backend, m mount.Entry, r *mount.Request,
	login bool) (*mount.Response, error) {
	named, ok := backend.(mount.AliasLookup)
	if !ok || !login {
		return backend.Handle(ctx, r)
	}
	alias, err := named.Alias(ctx, r)
	if err != nil {
		return nil, err
	}
	l := &h.Shared.Lockouts
	settings := limits.EffectiveLockout(m.Config.Lockout, h.Lockout[m.Type], h.Lockout["all"])
	if settings.Disable || alias == "" {
		return backend.Handle(ctx, r)
	}
	leave, allowed, err := l.Enter(ctx, m.Accessor, alias, settings, h.Now)
	if err != nil {
		return nil, err
	}
	if !allowed {
		return nil, fault.New(fault.Denied, "permission denied")
	}
	defer leave()
	a, err := backend.Handle(ctx, r)
	switch {
	case errors.Is(err, mount.ErrCredentials):
		if l.Failed(m.Accessor, alias, settings, h.Now()) {
			h.Log.Warn("a name is locked out after too many wrong credentials",
				"mount", m.Path, "for", time.Duration(settings.Duration)*time.Second)
		}
	case err == nil:
		l.Clear(m.Accessor, alias)
	}
	return a, err
}

// loggedIn issues the token of a login.
func loggedIn(ctx context.Context, h *api.Handler, q *api.Request, m mount.Entry,
	a *mount.Response) (*api.Answer, error) {
	in := a.Login
	lease, most := m.Config.Effective()
	req := token.LoginRequest{
		Path: q.Path, DisplayName: token.DisplayName(strings.TrimPrefix(m.Path, api.AuthPath), in.DisplayName),
		Policies:  in.Policies,
		NoDefault: in.NoDefault, Meta: in.Meta, TTL: in.TTL, Max: time.Duration(most) * time.Second,
		ExplicitMax: in.ExplicitMax,
		Period:      in.Period, Uses: in.Uses, Batch: isBatch(in.Type, m.Config.TokenType), Networks: in.Networks,
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
	made, err := q.Role.Tokens().Login(ctx, req)
	if err != nil {
		return nil, err
	}
	// Disabling a method revokes the tokens that exist then. This one may have been issued too late
	// for that.
	if still, ok := q.Role.AuthMethods().Get(strings.TrimPrefix(m.Path, api.AuthPath)); !ok || still.UUID != m.UUID {
		if err := q.Role.Tokens().Revoke(ctx, made.Text); err != nil && !fault.Is(err, fault.Denied) && !req.Batch {
			return nil, err
		}
		return nil, mount.ErrChanged
	}
	out := granted(h, made.Token, made.Text, append(a.Warnings, made.Warnings...))
	out.Created = true
	return out, nil
}

// isBatch decides the type of a token: a mount with type "service" or "batch" decides, else its
// role.
func isBatch(role, mount string) bool {
	switch {
	case mount == "service" || mount == "batch":
		return mount == "batch"
	case role == "":
		return mount == "default-batch"
	}
	return role == "batch" || role == "default-batch"
}
