package token

import (
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// TokenLen is the length of a service token's text.
const TokenLen = len(tokenLead) + randomChars

// LongTokenLen is the length of a root token as Vault makes it from 1.10 on. Clients that read that
// version send one-time passwords of this length.
const LongTokenLen = len(longLead) + randomChars

const longLead = "hvs."

// MintRoot creates another root token, an orphan that does not expire, as a quorum of shares may.
// Its text is that of a service token, or, with a length of [LongTokenLen], "hvs." and as many
// random characters.
// It writes nothing: the operations go into the commit of the ceremony that authorised it, and the
// text is shown once.
func (s *Store) MintRoot(rnd io.Reader, now time.Time, length int) (token string, ops []storage.Op, err error) {
	if token, err = NewTokenText(rnd); err != nil {
		return "", nil, err
	}
	if length == LongTokenLen {
		token = longLead + token[len(tokenLead):]
	}
	h := s.hashers.Get().(*hasher)
	defer s.hashers.Put(h)
	ops, err = h.rootToken(rnd, now, token)
	return token, ops, err
}

// rootToken returns the operations that create a root token with a given text.
func (h *hasher) rootToken(rnd io.Reader, now time.Time, token string) ([]storage.Op, error) {
	accessor, err := base62(rnd, randomChars)
	if err != nil {
		return nil, err
	}
	record, err := (&Token{
		Type: TypeService, Accessor: accessor, DisplayName: "root", Path: "auth/token/root",
		Policies: []string{"root"}, Created: now,
	}).Marshal()
	if err != nil {
		return nil, fmt.Errorf("token: the root token's record: %w", err)
	}
	d, a := h.sum(purposeToken, token), h.sum(purposeAccessor, accessor)
	return []storage.Op{
		storage.Put(tokenKey(d), record),
		storage.Put(accessorPrefix+a.String(), marshalAccessor(d)),
	}, nil
}
