package token

import (
	"context"
	"slices"
	"strings"
	"time"
)

// LoginRequest describes the token of a client that an auth method has authenticated. It has no
// parent. Zero values mean Vault's defaults.
type LoginRequest struct {
	Path        string // of the request, such as "auth/userpass/login/alice"
	DisplayName string // complete: "userpass-alice"
	Policies    []string
	NoDefault   bool
	Meta        map[string]string
	TTL         time.Duration
	Max         time.Duration // limits renewals, unless the token is periodic
	ExplicitMax time.Duration // limits renewals
	Period      time.Duration
	Uses        int64
	Batch       bool
	Networks    []string // CIDRs
}

// Login creates a token for a login. Errors are [fault.Invalid].
func (s *Store) Login(ctx context.Context, req LoginRequest) (*Created, error) {
	t := &Token{
		Type: TypeService, Path: req.Path, Created: s.now(), Meta: req.Meta, DisplayName: req.DisplayName,
		Networks:  req.Networks,
		Renewable: true, Uses: req.Uses, Policies: final(clean(req.Policies), !req.NoDefault),
	}
	if slices.Contains(t.Policies, rootPolicy) {
		return nil, invalid("auth methods cannot create root tokens")
	}
	if slices.Contains(t.Policies, wrapPolicy) {
		return nil, invalid("cannot assign policy %q", wrapPolicy)
	}
	c := &creation{s: s, CreateRequest: CreateRequest{Path: req.Path, Uses: req.Uses}, token: t}
	t.TTL, t.Period, t.ExplicitMax = req.TTL, min(req.Period, MaxTTL), req.ExplicitMax
	if t.Period == 0 {
		t.ExplicitMax = smallestSet(min(req.Max, MaxTTL), req.ExplicitMax)
	}
	t.TTL = c.capped()
	t.Expires = t.Created.Add(t.TTL)
	if req.Batch {
		t.Type, t.ExplicitMax = TypeBatch, 0 // a batch token cannot be renewed, so the limit has no effect
	}
	for _, step := range []func(context.Context) error{c.checkBatch, c.checkPolicies} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c.store(ctx)
}

// DisplayName joins the mount's path and a name with dashes, as Vault does.
func DisplayName(mount, name string) string {
	mount = strings.ReplaceAll(strings.Trim(mount, "/"), "/", "-")
	if name == "" {
		return mount
	}
	return mount + "-" + name
}
