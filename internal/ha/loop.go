package ha

import (
	"context"
	"sync"

	"github.com/sealgate/sealgate/internal/storage"
)

// roleLoop is the time from unseal to seal.
type roleLoop struct {
	stop context.CancelFunc
	done chan struct{}
}

// Start begins to follow and to campaign. The caller holds the lock, and the host has the keys.
func (r *Replica) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	l := &roleLoop{cancel, make(chan struct{})}
	r.loop.Store(l)
	go func() {
		defer close(l.done)
		defer cancel()
		r.run(ctx)
	}()
}

// Stop ends the role: a leader steps down. The caller must not hold the lock while this node may
// follow or become the leader.
func (r *Replica) Stop() {
	if l := r.loop.Swap(nil); l != nil {
		l.stop()
		<-l.done
	}
}

// Running reports whether Start was called after the last Stop.
func (r *Replica) Running() bool { return r.loop.Load() != nil }

// run is a standby and a leader in turn until ctx ends.
func (r *Replica) run(ctx context.Context) {
	var closing sync.WaitGroup
	defer closing.Wait()
	for ctx.Err() == nil {
		l := r.standBy(ctx, &closing)
		if l == nil {
			break
		}
		r.lead(ctx, l, &closing)
	}
	r.publish(nil, nil, &closing)
	r.setLeader(nil)
}

// publish serves requests with a role, and closes the one before: requests that use it may finish,
// within a bound.
func (r *Replica) publish(next Role, l storage.Leadership, closing *sync.WaitGroup) {
	if next != nil {
		r.current.Store(&held{next, l})
		r.setDegraded(nil)
	} else {
		r.current.Store(nil)
	}
	old := r.Host.Publish(next)
	r.changed.notify()
	if old == nil {
		return
	}
	old.Inflight().Close()
	closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), r.Timing.Drain)
		defer cancel()
		old.Inflight().Drain(ctx)
		_ = old.Close(ended) // nothing is written
	})
}

// withdraw serves no more requests with a leader's role. The caller closes it.
func (r *Replica) withdraw(role Role) {
	r.setLeader(nil)
	r.current.Store(nil)
	r.Host.Publish(nil)
	role.Inflight().Close()
	r.changed.notify()
}

// standBy serves as a standby until this node is elected; it returns nil once ctx ends.
func (r *Replica) standBy(ctx context.Context, closing *sync.WaitGroup) storage.Leadership {
	standby, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	ready := make(chan struct{})
	wg.Go(func() { r.follow(standby, closing, sync.OnceFunc(func() { close(ready) })) })
	wg.Go(func() { r.announce(standby) })
	select {
	case <-ready:
	case <-ctx.Done():
		return nil
	}
	return r.campaign(ctx)
}
