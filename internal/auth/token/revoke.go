package token

import (
	"context"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Revocation is one deciding commit, however many tokens descend from the revoked one: it deletes
// the token's record, and a token is valid only while the records of all its parents exist (see
// trace). The commit also writes "auth/ended/<hash>", from which Run finds the remains: see
// clean.go.

const markVersion = 1

// mark is the record of "auth/child/..." and "auth/expiry/...", whose keys carry the information.
var mark = []byte{markVersion}

// markOf returns the record of "auth/ended/..." and "auth/released/...": version u8 = 1 | the
// token's accessor.
func markOf(e *entry) []byte { return append([]byte{markVersion}, e.token.Accessor...) }

// Revoke ends a token and all its descendants. An unknown token is a [fault.Denied].
func (s *Store) Revoke(ctx context.Context, token string) error {
	e, err := s.find(ctx, token)
	if err != nil {
		return err
	}
	return s.End(ctx, e.identity)
}

// errBatchRevoke is Vault's text.
var errBatchRevoke = fault.New(fault.Invalid, "batch tokens cannot be revoked")

// End is [Store.Revoke] for a token that is already identified.
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

// revoke ends a token. It returns errDenied if the token does not exist.
func (s *Store) revoke(ctx context.Context, d digest) error {
	defer s.meters.revokeTree.Since(time.Now())
	return s.remove(ctx, d, endedKey(d))
}

// Release ends a token without its children, which become orphans.
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

// remove deletes a token's own entries in one commit, which also writes a mark for the clean-up.
func (s *Store) remove(ctx context.Context, d digest, markKey string) error {
	defer s.meters.revoke.Since(time.Now())
	l := s.lock(d)
	l.Lock()
	defer l.Unlock()
	e, err := s.read(ctx, d)
	if err != nil {
		return err
	}
	defer s.end(d) // after an error too: the outcome may be unknown
	failpoint.Point("token.revoke")
	if err := s.entries.Commit(ctx, storage.Batch{Ops: append(s.traces(e), storage.Put(markKey, markOf(e)))}); err != nil {
		return err
	}
	s.poke()
	return nil
}

// mostTraces is the most operations that traces returns.
const mostTraces = 6

// traces returns the deletions of all entries of a token.
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

// poke wakes Run.
func (s *Store) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
