package token

import (
	"context"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// A token with limited uses keeps the remaining number in its record. Each request decrements it
// before the request has any effect; the last one writes -1, and the token ends when that request
// is over, so the token's data exists until then. A crash can therefore consume a use without its
// effect, but never the reverse.

// lastUse is how long the last request may take before Run ends the token.
const lastUse = 10 * time.Minute

// use takes one use of a token and returns the resulting entry.
func (s *Store) use(ctx context.Context, d digest) (*entry, error) {
	l := s.lock(d)
	l.Lock()
	defer l.Unlock()
	e, err := s.read(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := s.living(ctx, e); err != nil {
		return nil, err
	}
	t := *e.token
	if t.Uses == 0 {
		return e, nil
	}
	var more []storage.Op
	if t.Uses--; t.Uses == 0 {
		t.Uses = -1
		more = append(more, storage.Put(expiryKey(s.now().Add(lastUse), d), mark))
	}
	if err := s.save(ctx, d, &t, more...); err != nil {
		return nil, err
	}
	return newEntry(d, &t), nil
}

// save writes a changed record. The caller holds the token's lock.
func (s *Store) save(ctx context.Context, d digest, t *Token, more ...storage.Op) error {
	record, err := t.Marshal()
	if err != nil {
		return err
	}
	defer s.drop(d) // after an error too: the outcome may be unknown
	return s.entries.Commit(ctx, storage.Batch{Ops: append(more, storage.Put(tokenKey(d), record))})
}

// Finish ends the token if the request was its last use. The caller calls it when the request is
// over, whatever its result; for any other token it does nothing.
func (s *Store) Finish(ctx context.Context, who Identity) {
	if who.entry == nil || who.entry.token.Uses >= 0 {
		return
	}
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := s.revoke(again, who.entry.digest); err != nil && !errors.Is(err, errDenied) {
		s.log.Warn("a token without remaining uses is not removed from storage yet; it cannot be used; the clean-up retries",
			"error", err)
	}
}
