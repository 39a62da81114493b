package token

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// cacheSize bounds the cached tokens, about 600 bytes each.
const cacheSize = 16384

// Bounds on what is hashed; a generated service token has 26 characters.
const (
	maxToken = 512
	maxBatch = 16 << 10
)

// entry is a cached token.
type entry struct {
	digest   digest
	token    *Token // immutable
	identity Identity
	rules    atomic.Pointer[compiled]
	lineage  atomic.Pointer[lineage]
}

// lineage is the result of checking a token's ancestors: all were valid, and the first of them
// expires at ends.
type lineage struct {
	epoch uint64
	ends  time.Time // zero: never
}

func newEntry(d digest, t *Token) *entry {
	e := &entry{digest: d, token: t}
	e.identity = t.identity()
	e.identity.entry = e
	return e
}

// Lookup returns the record of a token without using it. The record is shared and must not be
// changed.
func (s *Store) Lookup(ctx context.Context, token string) (*Token, error) {
	e, err := s.find(ctx, token)
	if err != nil {
		return nil, err
	}
	return e.token, nil
}

// Identify returns the identity of a token without using it. The error for an empty, unknown or
// expired token is a [fault.Denied] "permission denied".
func (s *Store) Identify(ctx context.Context, token string) (Identity, error) {
	e, err := s.find(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	return e.identity, nil
}

// Bearer returns the identity of the client that presents a token, without using it. Unlike
// [Store.Identify] it refuses a token that must not be used from the client's address.
func (s *Store) Bearer(ctx context.Context, token, remote string) (Identity, error) {
	e, err := s.find(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if len(e.token.Networks) > 0 && !Within(e.token.Networks, remote) {
		return Identity{}, errDenied
	}
	return e.identity, nil
}

// find returns the entry of a valid token.
func (s *Store) find(ctx context.Context, token string) (*entry, error) {
	if strings.HasPrefix(token, batchLead) {
		return s.findBatch(ctx, token)
	}
	if token == "" || len(token) > maxToken || strings.IndexByte(token, 0) >= 0 {
		return nil, errDenied
	}
	return s.findDigest(ctx, s.digest(token))
}

func (s *Store) findDigest(ctx context.Context, d digest) (*entry, error) {
	e, err := s.get(ctx, d)
	if err != nil {
		return nil, err
	}
	if err = s.living(ctx, e); !errors.Is(err, errDenied) || e.token.Orphan() {
		return e, err
	}
	// The parent may have been revoked without this token since the entry was read.
	s.drop(d)
	if e, err = s.get(ctx, d); err != nil {
		return nil, err
	}
	return e, s.living(ctx, e)
}

// get returns an entry from the cache or the barrier, valid or not.
func (s *Store) get(ctx context.Context, d digest) (*entry, error) {
	s.mu.RLock()
	e, ok := s.cache[d]
	before := s.forgotten
	s.mu.RUnlock()
	if ok {
		return e, nil
	}
	e, err := s.read(ctx, d)
	if err == nil {
		s.remember(e, before)
	}
	return e, err
}

// read reads a token from the barrier. A missing one is not cached: guesses could fill the cache.
func (s *Store) read(ctx context.Context, d digest) (*entry, error) {
	defer s.meters.lookup.Since(time.Now())
	record, err := s.entries.Get(ctx, tokenKey(d))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errDenied
	}
	if err != nil {
		return nil, err
	}
	t, err := UnmarshalToken(record)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the record of the token is damaged; create a new token")
	}
	return newEntry(d, t), nil
}

// living refuses a token that has expired or has no uses left, or whose ancestors have.
func (s *Store) living(ctx context.Context, e *entry) error {
	t := e.token
	if t.Uses < 0 || t.expired(s.now()) {
		return errDenied
	}
	if t.Orphan() {
		return nil
	}
	_, err := s.trace(ctx, e)
	return err
}

// trace returns the time until which all ancestors of a token are valid; zero means for ever.
func (s *Store) trace(ctx context.Context, e *entry) (time.Time, error) {
	epoch := s.epoch.Load()
	if l := e.lineage.Load(); l != nil && l.epoch == epoch && (l.ends.IsZero() || s.now().Before(l.ends)) {
		return l.ends, nil
	}
	parent, err := s.get(ctx, digest(e.token.Parent))
	if errors.Is(err, errDenied) {
		// The parent is gone. If it was revoked without its children, they live on as orphans.
		if _, err := s.entries.Get(ctx, releasedKey(digest(e.token.Parent))); err == nil {
			return time.Time{}, nil
		} else if !errors.Is(err, storage.ErrNotFound) {
			return time.Time{}, err
		}
	}
	if err != nil {
		return time.Time{}, err
	}
	if parent.token.Uses < 0 || parent.token.expired(s.now()) {
		return time.Time{}, errDenied
	}
	ends := parent.token.Expires
	if !parent.token.Orphan() {
		above, err := s.trace(ctx, parent)
		if err != nil {
			return time.Time{}, err
		}
		if ends.IsZero() || !above.IsZero() && above.Before(ends) {
			ends = above
		}
	}
	e.lineage.Store(&lineage{epoch, ends})
	return ends, nil
}

// remember caches a token. A full cache evicts an arbitrary entry (map order is random enough).
func (s *Store) remember(e *entry, before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgotten != before {
		return
	}
	if len(s.cache) >= cacheSize {
		for other := range s.cache {
			delete(s.cache, other)
			break
		}
	}
	s.cache[e.digest] = e
}

// drop removes a changed token from the cache.
func (s *Store) drop(d digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten++
	delete(s.cache, d)
}

// end removes an ended token from the cache and makes its descendants check their ancestors again.
func (s *Store) end(d digest) {
	s.drop(d)
	s.epoch.Add(1)
}

// Forget drops the cached token or policy of a storage key ("auth/token/...", "core/policy/...")
// that another node changed or deleted.
func (s *Store) Forget(key string) {
	if name, ok := policyOf(key); ok {
		s.policies.forget(name)
	}
	if d, ok := digestOf(key); ok {
		s.end(d)
	}
}
