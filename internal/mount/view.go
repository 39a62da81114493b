package mount

import (
	"context"
	"sync"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// view is the part of the storage that a mount can access.
type view struct {
	base      Storage
	prefix    string
	writeLock *writeLock
}

// ErrChanged is returned for a write through a mount that was changed, moved or removed meanwhile.
// Nothing was written, so a caller may route the request again after [Table.Settle].
var ErrChanged = fault.New(fault.NotFound, "the mount was changed or removed during the request; nothing was "+
	"written: try again")

// writeLock stops the writes of a backend that is no longer in the table. The clean-up must be the
// last to write below a removed mount, and a backend that decides by what it read must not write
// concurrently with its successor.
type writeLock struct {
	mu     sync.RWMutex // held for reading during a commit
	closed bool
}

func (g *writeLock) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (v *view) Get(ctx context.Context, key string) ([]byte, error) {
	return v.base.Get(ctx, v.prefix+key)
}

func (v *view) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	return v.base.List(ctx, v.prefix+prefix, after, limit)
}

func (v *view) Commit(ctx context.Context, b storage.Batch) error {
	v.writeLock.mu.RLock()
	defer v.writeLock.mu.RUnlock()
	if v.writeLock.closed {
		return ErrChanged
	}
	below := storage.Batch{Epoch: b.Epoch, Ops: make([]storage.Op, len(b.Ops)), If: make([]storage.Condition, len(b.If))}
	for i, op := range b.Ops {
		op.Key = v.prefix + op.Key
		below.Ops[i] = op
	}
	for i, c := range b.If {
		c.Key = v.prefix + c.Key
		below.If[i] = c
	}
	return v.base.Commit(ctx, below)
}
