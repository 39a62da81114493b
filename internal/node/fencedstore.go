package node

import (
	"context"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// ErrStandby is returned for whatever would write on a node that does not lead. Nothing was written: the request is for the leader.
var ErrStandby = fault.New(fault.Unavailable, "this node is a standby; nothing was written: ask the active node")

// seat is the storage as one role of this node sees it. Whoever holds one keeps its epoch for good: a commit that was prepared in a term of
// office goes out in that term's name, and is refused by the storage in any other, also in a later one of the same node.
type fencedStore struct {
	storage.Store
	epoch uint64 // of the leader's office; 0: a standby's, and nothing can be written
}

// Commit implements storage.Store.
func (s *fencedStore) Commit(ctx context.Context, b storage.Batch) error {
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

// Trace tells whether a request may have changed the storage.
type Trace struct{ sent atomic.Int64 }

// Wrote reports whether a commit was made, or may have been.
func (t *Trace) Wrote() bool { return t != nil && t.sent.Load() > 0 }

type traceKey struct{}

// WithTrace makes commits with this context known to t. Only nodes of a cluster keep it.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}
