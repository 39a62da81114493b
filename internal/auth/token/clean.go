package token

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	timing "github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// Clean-up removes the remains of tokens that have ended. It can stop at any point and resume
// later, here or on another node, because each commit either leaves the mark that leads back to the
// remains or needs none.

// maxOps leaves room for the barrier's own operations in each commit.
const maxOps = storage.MaxOps - 4

// sweeper removes what has ended from a store.
type sweeper struct{ *Store }

// Run removes expired and revoked tokens until ctx ends. It runs on the leader.
func (s *Store) Run(ctx context.Context) { sweeper{s}.run(ctx) }

// Tidy makes Run check every token and accessor once, for entries that nothing else would find
// after a damaged storage or a restored backup.
func (s *Store) Tidy() {
	s.tidying.Store(true)
	s.poke()
}

func (s sweeper) run(ctx context.Context) {
	ticker := time.NewTicker(s.sweep)
	defer ticker.Stop()
	for {
		if err := s.clean(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("some ended tokens are not removed from storage yet; they cannot be used; retrying", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.kick:
		}
	}
}

func (s sweeper) clean(ctx context.Context) error {
	if !s.batchKeyDropped.Load() {
		if err := s.dropBatchKey(ctx); err != nil {
			return err
		}
		s.batchKeyDropped.Store(true)
	}
	if s.tidying.Swap(false) {
		if err := s.tidy(ctx); err != nil {
			s.tidying.Store(true)
			return err
		}
	}
	if err := s.index(ctx); err != nil {
		return err
	}
	if err := s.expire(ctx); err != nil {
		return err
	}
	if err := s.marked(ctx, releasedPrefix, s.adopt); err != nil {
		return err
	}
	begun := s.now()
	before := s.buried.Load()
	if err := s.marked(ctx, endedPrefix, s.removeEnded); err != nil {
		return err
	}
	if n := s.buried.Load() - before; n >= manyBuried {
		s.log.Info("the entries of revoked tokens are removed", "tokens", n, "took",
			s.now().Sub(begun).Round(time.Millisecond).String())
	}
	return nil
}

// manyBuried is from how many tokens on their removal is worth a line of the log.
const manyBuried = 1000

// expire ends the tokens that are due. It lists only the seconds that have passed.
func (s sweeper) expire(ctx context.Context) error {
	for {
		seconds, err := s.entries.List(ctx, expiryPrefix, "", page)
		if err != nil {
			return err
		}
		var due []string
		for _, second := range seconds {
			at, err := strconv.ParseInt(second[:len(second)-1], 10, 64)
			if err != nil {
				return fmt.Errorf("%w: the key %s%s", ErrRecord, expiryPrefix, second)
			}
			if at > s.now().Unix() {
				break
			}
			due = append(due, second)
		}
		if err := inParallel(due, (len(due)+secondsAtOnce-1)/secondsAtOnce, func(some []string) error {
			for _, second := range some {
				if err := s.expireSecond(ctx, expiryPrefix+second); err != nil {
					return err
				}
			}
			return nil
		}); err != nil || len(due) < page {
			return err
		}
	}
}

// secondsAtOnce is how many seconds are expired together: tokens that end one by one share commits'
// flushes too.
const secondsAtOnce = 16

// expireSecond ends the tokens listed under one second, a few in each commit.
func (s sweeper) expireSecond(ctx context.Context, prefix string) error {
	for {
		names, err := s.entries.List(ctx, prefix, "", page)
		if err != nil || len(names) == 0 {
			return err
		}
		if err := inParallel(names, maxOps/(mostTraces+2), func(some []string) error {
			return s.expireSome(ctx, prefix, some)
		}); err != nil {
			return err
		}
	}
}

func (s sweeper) expireSome(ctx context.Context, prefix string, names []string) error {
	var ops []storage.Op
	var gone []digest
	for _, name := range names {
		ops = append(ops, storage.Delete(prefix+name))
		d, ok := parseDigest(name)
		if !ok {
			continue
		}
		e, err := s.settled(ctx, d)
		switch {
		case err == nil && (e.token.expired(s.now()) || e.token.Uses < 0):
			ops = append(append(ops, s.traces(e)...), storage.Put(endedKey(d), markOf(e)))
			gone = append(gone, d)
		case err != nil && !errors.Is(err, errDenied):
			return err
		}
	}
	defer func() {
		for _, d := range gone {
			s.end(d)
		}
	}()
	return s.commitEnd(ctx, ops, gone)
}

// settled reads a token that is already dead, after any change to it in progress has finished. The
// caller then needs no lock: every change checks first that the token is valid.
func (s sweeper) settled(ctx context.Context, d digest) (*entry, error) {
	l := s.lock(d)
	l.Lock()
	defer l.Unlock()
	return s.read(ctx, d)
}

// commitEnd commits the end of tokens and drops them from the cache, even if the outcome is
// unknown.
func (s sweeper) commitEnd(ctx context.Context, ops []storage.Op, gone []digest) error {
	defer s.meters.expire.Since(time.Now())
	defer func() {
		for _, d := range gone {
			s.drop(d)
		}
	}()
	failpoint.Point("token.clean")
	return s.entries.Commit(ctx, storage.Batch{Ops: ops})
}

// marked handles every token with a mark, then deletes the marks. Handling one may create more.
func (s sweeper) marked(ctx context.Context, prefix string, handle func(context.Context, digest) error) error {
	for {
		names, err := s.entries.List(ctx, prefix, "", page)
		if err != nil || len(names) == 0 {
			return err
		}
		err = inParallel(names, maxOps, func(some []string) error {
			var ops []storage.Op
			for _, name := range some {
				if d, ok := parseDigest(name); ok {
					if err := s.forgetMarked(ctx, prefix+name); err != nil {
						return err
					}
					if err := handle(ctx, d); err != nil {
						return err
					}
				}
				ops = append(ops, storage.Delete(prefix+name))
			}
			return s.entries.Commit(ctx, storage.Batch{Ops: ops})
		})
		if err != nil {
			return err
		}
	}
}

// forgetMarked removes the data that other components keep for a marked token.
func (s sweeper) forgetMarked(ctx context.Context, key string) error {
	record, err := s.entries.Get(ctx, key)
	switch {
	case err != nil:
		return err
	case len(record) == 0 || record[0] != markVersion:
		return fmt.Errorf("%w: the mark of a token that has ended", ErrRecord)
	}
	return s.forgetOf(ctx, string(record[1:]))
}

// forgetOf removes the data that other components keep for a token.
func (s sweeper) forgetOf(ctx context.Context, accessor string) error {
	if s.ended == nil || accessor == "" {
		return nil
	}
	return s.ended(ctx, accessor)
}

// children calls f with the hashes of a token's children, n at a time from several goroutines,
// until none is left. f deletes their entries.
func (s sweeper) children(ctx context.Context, parent digest, n int, f func([]digest) error) error {
	prefix := childPrefix + parent.String() + "/"
	for {
		names, err := s.entries.List(ctx, prefix, "", page)
		if err != nil || len(names) == 0 {
			return err
		}
		some := digestsOf(names, "")
		if len(some) < len(names) {
			return fmt.Errorf("%w: a key below %s", ErrRecord, prefix)
		}
		if err := inParallel(some, n, f); err != nil {
			return err
		}
	}
}

// buryRate is the most tokens that are removed in a second because an ancestor was revoked. None of
// them can be used any more, so their removal leaves most of the machine to requests.
const buryRate = 5500

// removeEnded removes the children of a token that has ended. Children that have children
// themselves are marked in turn.
func (s sweeper) removeEnded(ctx context.Context, parent digest) error {
	begun, first := time.Now(), s.buried.Load()
	return s.children(ctx, parent, maxOps/(mostTraces+1), func(some []digest) error {
		ahead := time.Duration(s.buried.Load()-first) * time.Second / buryRate
		timing.Sleep(ctx, ahead-time.Since(begun))
		var ops []storage.Op
		for _, d := range some {
			more, err := s.buryOne(ctx, parent, d)
			if err != nil {
				return err
			}
			ops = append(ops, more...)
		}
		if err := s.commitEnd(ctx, ops, some); err != nil {
			return err
		}
		s.buried.Add(int64(len(some)))
		return nil
	})
}

// buryOne returns the operations that remove a dead token: at most mostTraces, and one mark.
func (s sweeper) buryOne(ctx context.Context, parent, d digest) ([]storage.Op, error) {
	e, err := s.settled(ctx, d)
	ops := []storage.Op{storage.Delete(childKey(parent, d))}
	switch {
	case errors.Is(err, errDenied):
	case err != nil:
		return nil, err
	default:
		if err := s.forgetOf(ctx, e.token.Accessor); err != nil {
			return nil, err
		}
		ops = s.traces(e)
	}
	grandchildren, err := s.entries.List(ctx, childPrefix+d.String()+"/", "", 1)
	if err != nil {
		return nil, err
	}
	if len(grandchildren) > 0 {
		ops = append(ops, storage.Put(endedKey(d), mark)) // its own data is already removed
	}
	return ops, nil
}

// adopt turns the children of a token that was revoked without them into orphans.
func (s sweeper) adopt(ctx context.Context, parent digest) error {
	return s.children(ctx, parent, 1, func(some []digest) error {
		for _, d := range some {
			if err := s.adoptOne(ctx, parent, d); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s sweeper) adoptOne(ctx context.Context, parent, d digest) error {
	l := s.lock(d)
	l.Lock()
	defer l.Unlock()
	gone := storage.Delete(childKey(parent, d))
	e, err := s.read(ctx, d)
	if errors.Is(err, errDenied) {
		return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{gone}})
	}
	if err != nil {
		return err
	}
	t := *e.token
	t.Parent = nil
	return s.save(ctx, d, &t, gone)
}

func (s sweeper) tidy(ctx context.Context) error {
	err := s.each(ctx, tokenPrefix, func(name string) error {
		d, ok := parseDigest(name)
		if !ok {
			return nil
		}
		e, err := s.read(ctx, d)
		if err == nil {
			if err = s.living(ctx, e); errors.Is(err, errDenied) && e.token.Uses == 0 { // the last use may be in progress
				err = s.revoke(ctx, d)
			}
		}
		if errors.Is(err, errDenied) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.each(ctx, accessorPrefix, func(name string) error {
		record, err := s.entries.Get(ctx, accessorPrefix+name)
		if err == nil {
			var d digest
			if d, err = unmarshalAccessor(record); err == nil {
				_, err = s.entries.Get(ctx, tokenKey(d))
			}
			if errors.Is(err, storage.ErrNotFound) || errors.Is(err, ErrRecord) {
				return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(accessorPrefix + name)}})
			}
		}
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		return err
	})
}
