package token

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Errors of renewing, with Vault's texts.
var (
	errBatchRenew   = fault.New(fault.Invalid, "batch tokens cannot be renewed")
	errRootRenew    = fault.New(fault.Invalid, "invalid lease ID")
	errNotRenewable = fault.New(fault.Invalid, "lease is not renewable")
)

// Renew extends a token's life: by its period if it has one, otherwise by the increment, or by its
// initial TTL if the increment is 0; never beyond the maximum TTL counted from its creation. It
// returns the token as it is now, with warnings if it got less than it asked for.
func (s *Store) Renew(ctx context.Context, who Identity, increment time.Duration) (Identity, []string, error) {
	if who.entry == nil {
		return who, nil, errDenied
	}
	if who.entry.token.Type == TypeBatch {
		return who, nil, errBatchRenew
	}
	defer s.meters.renew.Since(time.Now())
	d := who.entry.digest
	l := s.lock(d)
	l.Lock()
	defer l.Unlock()
	e, err := s.read(ctx, d)
	if err != nil {
		return who, nil, err
	}
	if err := s.living(ctx, e); err != nil && e.token.Uses >= 0 {
		return who, nil, err
	}
	switch {
	case e.token.Expires.IsZero():
		return who, nil, errRootRenew
	case !e.token.Renewable:
		return who, nil, errNotRenewable
	}
	now := s.now()
	t := *e.token
	ttl, warnings := t.renewal(now, increment)
	t.Expires, t.Renewed = now.Add(ttl), now
	var more []storage.Op
	if before, after := expiryKey(e.token.Expires, d), expiryKey(t.Expires, d); before != after {
		more = append(more, storage.Delete(before), storage.Put(after, mark))
	}
	if err := s.save(ctx, d, &t, more...); err != nil {
		return who, nil, err
	}
	if t.Expires.Before(e.token.Expires) {
		s.end(d) // its children may now expire earlier
	}
	return newEntry(d, &t).identity, warnings, nil
}

// renewal returns how much longer the token lives.
func (t *Token) renewal(now time.Time, increment time.Duration) (time.Duration, []string) {
	ttl, limit := increment, MaxTTL
	if ttl <= 0 {
		ttl = t.TTL
	}
	if t.Period > 0 {
		ttl, limit = t.Period, 0
	}
	if t.ExplicitMax > 0 && (limit == 0 || t.ExplicitMax < limit) {
		limit = t.ExplicitMax
	}
	if limit == 0 {
		return ttl, nil
	}
	if rest := t.Created.Add(limit).Sub(now); ttl > rest {
		return max(rest, 0), []string{cappedTTL(ttl, rest)}
	}
	return ttl, nil
}
