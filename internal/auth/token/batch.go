package token

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// A batch token is its own record: "b." and, in base64url without padding,
//
//	version u8 = 1 | nonce 12 | AES-256-GCM( record of [Token] ) | tag 16
//
// under the key at "auth/batch-key", with the text "sealgate/auth/batch/v1" as additional data.
// Nothing else is stored, so it cannot be renewed or revoked, except by revoking its parent.

const (
	batchLead    = "b."
	batchVersion = 1
	batchKeySize = 32
)

var batchAAD = []byte("sealgate/auth/batch/v1")

// batchKey caches the key, which is read or created on first use.
type batchKey struct {
	mu   sync.Mutex
	aead atomic.Pointer[cipher.AEAD]
}

// sealer returns the cipher. Without create it returns nil if no batch token was ever created.
func (s *Store) sealer(ctx context.Context, create bool) (cipher.AEAD, error) {
	if a := s.batch.aead.Load(); a != nil {
		return *a, nil
	}
	s.batch.mu.Lock()
	defer s.batch.mu.Unlock()
	record, err := s.entries.Get(ctx, batchKeyKey)
	if errors.Is(err, storage.ErrNotFound) {
		if !create {
			return nil, errDenied
		}
		record, err = s.makeBatchKey(ctx)
	}
	if err != nil {
		return nil, err
	}
	defer clear(record)
	if len(record) != 1+batchKeySize || record[0] != batchVersion {
		return nil, fault.Wrap(fmt.Errorf("%w: the key of batch tokens", ErrRecord), fault.Internal,
			"the key of batch tokens is damaged; restore a backup")
	}
	block, err := aes.NewCipher(record[1:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	s.batch.aead.Store(&aead)
	return aead, nil
}

// makeBatchKey stores a new key unless one exists: version u8 = 1 | 32 random bytes.
func (s *Store) makeBatchKey(ctx context.Context) ([]byte, error) {
	record := make([]byte, 1+batchKeySize)
	record[0] = batchVersion
	if _, err := io.ReadFull(rand.Reader, record[1:]); err != nil {
		return nil, err
	}
	err := s.entries.Commit(ctx, storage.Batch{
		If: []storage.Condition{storage.IfAbsent(batchKeyKey)}, Ops: []storage.Op{storage.Put(batchKeyKey, record)},
	})
	if err != nil {
		clear(record)
		return nil, err
	}
	return record, nil
}

// sealBatch returns the text of a batch token.
func (s *Store) sealBatch(ctx context.Context, t *Token) (string, error) {
	record, err := t.Marshal()
	if err != nil {
		return "", err
	}
	aead, err := s.sealer(ctx, true)
	if err != nil {
		return "", err
	}
	text := batchLead + base64.RawURLEncoding.EncodeToString(aead.Seal([]byte{batchVersion}, nil, record, batchAAD))
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
		t, err := s.openBatch(ctx, text)
		if err != nil {
			return nil, err
		}
		e = newEntry(d, t)
		s.remember(e, before)
	}
	return e, s.living(ctx, e)
}

// openBatch is the inverse of sealBatch. Any defect is "permission denied".
func (s *Store) openBatch(ctx context.Context, text string) (*Token, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(text, batchLead))
	if err != nil || len(raw) < 1 || raw[0] != batchVersion {
		return nil, errDenied
	}
	aead, err := s.sealer(ctx, false)
	if err != nil {
		return nil, err
	}
	record, err := aead.Open(nil, nil, raw[1:], batchAAD)
	if err != nil {
		return nil, errDenied
	}
	t, err := UnmarshalToken(record)
	if err != nil || t.Type != TypeBatch {
		return nil, errDenied
	}
	return t, nil
}
