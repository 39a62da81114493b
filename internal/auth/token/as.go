package token

import (
	"context"
	"slices"

	"github.com/sealgate/sealgate/internal/fault"
)

// As authorises a caller that another protocol has authenticated, by the policies that are
// configured for it, and returns the names of those that allow the request. An error is a
// [fault.Denied] where none does. The root policy is refused: only a root token has it.
func As(ctx context.Context, s *Store, policies []string, need Need) (granting []string, err error) {
	if slices.Contains(policies, rootPolicy) {
		return nil, fault.New(fault.Denied, "the root policy needs a root token; configure another policy")
	}
	grant, ok, err := s.allows(ctx, &entry{token: &Token{Policies: policies}}, need)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errForbidden
	}
	return grant.Granting(need.Capability), nil
}
