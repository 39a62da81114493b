package token

import (
	"context"
	"slices"
	"strings"
	"time"
)

// LoginRequest is a token for somebody who has proven to an auth method who he is. It has no parent. Zero values are what Vault does
// where nothing is said.
type LoginRequest struct {
	Path        string // of the request: "auth/userpass/login/alice"
	DisplayName string // as it is: "userpass-alice"
	Policies    []string
	NoDefault   bool
	Meta        map[string]string
	TTL         time.Duration
	Max         time.Duration // renewals end there, unless it is periodic
	ExplicitMax time.Duration // renewals end there
	Period      time.Duration
	Uses        int64
	Batch       bool
	Networks    []string // CIDRs
}

// Login makes a token for a login. Errors are of kind [fault.Invalid].
func (s *Store) Login(ctx context.Context, req LoginRequest) (*Created, error) {
	t := &Token{
		Type: TypeService, Path: req.Path, Created: s.now(), Meta: req.Meta, DisplayName: req.DisplayName, Networks: req.Networks,
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
		t.Type, t.ExplicitMax = TypeBatch, 0 // it cannot be renewed, so nothing is lost
	}
	for _, step := range []func(context.Context) error{c.checkBatch, c.checkPolicies} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return c.store(ctx)
}

// DisplayName is what a token of an auth method is called: the mount's path and a name, joined by dashes.
func DisplayName(mount, name string) string {
	mount = strings.ReplaceAll(strings.Trim(mount, "/"), "/", "-")
	if name == "" {
		return mount
	}
	return mount + "-" + name
}
