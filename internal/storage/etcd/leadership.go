package etcd

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	renewalsInTTL = 3  // attempts for each lease, each of which may take until its end
	marginInTTL   = 10 // the leader's lease ends a tenth earlier than the candidates wait
)

// leadership is a held leadership. It renews the lease until it is lost.
type leadership struct {
	store *Store
	epoch uint64
	ttl   time.Duration

	until atomic.Int64 // clock reading up to which no other node can be elected; 0 once lost
	lost  chan struct{}
	mu    sync.Mutex
	over  bool
	stop  context.CancelFunc
	ended chan struct{} // closed when no renewal is in progress
}

// renewal is the result of one renewal.
type renewal struct {
	sent     time.Duration
	ok       bool  // the lease is ours from sent on
	deposed  bool  // another node leads, or none
	revision int64 // of etcd
	err      error
}

// elected starts the leadership won by a transaction that was sent at that time.
func (s *Store) elected(epoch uint64, sent time.Duration) (*leadership, error) {
	l := &leadership{store: s, epoch: epoch, ttl: s.o.LeaseTTL, lost: make(chan struct{}), ended: make(chan struct{})}
	l.until.Store(int64(l.end(sent)))
	ctx, stop := context.WithCancel(s.closing)
	l.stop = stop
	s.closeLock.Lock()
	defer s.closeLock.Unlock()
	if s.shut { // won while Close began: the lease expires
		stop()
		return nil, storage.ErrClosed
	}
	s.leaderships[l] = struct{}{}
	s.tasks.Go(func() { l.keep(ctx) })
	return l, nil
}

// end returns the end of a lease that was requested at that time.
func (l *leadership) end(sent time.Duration) time.Duration { return sent + l.ttl - l.ttl/marginInTTL }

// Epoch implements storage.Leadership.
func (l *leadership) Epoch() uint64 { return l.epoch }

// Lost implements storage.Leadership.
func (l *leadership) Lost() <-chan struct{} { return l.lost }

// Held implements storage.Leadership.
func (l *leadership) Held() bool { return int64(l.store.clock()) < l.until.Load() }

// keep renews the lease until the leadership is lost.
func (l *leadership) keep(ctx context.Context) {
	defer close(l.ended)
	defer l.lose("the server is stopping")
	var attempts sync.WaitGroup
	defer attempts.Wait()
	defer l.stop()
	results := make(chan renewal, renewalsInTTL+1)
	tick := time.NewTicker(l.ttl / renewalsInTTL)
	defer tick.Stop()
	end := time.NewTimer(l.left())
	defer end.Stop()
	sweep := l.store.sweeper()
	defer sweep.stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			l.lose("the lease ran out before etcd confirmed another")
			return
		case <-tick.C:
			attempts.Go(func() {
				r := l.renew(ctx)
				select {
				case results <- r:
				case <-ctx.Done():
				}
			})
		case r := <-results:
			if r.deposed {
				l.lose("another node was elected, or the leader record was removed")
				return
			}
			if r.ok {
				l.extend(r.sent)
				sweep.observe(r.revision)
				end.Reset(l.left())
			} else {
				l.store.log.Warn("etcd did not confirm the lease; retrying", "left", l.left().String(), "error", r.err)
			}
		case <-sweep.due():
			attempts.Go(func() { sweep.compact(ctx) })
		}
	}
}

// left returns how long the leadership is still certain.
func (l *leadership) left() time.Duration {
	return max(0, time.Duration(l.until.Load())-l.store.clock())
}

// extend moves the end of the lease, never back, and never after the loss.
func (l *leadership) extend(sent time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if end := int64(l.end(sent)); !l.over && end > l.until.Load() {
		l.until.Store(end)
	}
}

// renew renews the lease if this node still leads.
func (l *leadership) renew(ctx context.Context) renewal {
	s := l.store
	r := renewal{sent: s.clock()}
	ctx, cancel := s.limit(ctx, min(l.left(), s.o.RequestTimeout))
	defer cancel()
	resp, _, err := s.send(ctx, "renewing the lease", &pb.TxnRequest{
		Compare: []*pb.Compare{written(s.keys.leader, int64(l.epoch))},
		Success: []*pb.RequestOp{putOp(s.keys.lease, nil)},
	})
	if err != nil {
		r.err = err
		return r
	}
	r.ok, r.deposed, r.revision = resp.Succeeded, !resp.Succeeded, resp.Header.Revision
	return r
}

// lose ends the leadership, once.
func (l *leadership) lose(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	l.until.Store(0)
	close(l.lost)
	l.store.log.Info("the leadership ended", "epoch", l.epoch, "cause", why)
	l.store.closeLock.Lock()
	delete(l.store.leaderships, l)
	l.store.closeLock.Unlock()
}

// Resign implements storage.Leadership: the leadership ends at once; without an error it is also
// vacant.
func (l *leadership) Resign(ctx context.Context) error {
	l.lose("the node resigned")
	l.stop()
	<-l.ended
	s := l.store
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	_, err := s.txn(ctx, "resigning", &pb.TxnRequest{
		Compare: []*pb.Compare{written(s.keys.leader, int64(l.epoch))},
		Success: []*pb.RequestOp{deleteOp(s.keys.leader), deleteOp(s.keys.lease)},
	})
	return err
}
