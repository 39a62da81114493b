// Package token stores tokens and policies, and authorises requests.
//
// It guarantees that a service token is on disk only as a salted hash (HMAC-SHA256 under a random
// salt behind the barrier) and a batch token not at all; that neither a token nor its hash appears
// in an error or a log; that the time of a lookup reveals nothing about the tokens that exist,
// because they are compared by keyed hash; that an expired or unknown token, and one without the
// capability, are refused with Vault's texts; that a token ends with any of its ancestors, in the
// one commit that removes the ancestor; that a token with limited uses is never used more often,
// even across crashes; and that a changed policy applies to every request that begins after the
// change was acknowledged.
//
// It does not guarantee that a change by another node is visible here before [Store.Forget] is
// called for it: the component that follows the storage calls it. Nor that the entries of ended
// tokens are removed at once: [Store.Run] removes them.
//
// Stays compatible: the keys below "auth/" and "core/policy/", and the records, whose first byte is
// their version.
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

// Entries is the barrier: plaintext in, plaintext out, with the errors of package storage.
type Entries interface {
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// Identity is an authenticated client.
type Identity struct {
	Accessor    string   // identifies the token without revealing it, so it may be logged; "" for a batch token
	DisplayName string   // "root", "token-ci"
	Policies    []string // sorted; shared with the cache, read-only
	Root        bool     // has the root policy: nothing is refused

	entry   *entry
	grant   *policy.Grant // the rule that allowed the request
	granted Capability    // the capability that the request needed
}

// Token returns the token's record, or nil for the zero Identity. It is shared and must not be
// changed. The remaining uses of a limited token are those after the request.
func (i Identity) Token() *Token {
	if i.entry == nil {
		return nil
	}
	return i.entry.token
}

// Options configure a store.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Log  *slog.Logger     // nil means that nothing is logged
	Rand io.Reader        // nil means crypto/rand

	// Run calls Ended, at least once, with the accessor of each token that has ended, to remove the
	// token's data elsewhere. After an error it calls it again later. It may be nil.
	Ended func(ctx context.Context, accessor string) error

	Metrics *metrics.Registry // nil: nothing is counted

	Sweep time.Duration // the interval at which Run checks for expired tokens; 0 means 10 s
}

// MaxTTL is the longest life of a token, and the default: 32 days. It does not bound periodic
// tokens and root tokens.
const MaxTTL = 768 * time.Hour

// Store holds the tokens and policies. It is safe for concurrent use.
type Store struct {
	records
	hashing
	*Policies
	roleStore
	*jwtSigner
	leaseIndex

	now     func() time.Time
	log     *slog.Logger
	rnd     io.Reader
	ended   func(context.Context, string) error
	sweep   time.Duration
	kick    chan struct{}
	tidying atomic.Bool

	// locks serialise changes of a token, by its hash: a creation holds its parent's for reading,
	// any other change holds the token's own. No goroutine holds two.
	locks [256]sync.RWMutex

	mu        sync.RWMutex
	cache     map[digest]*entry
	forgotten uint64 // counts dropped entries: a read that began before a drop is not cached

	// epoch grows with every token that ends early; cached lineages of an older epoch are checked
	// again.
	epoch atomic.Uint64

	meters meters

	batchKeyDropped atomic.Bool // of version 1: see batch.go

	buried atomic.Int64 // tokens removed because an ancestor was revoked
}

// records are the stored entries, and ways to walk them.
type records struct{ entries Entries }

// hashing hashes tokens with the salt of the store.
type hashing struct {
	hashers sync.Pool // of *hasher, each keyed with the salt
}

// digest is a token's salted hash, by which it is stored and cached.
type digest [sha256.Size]byte

// hasher is a reusable HMAC: creating one costs more than using it.
type hasher struct {
	mac hash.Hash
	in  []byte
	out []byte
}

// Open reads the salt, and nothing else, however many tokens there are. [Format]'s operations must
// have been committed.
func Open(ctx context.Context, entries Entries, o Options) (*Store, error) {
	record, err := entries.Get(ctx, saltKey)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "cannot read the salt of the token store")
	}
	salt, err := unmarshalSalt(record)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the salt of the token store is damaged; restore a backup")
	}
	s := &Store{
		records: records{entries}, now: o.Now, log: o.Log, rnd: source(o.Rand), ended: o.Ended, sweep: o.Sweep,
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
	s.Policies = &Policies{records: s.records, now: s.now, rnd: s.rnd, meters: s.meters}
	s.roleStore, s.jwtSigner, s.leaseIndex.records = roleStore{s.records}, &jwtSigner{records: s.records}, s.records
	s.hashers.New = func() any { return newHasher(salt) }
	return s, nil
}

func newHasher(salt []byte) *hasher {
	return &hasher{mac: hmac.New(sha256.New, salt)}
}

// sum hashes text under a purpose, so that equal texts of different purposes have unrelated hashes.
func (h *hasher) sum(purpose, text string) (d digest) {
	h.in = append(append(append(h.in[:0], purpose...), 0), text...)
	h.mac.Reset()
	h.mac.Write(h.in)
	h.out = h.mac.Sum(h.out[:0])
	clear(h.in)
	copy(d[:], h.out)
	return d
}

func (s *hashing) digest(token string) digest { return s.hash(purposeToken, token) }

func (s *hashing) hash(purpose, text string) digest {
	h := s.hashers.Get().(*hasher)
	defer s.hashers.Put(h)
	return h.sum(purpose, text)
}

// lock returns the lock that guards a token.
func (s *Store) lock(d digest) *sync.RWMutex { return &s.locks[d[0]] }

// errDenied refuses a missing, unknown or ended token; errForbidden refuses a known one that lacks
// the capability. Both texts are Vault's, byte for byte: clients match them.
var (
	errDenied    = fault.New(fault.Denied, "permission denied")
	errForbidden = fault.New(fault.Denied, "1 error occurred:\n\t* permission denied\n\n")
)
