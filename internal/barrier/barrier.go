package barrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
)

// Barrier seals entries. All methods are safe for concurrent use.
type Barrier struct {
	store storage.Store
	now   func() time.Time
	rand  io.Reader
	log   *slog.Logger
	epoch atomic.Uint64

	handOver *HandOver // nil: none

	memory *CountMemory  // nil: none
	doubt  atomic.Uint32 // the term whose stored count was lower than the truth, or unreadable; 0: none

	// writing is held for reading by whatever commits entries, from the moment at which it chooses the
	// term. While it is held for writing, no commit is in progress. It is locked before change.
	writing sync.RWMutex
	census  census
	outside func(key string) bool // no entry of the barrier; nil: all are

	meter atomic.Pointer[ReadMeter] // nil: reads are not measured
	upTo  atomic.Pointer[passing]   // see RefuseUpTo

	// ring is what readers and writers use; nil while sealed. It is replaced under change and
	// counting.
	ring atomic.Pointer[ring]

	// change serialises what replaces the ring; counting what writes the counts. Locked in this order.
	change   sync.Mutex
	counting sync.Mutex

	// alternate is the root key of a replacement whose outcome is unknown, or may still arrive.
	// Guarded by change.
	alternate *alternate
}

type alternate struct {
	root       *secret.Bytes
	generation uint64
}

// New returns a sealed barrier.
func New(store storage.Store, o Options) *Barrier {
	o = o.withDefaults()
	return &Barrier{store: store, now: o.Now, rand: o.Rand, log: o.Log, handOver: o.HandOver, memory: o.Counts,
		outside: o.Outside}
}

// Unseal reads the keyring and opens it with the root key, of which it keeps a copy. The generation
// must be the one that the keyring names. On an unsealed barrier it changes nothing, and fails
// where the key differs.
func (b *Barrier) Unseal(ctx context.Context, root *secret.Bytes, generation uint64) error {
	b.change.Lock()
	defer b.change.Unlock()
	if r := b.ring.Load(); r != nil {
		if r.generation != generation || !r.root.Equal(root) {
			return fmt.Errorf("%w: the barrier is unsealed with another one", ErrWrongRoot)
		}
		return nil
	}
	record, err := b.readKeyring(ctx)
	if err != nil {
		return err
	}
	r, err := openRing(record, root, generation)
	if err != nil {
		return err
	}
	if err := b.loadCounts(ctx, r); err != nil {
		r.destroy(nil)
		return err
	}
	b.swap(r)
	return nil
}

// readKeyring returns the stored record.
func (b *Barrier) readKeyring(ctx context.Context) ([]byte, error) {
	record, err := b.store.Get(ctx, KeyringPath)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, ErrNotFormatted
	}
	return record, err
}

// swap replaces the ring. The caller holds change, and counting where others may write.
func (b *Barrier) swap(r *ring) {
	old := b.ring.Swap(r)
	if old != nil && old != r {
		old.destroy(r)
	}
}

// Seal forgets the keys; later calls fail with ErrSealed, those in progress finish. It stores the
// exact numbers of encryptions. Where that fails it returns the error, and the barrier is sealed
// all the same.
func (b *Barrier) Seal(ctx context.Context) error {
	b.change.Lock()
	defer b.change.Unlock()
	b.counting.Lock()
	defer b.counting.Unlock()
	r := b.ring.Swap(nil)
	if r == nil {
		return nil
	}
	for _, t := range r.terms {
		t.count.used.Or(counterClosed)
	}
	var err error
	if !r.frozen {
		err = b.storeAtEnd(ctx, r)
	}
	b.memory.keep(r)
	r.destroy(nil)
	b.dropAlternate(nil)
	return err
}

// storeAtEnd stores the exact numbers of encryptions, and the census where that is exact and no
// commit is in progress any more.
func (b *Barrier) storeAtEnd(ctx context.Context, r *ring) error {
	if !b.writing.TryLock() {
		_, err := b.storeExactCounts(ctx, r, 0)
		return err
	}
	defer b.writing.Unlock()
	if !b.census.storable() {
		_, err := b.storeExactCounts(ctx, r, 0)
		return err
	}
	encryptions, err := b.storeExactCounts(ctx, r, 1)
	if err != nil || !b.census.storable() {
		return err
	}
	return b.storeCensus(ctx, r, encryptions)
}

// Sealed reports whether the barrier is sealed.
func (b *Barrier) Sealed() bool { return b.ring.Load() == nil }

// Fence adds the epoch of a leader to every later commit, so that a deposed leader cannot write; 0
// removes it.
func (b *Barrier) Fence(epoch uint64) { b.epoch.Store(epoch) }

// Reload reads keyring and counts again: to follow another node, or after an uncertain commit. It
// fails with ErrWrongRoot where another node has replaced the root key; the barrier must then be
// unsealed with the new one.
func (b *Barrier) Reload(ctx context.Context) error {
	b.change.Lock()
	defer b.change.Unlock()
	b.counting.Lock()
	defer b.counting.Unlock()
	return b.reload(ctx)
}

func (b *Barrier) reload(ctx context.Context) error {
	old := b.ring.Load()
	if old == nil {
		return ErrSealed
	}
	record, err := b.readKeyring(ctx)
	if err != nil {
		return err
	}
	r, err := b.reopen(record, old)
	if errors.Is(err, ErrWrongRoot) && b.handOver != nil {
		r, err = b.inherit(ctx, record, old)
	}
	if err != nil {
		return err
	}
	if err := b.loadCounts(ctx, r); err != nil {
		r.destroy(old)
		return err
	}
	b.swap(r)
	return nil
}

// reopen opens a record with the root key in use, or with the one of an uncertain replacement.
func (b *Barrier) reopen(record []byte, old *ring) (*ring, error) {
	if bytes.Equal(record, old.record) {
		return &ring{root: old.root, generation: old.generation, record: record, terms: old.terms, active: old.active,
			trust: old.trust}, nil
	}
	root, generation := old.root, old.generation
	if stored, err := keyringGeneration(record); err == nil && b.alternate != nil && stored == b.alternate.generation {
		root, generation = b.alternate.root, b.alternate.generation
	}
	r, err := openRing(record, root, generation)
	if err != nil {
		return nil, err
	}
	r.adopt(old)
	return r, nil
}

// dropAlternate forgets the root key of an uncertain replacement, and keeps next instead.
func (b *Barrier) dropAlternate(next *alternate) {
	if b.alternate != nil {
		b.alternate.root.Destroy()
	}
	b.alternate = next
}

// VerifyRoot reports, in constant time, whether root is the root key in use. A sealed barrier has
// none.
func (b *Barrier) VerifyRoot(root *secret.Bytes) bool {
	b.change.Lock()
	defer b.change.Unlock()
	r := b.ring.Load()
	return r != nil && r.root.Equal(root)
}

// WithRoot calls f with the root key in use, which f must not keep. A sealed barrier fails with
// ErrSealed.
func (b *Barrier) WithRoot(f func(root *secret.Bytes) error) error {
	b.change.Lock()
	defer b.change.Unlock()
	r := b.ring.Load()
	if r == nil {
		return ErrSealed
	}
	return f(r.root)
}

// RootGeneration is the generation of the root key in use, 0 while sealed.
func (b *Barrier) RootGeneration() uint64 {
	if r := b.ring.Load(); r != nil {
		return r.generation
	}
	return 0
}

// KeyStatus is the state of one term.
type KeyStatus struct {
	Term        uint32
	Installed   time.Time
	Encryptions uint64
}

// Terms returns the status of the newest terms, at most limit of them, by number; none while
// sealed.
func (b *Barrier) Terms(limit int) []KeyStatus {
	r := b.ring.Load()
	if r == nil {
		return nil
	}
	var all []KeyStatus
	for _, t := range r.terms[max(0, len(r.terms)-limit):] {
		all = append(all, KeyStatus{Term: t.id, Installed: t.installed, Encryptions: t.count.load()})
	}
	return all
}

// OldestTerm returns the number of the oldest term, 0 while sealed.
func (b *Barrier) OldestTerm() uint32 {
	if r := b.ring.Load(); r != nil {
		return r.terms[0].id
	}
	return 0
}

// KeyringIsStored reports whether the stored keyring is the one in use.
func (b *Barrier) KeyringIsStored(ctx context.Context) (bool, error) {
	b.change.Lock()
	defer b.change.Unlock()
	r := b.ring.Load()
	if r == nil {
		return false, ErrSealed
	}
	record, err := b.readKeyring(ctx)
	if errors.Is(err, ErrNotFormatted) {
		return false, nil
	}
	return bytes.Equal(record, r.record), err
}

// KeyStatus returns the status of the active term, the zero value while sealed.
func (b *Barrier) KeyStatus() KeyStatus {
	r := b.ring.Load()
	if r == nil {
		return KeyStatus{}
	}
	return KeyStatus{Term: r.active.id, Installed: r.active.installed, Encryptions: r.active.count.load()}
}
