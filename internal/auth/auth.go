// Package auth knows who may do what: tokens, and the one place where a request is allowed or refused.
//
// It guarantees that a token is on disk as a salted hash only (HMAC-SHA256 under a random salt that the
// barrier keeps); that neither a token nor its hash is in an error or a log; that the time a lookup takes tells
// nothing about the tokens that exist, because they are compared by a keyed hash alone; and that
// an expired or unknown token, and one without the capability, are refused with the texts of Vault.
//
// It does not guarantee that a token that was deleted by another node is refused here before
// [Store.Forget] is called for it: who follows the storage calls it.
//
// Stays compatible: the records' first byte is their version, and the keys below "auth/".
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"hash"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Entries is where tokens lie: the barrier. Plaintext in, plaintext out, with the errors of package storage.
type Entries interface {
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// Identity is who asks, as far as the rest of the program needs to know.
type Identity struct {
	Accessor    string   // names the token without being it: fit for logs
	DisplayName string   // "root", "token-ci"
	Policies    []string // sorted; shared with the cache, not to be changed
	Root        bool     // the root policy is among them: nothing is refused
}

// Options are what a store is given from outside.
type Options struct {
	Now func() time.Time // nil means time.Now
	Log *slog.Logger     // nil means that nothing is logged
}

// cacheSize bounds the tokens that are kept in memory, about 500 bytes each.
const cacheSize = 16384

// maxToken bounds what is hashed at all; the tokens that are made here have 26 characters.
const maxToken = 512

// Store finds tokens. It is safe for concurrent use.
type Store struct {
	entries Entries
	now     func() time.Time
	log     *slog.Logger
	hashers sync.Pool // of *hasher, each keyed with the salt

	mu        sync.RWMutex
	cache     map[digest]*Token
	forgotten uint64 // how often Forget was called: what was read before a call is not remembered after it
}

// digest is a token's salted hash: its name on disk and in memory.
type digest [sha256.Size]byte

// hasher is an HMAC that is used again and again: making one costs more than using it.
type hasher struct {
	mac hash.Hash
	in  []byte
	out []byte
}

// Open reads the salt. [Format]'s operations must have been committed.
func Open(ctx context.Context, entries Entries, o Options) (*Store, error) {
	record, err := entries.Get(ctx, saltKey)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the salt of the tokens cannot be read")
	}
	salt, err := unmarshalSalt(record)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the salt of the tokens is damaged")
	}
	s := &Store{entries: entries, now: o.Now, log: o.Log, cache: map[digest]*Token{}}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.hashers.New = func() any { return newHasher(salt) }
	return s, nil
}

func newHasher(salt []byte) *hasher {
	return &hasher{mac: hmac.New(sha256.New, salt)}
}

// sum hashes text for a purpose, so that a token and an accessor of the same text have nothing in common.
func (h *hasher) sum(purpose, text string) (d digest) {
	h.in = append(append(append(h.in[:0], purpose...), 0), text...)
	h.mac.Reset()
	h.mac.Write(h.in)
	h.out = h.mac.Sum(h.out[:0])
	clear(h.in)
	copy(d[:], h.out)
	return d
}

func (s *Store) digest(token string) digest {
	h := s.hashers.Get().(*hasher)
	defer s.hashers.Put(h)
	return h.sum(purposeToken, token)
}

// errDenied is for who has no token, or one that is not, or no longer, known; errForbidden for who is
// known and lacks the capability. The two texts are Vault's, to the byte: clients look for them.
var (
	errDenied    = fault.New(fault.Denied, "permission denied")
	errForbidden = fault.New(fault.Denied, "1 error occurred:\n\t* permission denied\n\n")
)

// Lookup returns the record of a token. It is shared and must not be changed.
func (s *Store) Lookup(ctx context.Context, token string) (*Token, error) {
	if token == "" || len(token) > maxToken || strings.IndexByte(token, 0) >= 0 {
		return nil, errDenied
	}
	d := s.digest(token)
	s.mu.RLock()
	t, ok := s.cache[d]
	s.mu.RUnlock()
	if !ok {
		var err error
		if t, err = s.load(ctx, d); err != nil {
			return nil, err
		}
	}
	if !t.Expires.IsZero() && !s.now().Before(t.Expires) {
		return nil, errDenied
	}
	return t, nil
}

// load reads a token from the barrier. What is not there is not remembered: anybody could fill the memory with guesses.
func (s *Store) load(ctx context.Context, d digest) (*Token, error) {
	s.mu.RLock()
	before := s.forgotten
	s.mu.RUnlock()
	record, err := s.entries.Get(ctx, tokenKey(d))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errDenied
	}
	if err != nil {
		return nil, err
	}
	t, err := UnmarshalToken(record)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the record of the token is damaged")
	}
	s.remember(d, t, before)
	return t, nil
}

// remember keeps a token in memory; where there is no room any other goes (the order of a map is random enough).
func (s *Store) remember(d digest, t *Token, before uint64) {
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
	s.cache[d] = t
}

// Forget drops what is known of the token at a storage key, where it is one ("auth/token/..."): it was changed or deleted
// elsewhere.
func (s *Store) Forget(key string) {
	d, ok := digestOf(key)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgotten++
	delete(s.cache, d)
}

// Identify tells whose token this is. The error for an empty, unknown or expired token is a [fault.Denied]
// "permission denied".
func (s *Store) Identify(ctx context.Context, token string) (Identity, error) {
	t, err := s.Lookup(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	return t.identity, nil
}
