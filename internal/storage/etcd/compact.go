package etcd

import (
	"context"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// compactEvery is the interval of compactions; history is removed at an age of one to two
// intervals.
const compactEvery = 5 * time.Minute

// sweeper compacts etcd's history while this node leads: each renewal and each commit adds to it,
// and an etcd that reaches its quota refuses all writes.
type sweeper struct {
	store  *Store
	ticker *time.Ticker // nil where compaction is disabled
	latest atomic.Int64 // latest known revision
	older  atomic.Int64 // latest as of the last tick
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

// due is never ready if compaction is disabled.
func (w *sweeper) due() <-chan time.Time {
	if w.ticker == nil {
		return nil
	}
	return w.ticker.C
}

// observe records etcd's revision.
func (w *sweeper) observe(revision int64) { w.latest.Store(max(revision, w.latest.Load())) }

// compact removes what was already history at the last call.
func (w *sweeper) compact(ctx context.Context) {
	old := w.older.Swap(w.latest.Load())
	if old == 0 {
		return
	}
	s := w.store
	limited, cancel := context.WithTimeout(ctx, s.o.RequestTimeout)
	defer cancel()
	call := func(ctx context.Context, l *link) (*pb.CompactionResponse, error) {
		return l.kv.Compact(ctx, &pb.CompactionRequest{Revision: old}, callOptions...)
	}
	_, _, err := ask(limited, s, job{"compacting", false}, call)
	switch {
	// another client did, or this node no longer leads
	case err == nil, isAny(err, rpctypes.ErrCompacted), ctx.Err() != nil:
	case isAny(err, rpctypes.ErrPermissionDenied):
		if w.denied.CompareAndSwap(false, true) {
			s.log.Warn("etcd does not permit this user to compact the history, which will reach the quota: start etcd with" +
				" --auto-compaction-retention=5m, and set disable_compaction")
		}
	default:
		s.log.Warn("cannot compact etcd's history; retrying", "in", compactEvery.String(), "error",
			s.explain(ctx, "compacting", err))
	}
}
