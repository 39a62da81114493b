package token

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
)

// Capability is a set of operations that a policy allows on a path.
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

// Parameters are the fields of a request, which policies can restrict.
type Parameters = policy.Parameters

// Need describes the access that a request needs.
type Need struct {
	Path       string        // without "/v1/"; with a trailing slash for list and scan
	Fold       int           // the length of the path before a name without case; 0: it has none
	Capability Capability    // any one of these suffices
	Sudo       bool          // sudo is needed too: the path is one of Vault's root-protected paths
	WrapTTL    time.Duration // of the wrapped response; 0: not wrapped
	Parameters Parameters    // nil: none
	Remote     string        // the client's address: "192.0.2.1:1234"; for a unix socket "@" or ""
}

// Authorize is the one point at which a request with a token is allowed or refused. It returns the
// identity and counts as one use of the token, refused or not. The caller calls [Store.Finish] when
// the request is over.
//
// An error is a [fault.Denied] with one of Vault's two texts: "permission denied" if the token is
// missing or unknown, and the two-line form if it is known and its policies do not allow the
// request.
func (s *Store) Authorize(ctx context.Context, token string, need Need) (Identity, error) {
	e, err := s.find(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if len(e.token.Networks) > 0 && !Within(e.token.Networks, need.Remote) {
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

// Grant returns the rule that allowed the authorised request; nil for root, for an identity that
// was not authorised, and for a refusal.
func (i Identity) Grant() *policy.Grant { return i.grant }

// Granting lists the policies that allowed the request.
func (i Identity) Granting() []string {
	if i.Root {
		return rootOnly
	}
	return i.grant.Granting(i.granted)
}

var rootOnly = []string{rootPolicy}

// Allows reports whether the identity has the needed access. It does not count as a use of the
// token.
func (s *Store) Allows(ctx context.Context, who Identity, need Need) (bool, error) {
	if who.entry == nil {
		return false, nil
	}
	_, ok, err := s.allows(ctx, who.entry, need)
	return ok, err
}

// HasSudo reports whether the identity holds sudo on a path, or is root.
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
		Path: need.Path, Fold: need.Fold, Capability: need.Capability, Sudo: need.Sudo, WrapTTL: need.WrapTTL,
		Parameters: need.Parameters,
	})
	return g, g != nil, err
}

// Capabilities returns the capabilities of an identity on a path. Root has none set: check
// Identity.Root.
func (s *Store) Capabilities(ctx context.Context, who Identity, path string) (Capability, error) {
	acl, err := s.rules(ctx, who.entry)
	if err != nil {
		return 0, err
	}
	return acl.Capabilities(path), nil
}

// Paths lists what the policies of a non-root token allow: on exact paths, and on prefixes.
func (s *Store) Paths(ctx context.Context, who Identity) (exact, wild map[string]Capability, err error) {
	acl, err := s.rules(ctx, who.entry)
	if err != nil {
		return nil, nil, err
	}
	exact, wild = acl.Paths()
	return exact, wild, nil
}
