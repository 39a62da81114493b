package barrier

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/storage"
)

// countBlock is how many encryptions are reserved at a time.
const countBlock = 4096

// The entry at countsPath has for each term a number that its encryptions have not exceeded:
//
//	version 1 | length u24 | { term u32 | encryptions u64 } ...
//
// with terms in ascending order. It is raised by a block before the first encryption beyond it; the
// exact number is written when the barrier is sealed in order.
const (
	countsVersion   = 1
	countRecordSize = 4 + 8
	maxCount        = 1 << 62 // never reached; far below counterClosed
)

// counter counts the encryptions by a term. Its highest bit is set when the barrier is sealed: a
// writer that still has the ring then gets ErrSealed, so that the exact number that Seal writes
// stays exact.
type counter struct {
	used  atomic.Uint64
	bound atomic.Uint64 // what is stored
	own   atomic.Bool   // this barrier has encrypted by the term
}

const counterClosed = 1 << 63

// take counts n encryptions and returns how many there are then.
func (c *counter) take(n int) (uint64, error) {
	if !c.own.Load() {
		c.own.Store(true)
	}
	used := c.used.Add(uint64(n))
	if used&counterClosed != 0 {
		return 0, ErrSealed
	}
	return used, nil
}

func (c *counter) load() uint64 { return c.used.Load() &^ counterClosed }

// count counts n encryptions by t, and reserves more before they are needed: ahead of time where no
// other writer does so, or else when the reserve is used up.
func (b *Barrier) count(ctx context.Context, t *term, n int) error {
	used, err := t.count.take(n)
	if err != nil {
		return err
	}
	bound := t.count.bound.Load()
	switch {
	case used+countBlock/2 <= bound:
		return nil
	case used > bound:
		b.counting.Lock()
	case !b.counting.TryLock():
		return nil
	}
	defer b.counting.Unlock()
	if used+countBlock/2 <= t.count.bound.Load() {
		return nil
	}
	err = b.extend(ctx, t)
	if err != nil && used <= t.count.bound.Load() {
		return nil // this one is reserved already; the next one tries again
	}
	return err
}

// extend stores a bound one block ahead for t. The caller holds counting.
func (b *Barrier) extend(ctx context.Context, t *term) error {
	r := b.ring.Load()
	if r == nil {
		return ErrSealed
	}
	op, bounds, err := r.booking(t)
	if err != nil {
		return err
	}
	if err := b.commit(ctx, storage.Batch{Ops: []storage.Op{op}, Epoch: b.epoch.Load()}); err != nil {
		return err
	}
	r.booked(bounds)
	return nil
}

// booking returns the operation that stores the bounds of all terms, with a new block for t. The
// entry is itself an encryption by the active term and is counted within what it reserves.
//
// (Where the commit fails, a crash leaves that one encryption uncounted. It never left this
// process.)
func (r *ring) booking(t *term) (storage.Op, []uint64, error) {
	used, err := r.active.count.take(1)
	if err != nil {
		return storage.Op{}, nil, err
	}
	bounds := make([]uint64, len(r.terms))
	for i, each := range r.terms {
		bounds[i] = each.count.bound.Load()
		if each == t {
			bounds[i] = max(bounds[i], each.count.load()+countBlock)
		}
		if each == r.active {
			bounds[i] = max(bounds[i], used)
		}
	}
	return r.countsOp(bounds), bounds, nil
}

// booked takes over bounds that were stored.
func (r *ring) booked(bounds []uint64) {
	for i, t := range r.terms {
		t.count.bound.Store(bounds[i])
	}
}

func (r *ring) countsOp(numbers []uint64) storage.Op {
	return storage.Put(countsPath, r.active.seal(countsPath, marshalCounts(r.terms, numbers)))
}

func marshalCounts(terms []*term, numbers []uint64) []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, 1+3+len(terms)*countRecordSize))
	b.AddUint8(countsVersion)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for i, t := range terms {
			b.AddUint32(t.id)
			b.AddUint64(numbers[i])
		}
	})
	return b.BytesOrPanic() // terms are bounded by maxTerms
}

func unmarshalCounts(plain []byte) (map[uint32]uint64, error) {
	var version uint8
	var list cryptobyte.String
	in := cryptobyte.String(plain)
	if !in.ReadUint8(&version) || version != countsVersion || !in.ReadUint24LengthPrefixed(&list) || !in.Empty() ||
		len(list) > maxTerms*countRecordSize {
		return nil, corrupt(countsPath, "the list of counts is malformed")
	}
	counts := map[uint32]uint64{}
	for last := uint32(0); !list.Empty(); {
		var id uint32
		var n uint64
		if !list.ReadUint32(&id) || !list.ReadUint64(&n) || id <= last || n > maxCount {
			return nil, corrupt(countsPath, "a count is malformed, or out of order")
		}
		counts[id] = n
		last = id
	}
	return counts, nil
}

// loadCounts raises the counters of a ring to what is stored. Counts that cannot be read must not
// make the data unreadable; the active term then counts as used up, so that the next check rotates.
func (b *Barrier) loadCounts(ctx context.Context, r *ring) error {
	counts, err := b.readCounts(ctx, r)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrCorrupt), errors.Is(err, errUnknownTerm):
		b.log.Warn("the numbers of encryptions cannot be read; the barrier key is due for rotation", "error", err)
		counts = map[uint32]uint64{r.active.id: maxOperations}
		b.doubt.Store(r.active.id)
	case err != nil:
		return err
	}
	for _, t := range r.terms {
		// Beyond our own bound, another node counted. At or below it, ours is the exact number.
		stored := counts[t.id]
		if stored <= t.count.bound.Load() {
			continue
		}
		if used := t.count.load(); used < stored {
			t.count.used.Add(stored - used) // added, not set: writers may be counting
		}
		t.count.bound.Store(stored)
	}
	b.recall(r)
	return nil
}

func (b *Barrier) readCounts(ctx context.Context, r *ring) (map[uint32]uint64, error) {
	record, err := b.store.Get(ctx, countsPath)
	if err != nil {
		return nil, err
	}
	if id, ok := termOf(record); ok && id < r.trust.from {
		return nil, errDistrusted(countsPath, id) // each change of the keyring writes it again
	}
	plain, err := r.open(countsPath, record)
	if err != nil {
		return nil, err
	}
	return unmarshalCounts(plain)
}

// storeExactCounts lowers the stored bounds to the exact numbers, and returns the one of the active
// term: more is how many encryptions by it follow. The counters are closed.
func (b *Barrier) storeExactCounts(ctx context.Context, r *ring, more uint64) (uint64, error) {
	numbers := make([]uint64, len(r.terms))
	changed := more > 0
	active := uint64(0)
	for i, t := range r.terms {
		numbers[i] = t.count.load()
		changed = changed || numbers[i] != t.count.bound.Load()
		if t == r.active {
			numbers[i] += 1 + more // this entry
			active = numbers[i]
		}
	}
	if !changed {
		return active, nil
	}
	return active, b.commit(ctx, storage.Batch{Ops: []storage.Op{r.countsOp(numbers)}, Epoch: b.epoch.Load()})
}
