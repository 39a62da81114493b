// Package jwt is the auth method for signed JSON web tokens (RFC 7519), such as platforms issue to
// workloads, and for login by browser with OpenID Connect.
//
// It guarantees that a token is accepted only with a valid signature by an asymmetric algorithm
// under a configured key, within its times, with the bound issuer and audience and all bound
// claims; that a role without a bound audience refuses a token with one; that fetching keys has a
// deadline, reads a bounded response and follows no redirect; and that keys are fetched again when
// they are old, and when a token names an unknown key, but not more often than every ten seconds.
//
// Login by browser (the authorization code flow) uses PKCE, a nonce, and an ID token for this
// client only; the client that started a login with a client_nonce must finish it; and a browser is
// redirected only to the role's redirect URIs.
//
// It does not remember tokens: a client can log in with one until it expires.
//
// Stays compatible: the records at "config", "state-key" and below "role/".
package jwt

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

const (
	configKey  = "config"
	rolePrefix = "role/"
)

// New is the [mount.Factory] of the type "jwt".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(method.Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "jwt" with a given clock.
func Factory(o method.Options) mount.Factory {
	o = o.WithDefaults()
	return func(store mount.Storage, _ mount.Entry) (mount.Backend, error) {
		return &backend{store: store, now: o.Now}, nil
	}
}

type backend struct {
	store   mount.Storage
	now     func() time.Time
	writing sync.Mutex

	mu      sync.Mutex
	fetched *fetcher                    // belongs to one configuration
	used    map[[sha256.Size]byte]int64 // used states and their expiry
}

// Open implements [mount.UnauthenticatedPaths].
func (d *backend) Open(_ mount.Operation, path string) bool {
	return path == "login" || path == "oidc/auth_url" || path == "oidc/callback"
}

// FoldedName implements [mount.NameFolder].
func (d *backend) FoldedName(path string) (start, end int) {
	return method.NameAfter(path, "role/")
}

// Exists implements [mount.ExistenceChecker].
func (d *backend) Exists(ctx context.Context, path string) (bool, error) {
	exists, known, err := method.Exists[role](ctx, d.store, path, "role/", rolePrefix)
	return exists || !known, err
}

// Handle implements [mount.Backend].
func (d *backend) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	first, rest, _ := strings.Cut(strings.TrimSuffix(r.Path, "/"), "/")
	switch {
	case r.Path == "login":
		if !method.IsWrite(r.Operation) {
			return nil, method.ErrUnsupported
		}
		return d.login(ctx, r)
	case r.Path == "config":
		return d.config(ctx, r)
	case first == "role" && rest == "":
		if r.Operation != mount.List {
			return nil, method.ErrUnsupported
		}
		return method.Keys(ctx, d.store, rolePrefix)
	case first == "role":
		return d.role(ctx, r, rest)
	case r.Path == "oidc/auth_url":
		return d.authURL(ctx, r)
	case r.Path == "oidc/callback":
		if r.Operation != mount.Read && !method.IsWrite(r.Operation) {
			return nil, method.ErrUnsupported
		}
		return d.callback(ctx, r)
	}
	return nil, method.ErrNoPath
}

// roles are the records of roles.
var roles = method.Record[role]{
	What: "role name", Prefix: rolePrefix, New: func(string) *role { return &role{} },
	Show: (*role).show, Read: (*role).read,
}

func (d *backend) role(ctx context.Context, r *mount.Request, name string) (*mount.Response, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	return roles.Handle(ctx, d.store, r, name)
}

const maxToken = 64 << 10

// login checks a token against a role.
func (d *backend) login(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	var token, name string
	f := field.Map(r.Data)
	if err := field.First(f.Text("jwt", &token), f.Text("role", &name)); err != nil {
		return nil, err
	}
	c, err := method.Load[settings](ctx, d.store, configKey)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, method.Invalid("could not load configuration: write config first, with the signing keys")
	}
	if name == "" {
		name = c.DefaultRole
	}
	switch {
	case name == "":
		return nil, method.Invalid("missing role")
	case token == "":
		return nil, method.Invalid("missing token")
	case len(token) > maxToken:
		return nil, method.Invalid("the token has %d bytes; at most %d are accepted", len(token), maxToken)
	}
	name = strings.ToLower(name)
	x, err := method.Load[role](ctx, d.store, rolePrefix+name)
	if err != nil {
		return nil, err
	}
	if x == nil {
		return nil, method.Invalid("role %q could not be found", name)
	}
	if x.Browser {
		return nil, method.Invalid("role with oidc role_type is not allowed: log in by browser, or write the role with " +
			"role_type=jwt")
	}
	if !method.Within(x.BoundCIDRs, r.Remote) {
		return nil, method.ErrOutside
	}
	claims, err := d.verify(ctx, c, token)
	if err != nil {
		return nil, err
	}
	if err := x.admit(c, claims, d.now()); err != nil {
		return nil, err
	}
	user, meta, err := x.describe(name, claims)
	if err != nil {
		return nil, err
	}
	return x.Login(user, meta), nil
}
