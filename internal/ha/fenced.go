package ha

import (
	"context"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// ErrStandby is returned for a write on a node that does not lead. Nothing was written: the request
// is for the leader.
var ErrStandby = fault.New(fault.Unavailable, "this node is a standby; nothing was written: ask the active node")

// Fenced is the storage as one role of this node uses it. Its epoch never changes: the storage
// refuses a commit that was prepared under one leadership in any other, also in a later one of the
// same node.
type Fenced struct {
	storage.Store
	epoch uint64 // 0: a standby's
}

// Fence returns store for a leader with an epoch; 0: for a standby, which cannot write.
func Fence(store storage.Store, epoch uint64) *Fenced { return &Fenced{Store: store, epoch: epoch} }

// Commit implements storage.Store.
func (s *Fenced) Commit(ctx context.Context, b storage.Batch) error {
	if s.epoch == 0 {
		return ErrStandby
	}
	b.Epoch = s.epoch
	t, _ := ctx.Value(traceKey{}).(*Trace)
	if t != nil {
		t.sent.Add(1)
	}
	err := s.Store.Commit(ctx, b)
	if t != nil && err != nil && storage.NothingWritten(err) {
		t.sent.Add(-1)
	}
	return err
}

// Trace records whether a request may have changed the storage.
type Trace struct{ sent atomic.Int64 }

// Wrote reports whether a commit was made, or may have been.
func (t *Trace) Wrote() bool { return t != nil && t.sent.Load() > 0 }

type traceKey struct{}

// WithTrace makes commits with this context known to t. Only nodes of a cluster record them.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}
