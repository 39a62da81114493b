package token

import (
	"context"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// A token with a number of uses has the number in its record. Each request writes it, one less, before it has any effect; the last
// writes -1, and the token ends when the request is over, so that what belongs to it is there until then. So a crash can take
// a use without its effect, and never the other way round.

// lastUse is how long the request of the last use has before Run ends the token, should nobody else.
const lastUse = 10 * time.Minute

// use takes one use of a token and gives the entry that is left.
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

// save writes a changed record. The caller holds its lock.
func (s *Store) save(ctx context.Context, d digest, t *Token, more ...storage.Op) error {
	record, err := t.Marshal()
	if err != nil {
		return err
	}
	defer s.drop(d) // after errors too: whether it was written may be unknown
	return s.entries.Commit(ctx, storage.Batch{Ops: append(more, storage.Put(tokenKey(d), record))})
}

// Finish ends the token whose last use a request was. It is called when the request is over, whatever came of it, and does nothing
// for any other token.
func (s *Store) Finish(ctx context.Context, who Identity) {
	if who.entry == nil || who.entry.token.Uses >= 0 {
		return
	}
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := s.revoke(again, who.entry.digest); err != nil && !errors.Is(err, errDenied) {
		s.log.Warn("a token that is used up could not be removed yet; nobody can use it, and it will be later", "error", err)
	}
}
