package barrier

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"

	"github.com/sealgate/sealgate/internal/storage"
)

// CountMemory is what a process remembers of its encryptions by each term, so that an attacker who
// writes the storage cannot make it encrypt more than a term allows: he can put back an older count
// while the node is sealed, or while another node leads. It is shared by all barriers of a node and
// safe for concurrent use.
type CountMemory struct {
	mu   sync.Mutex
	used map[[sha256.Size]byte]uint64 // by the hash of the term's key
}

// memoryDomain separates the hash of a key from every other use of the key.
const memoryDomain = "sealgate/barrier/count-memory/v1\x00"

func (t *term) memoryID() [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte(memoryDomain))
	h.Write(t.key.Expose())
	return [sha256.Size]byte(h.Sum(nil))
}

// keep remembers the counts of a ring that is sealed. A barrier that has encrypted nothing by a
// term only knows a bound that another node may since have lowered to the exact number.
func (m *CountMemory) keep(r *ring) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range r.terms {
		if !t.count.own.Load() {
			continue
		}
		if m.used == nil {
			m.used = map[[sha256.Size]byte]uint64{}
		}
		id := t.memoryID()
		m.used[id] = max(m.used[id], min(t.count.load(), t.count.bound.Load())) // what is beyond the bound was refused
	}
}

func (m *CountMemory) recall(t *term) uint64 {
	if m == nil {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.used) == 0 {
		return 0
	}
	return m.used[t.memoryID()]
}

// recall raises counters that were read to what the process remembers. Where the active term's
// stored count was lower, it is in doubt: other nodes may have believed it.
func (b *Barrier) recall(r *ring) {
	for _, t := range r.terms {
		used := b.memory.recall(t)
		now := t.count.load()
		if used <= now {
			continue
		}
		t.count.used.Add(used - now) // added, not set: writers may be counting
		if t == r.active {
			b.log.Error("ALARM: the stored number of encryptions is lower than this node has made: the storage was changed "+
				"outside this program; the barrier key is due for rotation", "term", t.id, "stored", now, "made", used)
			b.doubt.Store(t.id)
		}
	}
}

// doubtful reports whether the count of the active term is in doubt: it could not be read, or what
// is stored is lower than what this barrier has stored.
func (b *Barrier) doubtful(ctx context.Context) (bool, error) {
	b.counting.Lock()
	defer b.counting.Unlock()
	r := b.ring.Load()
	if r == nil {
		return false, ErrSealed
	}
	if b.doubt.Load() == r.active.id {
		return true, nil
	}
	bound := r.active.count.bound.Load()
	counts, err := b.readCounts(ctx, r)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrCorrupt), errors.Is(err, errUnknownTerm):
	case err != nil:
		return false, err
	case counts[r.active.id] >= bound:
		return false, nil
	}
	if bound == 0 {
		return false, nil // nothing was stored yet
	}
	b.log.Error("ALARM: the stored number of encryptions is lower than this node has stored, or gone: the storage was "+
		"changed outside this program; the barrier key is due for rotation", "term", r.active.id, "error", err)
	b.doubt.Store(r.active.id)
	return true, nil
}
