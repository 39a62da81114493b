// Package auth knows who may do what: tokens, policies, and the one place where a request is allowed or refused.
//
// It guarantees that a token is on disk as a salted hash only (HMAC-SHA256 under a random salt that the
// barrier keeps), and a batch token not at all; that neither a token nor its hash is in an error or a log; that the time a
// lookup takes tells nothing about the tokens that exist, because they are compared by a keyed hash alone; that an expired or
// unknown token, and one without the capability, are refused with the texts of Vault; that a token dies with its parent, of whatever
// generation, in the one commit that removes the parent; that a token with a number of uses is never used more often, whatever
// crashes; and that a changed policy counts for every request that begins after the change was answered.
//
// It does not guarantee that what was changed by another node counts here before [Store.Forget] is called for it: who follows
// the storage calls it. Nor that the entries of tokens that have ended are gone at once: [Store.Run] removes them.
//
// Stays compatible: the records' first byte is their version, and the keys below "auth/" and "core/policy/".
package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/metrics"
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
	Accessor    string   // names the token without being it: fit for logs; "" for a batch token
	DisplayName string   // "root", "token-ci"
	Policies    []string // sorted; shared with the cache, not to be changed
	Root        bool     // the root policy is among them: nothing is refused

	entry   *entry
	grant   *policy.Grant // of the request
	granted Capability    // that it asked for
}

// Token is the record of the token, or nil for the zero Identity. It is shared and must not be changed. Of a token with a number of uses
// it is as the request has left it.
func (i Identity) Token() *Token {
	if i.entry == nil {
		return nil
	}
	return i.entry.token
}

// Options are what a store is given from outside.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Log  *slog.Logger     // nil means that nothing is logged
	Rand io.Reader        // nil means crypto/rand

	// Ended is called by Run, at least once, with the accessor of each token that has ended, to remove what belongs to it. An error
	// makes it be called again later. It may be nil.
	Ended func(ctx context.Context, accessor string) error

	Metrics *metrics.Registry // nil: nothing is counted

	Sweep time.Duration // how often Run looks for expired tokens; 0 means every 10 s
}

// MaxTTL is the longest that a token lives, and how long it does where nothing is said: 32 days. Periodic tokens and root tokens are
// not bounded by it.
const MaxTTL = 768 * time.Hour

// Store finds tokens. It is safe for concurrent use.
type Store struct {
	entries Entries
	now     func() time.Time
	log     *slog.Logger
	rnd     io.Reader
	ended   func(context.Context, string) error
	sweep   time.Duration
	hashers sync.Pool // of *hasher, each keyed with the salt
	kick    chan struct{}
	tidying atomic.Bool

	// locks serialise what changes a token, by its hash: a creation holds its parent's for reading, everything else its own. Nobody
	// holds two.
	locks [256]sync.RWMutex

	mu        sync.RWMutex
	cache     map[digest]*entry
	forgotten uint64 // how often an entry was dropped: what was read before is not remembered after it

	// epoch grows with every token that ends before its time: whether the parents of a token still live is asked again after it.
	epoch atomic.Uint64

	policies policyCache
	batch    batchKey
	wrapKey  wrappingKey
	meters   meters
	indexed  atomic.Bool // every token with a lease is known to be in the index
}

// digest is a token's salted hash: its name on disk and in memory.
type digest [sha256.Size]byte

// hasher is an HMAC that is used again and again: making one costs more than using it.
type hasher struct {
	mac hash.Hash
	in  []byte
	out []byte
}

// Open reads the salt. [Format]'s operations must have been committed. Nothing else is read: however many tokens there are.
func Open(ctx context.Context, entries Entries, o Options) (*Store, error) {
	record, err := entries.Get(ctx, saltKey)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the salt of the tokens cannot be read")
	}
	salt, err := unmarshalSalt(record)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the salt of the tokens is damaged")
	}
	s := &Store{
		entries: entries, now: o.Now, log: o.Log, rnd: source(o.Rand), ended: o.Ended, sweep: o.Sweep,
		cache: map[digest]*entry{}, kick: make(chan struct{}, 1), meters: newMeters(o.Metrics),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.sweep <= 0 {
		s.sweep = 10 * time.Second
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

func (s *Store) digest(token string) digest { return s.hash(purposeToken, token) }

func (s *Store) hash(purpose, text string) digest {
	h := s.hashers.Get().(*hasher)
	defer s.hashers.Put(h)
	return h.sum(purpose, text)
}

// lock is the one that guards a token.
func (s *Store) lock(d digest) *sync.RWMutex { return &s.locks[d[0]] }

// errDenied is for who has no token, or one that is not, or no longer, known; errForbidden for who is
// known and lacks the capability. The two texts are Vault's, to the byte: clients look for them.
var (
	errDenied    = fault.New(fault.Denied, "permission denied")
	errForbidden = fault.New(fault.Denied, "1 error occurred:\n\t* permission denied\n\n")
)
