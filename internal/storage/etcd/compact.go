package etcd

import (
	"context"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compactEvery is the distance of compactions, and so the age of history at which it goes: between one and two of it.
const compactEvery = 5 * time.Minute

// sweeper compacts etcd's history while this node is the leader, so that nobody has to: each renewal and each commit adds to it,
// and an etcd that reaches its quota refuses all writes.
type sweeper struct {
	store  *Store
	ticker *time.Ticker // nil where compaction is disabled
	latest atomic.Int64 // revision
	older  atomic.Int64 // as it was when the ticker last ticked
	denied atomic.Bool
}

func (s *Store) sweeper() *sweeper {
	w := &sweeper{store: s}
	if !s.o.DisableCompaction {
		w.ticker = time.NewTicker(compactEvery)
	}
	return w
}

func (w *sweeper) stop() {
	if w.ticker != nil {
		w.ticker.Stop()
	}
}

// due is never ready where compaction is disabled.
func (w *sweeper) due() <-chan time.Time {
	if w.ticker == nil {
		return nil
	}
	return w.ticker.C
}

// saw notes etcd's revision.
func (w *sweeper) saw(revision int64) { w.latest.Store(max(revision, w.latest.Load())) }

// compact removes what was history already when it was last called.
func (w *sweeper) compact(ctx context.Context) {
	old := w.older.Swap(w.latest.Load())
	if old == 0 {
		return
	}
	s := w.store
	limited, cancel := context.WithTimeout(ctx, s.o.RequestTimeout)
	defer cancel()
	_, err := s.kv.Compact(limited, &pb.CompactionRequest{Revision: old}, callOptions...)
	switch {
	case err == nil, is(err, rpctypes.ErrCompacted), ctx.Err() != nil: // somebody else did; or we are no longer the leader
	case is(err, rpctypes.ErrPermissionDenied):
		if w.denied.CompareAndSwap(false, true) {
			s.log.Warn("etcd does not let this user compact its history, and would reach its quota some day: start etcd with" +
				" --auto-compaction-retention=5m, and set disable_compaction")
		}
	default:
		s.log.Warn("compacting etcd's history failed; it is tried again", "in", compactEvery.String(), "error", s.explain(ctx, "compacting", err))
	}
}
