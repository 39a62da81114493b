package token

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// A batch token is its own record: "b." and, in base64url without padding,
//
//	version u8 = 2 | entry of the barrier, with the record of [Token] as plaintext
//
// The barrier seals the entry to batchPath by its active term, counts it, and opens it as long as
// it has that term. Nothing is stored, so the token cannot be renewed or revoked, except by
// revoking its parent. It never has the root policy.
//
// Version 1 was sealed by a key of its own, an entry that raw access to the storage reads. It is
// not accepted any more, and the key is removed.

const (
	batchLead    = "b."
	batchVersion = 2
	batchPath    = "auth/batch" // nothing is stored there
)

// Sealer is implemented by Entries that can seal a record without storing it: a barrier.
type Sealer interface {
	SealEntry(ctx context.Context, path string, plain []byte) ([]byte, error)
	OpenEntry(path string, entry []byte) ([]byte, error)
}

var errNoSealer = errors.New("token: these entries cannot seal batch tokens")

// dropBatchKey removes the key of version 1.
func (s sweeper) dropBatchKey(ctx context.Context) error {
	switch _, err := s.entries.Get(ctx, batchKeyKey); {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	s.log.Warn("batch tokens of an older program are no longer accepted: clients with one must log in again")
	return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(batchKeyKey)}})
}

// sealBatch returns the text of a batch token.
func (s *Store) sealBatch(ctx context.Context, t *Token) (string, error) {
	record, err := t.Marshal()
	if err != nil {
		return "", err
	}
	sealer, ok := s.entries.(Sealer)
	if !ok {
		return "", errNoSealer
	}
	sealed, err := sealer.SealEntry(ctx, batchPath, record)
	if err != nil {
		return "", err
	}
	text := batchLead + base64.RawURLEncoding.EncodeToString(append([]byte{batchVersion}, sealed...))
	if len(text) > maxBatch {
		return "", fault.New(fault.Invalid, "the batch token would have %d characters; at most %d are accepted: use fewer "+
			"policies or metadata, or create a service token", len(text), maxBatch)
	}
	return text, nil
}

// findBatch returns the entry of a valid batch token.
func (s *Store) findBatch(ctx context.Context, text string) (*entry, error) {
	if len(text) > maxBatch {
		return nil, errDenied
	}
	d := s.hash(purposeBatch, text)
	s.mu.RLock()
	e, ok := s.cache[d]
	before := s.forgotten
	s.mu.RUnlock()
	if !ok {
		t, err := s.openBatch(text)
		if err != nil {
			return nil, err
		}
		e = newEntry(d, t)
		s.remember(e, before)
	}
	return e, s.living(ctx, e)
}

// openBatch is the inverse of sealBatch. Any defect is "permission denied".
func (s *Store) openBatch(text string) (*Token, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(text, batchLead))
	if err != nil || len(raw) < 1 || raw[0] != batchVersion {
		return nil, errDenied
	}
	sealer, ok := s.entries.(Sealer)
	if !ok {
		return nil, errNoSealer
	}
	record, err := sealer.OpenEntry(batchPath, raw[1:])
	if err != nil {
		return nil, errDenied
	}
	t, err := UnmarshalToken(record)
	if err != nil || t.Type != TypeBatch || t.Root() {
		return nil, errDenied
	}
	return t, nil
}

// ForgetBatch drops the batch tokens that a store has opened, so that each is opened again: the
// barrier may refuse what a term sealed that it accepted before.
func ForgetBatch(s *Store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten++
	for d, e := range s.cache {
		if e.token.Type == TypeBatch {
			delete(s.cache, d)
		}
	}
}
