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
	renewalsInTTL = 3  // attempts in the length of a lease, each of which may take until its end
	marginInTTL   = 10 // the holder's lease ends a tenth before the candidates'
)

// leadership is an office held. It renews the lease until it is lost.
type leadership struct {
	store *Store
	epoch uint64
	ttl   time.Duration

	until atomic.Int64 // reading of the clock up to which nobody else can be elected; 0 once it is over
	lost  chan struct{}
	mu    sync.Mutex
	over  bool
	stop  context.CancelFunc
	ended chan struct{} // closed when no renewal is under way
}

// renewal is what became of one.
type renewal struct {
	sent     time.Duration
	ok       bool  // the lease is ours from sent on
	deposed  bool  // another leader is in office, or none
	revision int64 // of etcd
	err      error
}

// seated starts the office that was won by a transaction sent at that time.
func (s *Store) elected(epoch uint64, sent time.Duration) (*leadership, error) {
	l := &leadership{store: s, epoch: epoch, ttl: s.o.LeaseTTL, lost: make(chan struct{}), ended: make(chan struct{})}
	l.until.Store(int64(l.end(sent)))
	ctx, stop := context.WithCancel(s.closing)
	l.stop = stop
	s.closeLock.Lock()
	defer s.closeLock.Unlock()
	if s.shut { // it was won while Close began: the lease runs out by itself
		stop()
		return nil, storage.ErrClosed
	}
	s.leaderships[l] = struct{}{}
	s.tasks.Go(func() { l.keep(ctx) })
	return l, nil
}

// end of a lease that was asked for at that time.
func (l *leadership) end(sent time.Duration) time.Duration { return sent + l.ttl - l.ttl/marginInTTL }

// Epoch implements storage.Leadership.
func (l *leadership) Epoch() uint64 { return l.epoch }

// Lost implements storage.Leadership.
func (l *leadership) Lost() <-chan struct{} { return l.lost }

// Held implements storage.Leadership.
func (l *leadership) Held() bool { return int64(l.store.clock()) < l.until.Load() }

// keep renews until the office is lost.
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
				l.lose("another node is in office, or the office was taken away")
				return
			}
			if r.ok {
				l.extend(r.sent)
				sweep.saw(r.revision)
				end.Reset(l.left())
			} else {
				l.store.log.Warn("etcd did not confirm the lease; trying again", "left", l.left().String(), "error", r.err)
			}
		case <-sweep.due():
			attempts.Go(func() { sweep.compact(ctx) })
		}
	}
}

// left is how long the office is still certain.
func (l *leadership) left() time.Duration {
	return max(0, time.Duration(l.until.Load())-l.store.clock())
}

// extend moves the end, never back, and never once it is over.
func (l *leadership) extend(sent time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if end := int64(l.end(sent)); !l.over && end > l.until.Load() {
		l.until.Store(end)
	}
}

// renew writes the lease anew if the office is still ours.
func (l *leadership) renew(ctx context.Context) renewal {
	s := l.store
	r := renewal{sent: s.clock()}
	ctx, cancel := s.limit(ctx, min(l.left(), s.o.RequestTimeout))
	defer cancel()
	resp, err := s.send(ctx, &pb.TxnRequest{
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

// lose ends the office, once.
func (l *leadership) lose(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	l.until.Store(0)
	close(l.lost)
	l.store.log.Info("the office is over", "epoch", l.epoch, "cause", why)
	l.store.closeLock.Lock()
	delete(l.store.leaderships, l)
	l.store.closeLock.Unlock()
}

// Resign implements storage.Leadership: the office is over at once; without an error it is vacant, too.
func (l *leadership) Resign(ctx context.Context) error {
	l.lose("it was given up")
	l.stop()
	<-l.ended
	s := l.store
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	_, err := s.txn(ctx, "giving the office up", &pb.TxnRequest{
		Compare: []*pb.Compare{written(s.keys.leader, int64(l.epoch))},
		Success: []*pb.RequestOp{deleteOp(s.keys.leader), deleteOp(s.keys.lease)},
	})
	return err
}
