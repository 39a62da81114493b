package barrier

import (
	"github.com/sealgate/sealgate/internal/storage"
)

// Clone returns a barrier with the same keys on another handle of the same storage. It has its own
// copies of the keys, so that each is sealed without the other. It reads nothing: [Barrier.Reload]
// brings it up to date, and must succeed before it writes.
func (b *Barrier) Clone(store storage.Store) (*Barrier, error) {
	b.change.Lock()
	defer b.change.Unlock()
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	again, err := openRing(r.record, r.root, r.generation)
	if err != nil {
		return nil, err
	}
	again.frozen = true // its counts were not read
	c := &Barrier{store: store, now: b.now, rand: b.rand, log: b.log, handOver: b.handOver, memory: b.memory,
		outside: b.outside}
	c.ring.Store(again)
	return c, nil
}
