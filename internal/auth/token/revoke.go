package token

import (
	"context"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Revoking is one commit that decides, however many tokens descend from the one that goes: its record is deleted, and a token lives as
// long as the records of all its parents are there (see trace). The commit also leaves "auth/ended/<hash>", by which Run finds what
// is left: see clean.go.

const markVersion = 1

// mark is the record of "auth/child/..." and "auth/expiry/...", which say what they say by being there.
var mark = []byte{markVersion}

// markOf gives the record of "auth/ended/..." and "auth/released/...": version u8 = 1 | the token's accessor.
func markOf(e *entry) []byte { return append([]byte{markVersion}, e.token.Accessor...) }

// Revoke ends a token and all that descend from it. An unknown token is an error of kind [fault.Denied].
func (s *Store) Revoke(ctx context.Context, token string) error {
	e, err := s.find(ctx, token)
	if err != nil {
		return err
	}
	return s.End(ctx, e.identity)
}

// errBatchRevoke is Vault's text.
var errBatchRevoke = fault.New(fault.Invalid, "batch tokens cannot be revoked")

// End is [Store.Revoke] for a token that was found before.
func (s *Store) End(ctx context.Context, who Identity) error {
	if who.entry == nil {
		return errDenied
	}
	if who.entry.token.Type == TypeBatch {
		return errBatchRevoke
	}
	if err := s.revoke(ctx, who.entry.digest); err != nil && !errors.Is(err, errDenied) {
		return err
	}
	return nil
}

// revoke ends a token. errDenied: it is not there.
func (s *Store) revoke(ctx context.Context, d digest) error {
	defer s.meters.revokeTree.Since(time.Now())
	return s.remove(ctx, d, endedKey(d))
}

// Release ends a token alone: those that it has made go on as orphans.
func (s *Store) Release(ctx context.Context, who Identity) error {
	if who.entry == nil {
		return errDenied
	}
	if who.entry.token.Type == TypeBatch {
		return errBatchRevoke
	}
	d := who.entry.digest
	return s.remove(ctx, d, releasedKey(d))
}

// remove deletes a token's own entries in one commit, which also leaves a mark of what is to be done.
func (s *Store) remove(ctx context.Context, d digest, markKey string) error {
	defer s.meters.revoke.Since(time.Now())
	l := s.lock(d)
	l.Lock()
	defer l.Unlock()
	e, err := s.read(ctx, d)
	if err != nil {
		return err
	}
	defer s.end(d) // after errors too: whether it was written may be unknown
	if err := s.entries.Commit(ctx, storage.Batch{Ops: append(s.traces(e), storage.Put(markKey, markOf(e)))}); err != nil {
		return err
	}
	s.poke()
	return nil
}

// mostTraces is how many they are at most.
const mostTraces = 6

// traces gives the deletions of all entries that a token has.
func (s *Store) traces(e *entry) []storage.Op {
	ops := []storage.Op{storage.Delete(tokenKey(e.digest))}
	if e.token.Accessor != "" {
		ops = append(ops, storage.Delete(s.accessorKey(e.token.Accessor)))
	}
	if !e.token.Expires.IsZero() {
		ops = append(ops, storage.Delete(expiryKey(e.token.Expires, e.digest)), storage.Delete(leaseKey(e.token, e.digest)))
	}
	if e.token.wraps() {
		ops = append(ops, storage.Delete(wrappedKey(e.digest)))
	}
	if !e.token.Orphan() {
		ops = append(ops, storage.Delete(childKey(digest(e.token.Parent), e.digest)))
	}
	return ops
}

// poke makes Run look at once.
func (s *Store) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
