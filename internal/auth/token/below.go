package token

import "context"

// AllowsBelow reports whether who was identified may do anything at all at a folder, named with the slash at its end, or below it. It is
// no use of the token.
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
