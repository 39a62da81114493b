package token

import (
	"context"
	"net/netip"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
)

// Capability is a set of the things a policy can allow on a path.
type Capability = policy.Capability

// The capabilities, by Vault's names.
const (
	Create = policy.Create
	Read   = policy.Read
	Update = policy.Update
	Delete = policy.Delete
	List   = policy.List
	Patch  = policy.Patch
	Scan   = policy.Scan
	Sudo   = policy.Sudo
	Deny   = policy.Deny
)

// Parameters are the fields of a request, for policies that speak of them.
type Parameters = policy.Parameters

// Need is what a request asks for.
type Need struct {
	Path       string        // without "/v1/"; of a list or scan with the slash at its end
	Capability Capability    // any one of these is enough
	Sudo       bool          // Capability is not enough: the path is one of Vault's root paths
	WrapTTL    time.Duration // how long the answer is to be wrapped; 0: not at all
	Parameters Parameters    // nil: none
	Remote     string        // who asks: "192.0.2.1:1234"; of a unix socket "@" or ""
}

// Authorize is the one point at which a request with a token is allowed or refused. It tells who asks, and counts as one use of the
// token, refused or not. Who calls it calls [Store.Finish] when the request is over.
//
// An error is a [fault.Denied] with Vault's two texts: "permission denied" where the token is missing or
// unknown, and the same in two lines where it is known and its policies do not allow what is needed.
func (s *Store) Authorize(ctx context.Context, token string, need Need) (Identity, error) {
	e, err := s.find(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if len(e.token.Networks) > 0 && !within(e.token.Networks, need.Remote) {
		return Identity{}, errDenied
	}
	if e.token.Uses != 0 {
		if e, err = s.use(ctx, e.digest); err != nil {
			return Identity{}, err
		}
	}
	grant, ok, err := s.allows(ctx, e, need)
	if err == nil && !ok {
		err = errForbidden
	}
	if err != nil {
		s.Finish(ctx, e.identity)
	}
	who := e.identity
	who.grant, who.granted = grant, need.Capability
	return who, err
}

// Grant is what allowed the request that the identity was authorised for; nil for root, for who was only identified, and where nothing did.
func (i Identity) Grant() *policy.Grant { return i.grant }

// Granting lists the policies that allowed it.
func (i Identity) Granting() []string {
	if i.Root {
		return rootOnly
	}
	return i.grant.Granting(i.granted)
}

var rootOnly = []string{rootPolicy}

// Allows reports whether who was identified may do this. It is no use of the token.
func (s *Store) Allows(ctx context.Context, who Identity, need Need) (bool, error) {
	if who.entry == nil {
		return false, nil
	}
	_, ok, err := s.allows(ctx, who.entry, need)
	return ok, err
}

// HasSudo reports whether who was identified holds sudo on a path, or is root.
func (s *Store) HasSudo(ctx context.Context, who Identity, path string) (bool, error) {
	return s.Allows(ctx, who, Need{Path: path, Capability: Sudo})
}

func (s *Store) allows(ctx context.Context, e *entry, need Need) (*policy.Grant, bool, error) {
	if e.identity.Root {
		return nil, true, nil
	}
	acl, err := s.rules(ctx, e)
	if err != nil {
		return nil, false, err
	}
	g, err := acl.Allow(policy.Ask{
		Path: need.Path, Capability: need.Capability, Sudo: need.Sudo, WrapTTL: need.WrapTTL, Parameters: need.Parameters,
	})
	return g, g != nil, err
}

// Capabilities gives what the bearer of a token may do on a path. Root has no bits: ask Identity.Root.
func (s *Store) Capabilities(ctx context.Context, who Identity, path string) (Capability, error) {
	acl, err := s.rules(ctx, who.entry)
	if err != nil {
		return 0, err
	}
	return acl.Capabilities(path), nil
}

// Paths lists what the policies of a token that is not root's allow: on paths, and on patterns without the "*" at their end.
func (s *Store) Paths(ctx context.Context, who Identity) (exact, wild map[string]Capability, err error) {
	acl, err := s.rules(ctx, who.entry)
	if err != nil {
		return nil, nil, err
	}
	exact, wild = acl.Paths()
	return exact, wild, nil
}

// within reports whether an address lies in one of the networks. Whoever cannot be placed is outside.
func within(networks []string, remote string) bool {
	var addr netip.Addr
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		addr = ap.Addr().Unmap().WithZone("")
	}
	for _, n := range networks {
		if p, err := netip.ParsePrefix(n); err == nil && p.Contains(addr) {
			return true
		}
	}
	return false
}
