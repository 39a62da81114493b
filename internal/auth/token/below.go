package token

import "context"

// AllowsBelow reports whether the identity has any capability on a folder, named with a trailing
// slash, or anywhere below it. It does not count as a use of the token.
func (s *Store) AllowsBelow(ctx context.Context, who Identity, folder string) (bool, error) {
	if who.entry == nil {
		return false, nil
	}
	if who.Root {
		return true, nil
	}
	acl, err := s.rules(ctx, who.entry)
	if err != nil {
		return false, err
	}
	return acl.Below(folder), nil
}
