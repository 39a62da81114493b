package node

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// A node of a cluster, from unseal to seal, is standby and leader in turn. Its keys (Node.core) stay open all the time, so that no change of
// role asks a seal; each role gets an [RoleState] of its own, with caches and locks that nothing of another role has touched, and a [seat] whose
// epoch never changes.
//
//	unsealed -> standby: follows, campaigns -> elected: reads everything again, writes core/leader -> active
//	active   -> steps down, or has lost the office -> standby

// errBetweenRoles is for requests in between.
var errBetweenRoles = fault.New(fault.Unavailable, "this node is between two roles in its cluster; try again")

// tenure is the time from unseal to seal of a node in a cluster.
type roleLoop struct {
	stop context.CancelFunc
	done chan struct{}
}

// startRoles begins it. The caller holds transition, and n.core is set.
func (n *Node) startRoles() {
	ctx, cancel := context.WithCancel(context.Background())
	t := &roleLoop{cancel, make(chan struct{})}
	n.roleLoop.Store(t)
	go func() {
		defer close(t.done)
		defer cancel()
		n.runRoles(ctx)
	}()
}

// stopRoles ends it: a leader steps down. The caller must not hold transition.
func (n *Node) stopRoles() {
	if t := n.roleLoop.Swap(nil); t != nil {
		t.stop()
		<-t.done
	}
}

// lockWithoutRole takes transition while no office is open.
func (n *Node) lockWithoutRole() {
	for {
		n.stopRoles()
		n.transition.Lock()
		if n.roleLoop.Load() == nil {
			return
		}
		n.transition.Unlock()
	}
}

// reside is standby and leader in turn until ctx ends.
func (n *Node) runRoles(ctx context.Context) {
	var closing sync.WaitGroup
	defer closing.Wait()
	for ctx.Err() == nil {
		l := n.runStandby(ctx, &closing)
		if l == nil {
			break
		}
		n.lead(ctx, l, &closing)
	}
	n.publish(nil, &closing)
	n.setLeader(nil)
}

// publish shows a role to the requests, and lets go of the one before: those who use that may finish, within a bound.
func (n *Node) publish(a *RoleState, closing *sync.WaitGroup) {
	old := n.role.Swap(a)
	if a != nil {
		n.setDegraded(nil)
	}
	n.changed.tell()
	if old == nil {
		return
	}
	old.inflight.shut()
	closing.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timing.Drain)
		defer cancel()
		old.inflight.drain(ctx)
		_ = old.close(ended) // nothing is written
	})
}

// ended is a context that is over: a barrier that is sealed with it writes nothing.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// close ends what runs for a role and forgets its keys. Only with a context that lasts it writes the encryption counts.
func (a *RoleState) close(ctx context.Context) error {
	a.stop()
	return a.barrier.Seal(ctx)
}

// runStandby serves as a standby until this node is elected; nil once ctx ends.
func (n *Node) runStandby(ctx context.Context, closing *sync.WaitGroup) storage.Leadership {
	standby, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	ready := make(chan struct{})
	wg.Go(func() { n.follow(standby, closing, sync.OnceFunc(func() { close(ready) })) })
	wg.Go(func() { n.announce(standby) })
	select {
	case <-ready:
	case <-ctx.Done():
		return nil
	}
	return n.campaign(ctx)
}

// campaign waits until this node is elected; nil once ctx ends. A node that has stepped down lets others go first.
func (n *Node) campaign(ctx context.Context) storage.Leadership {
	identity, err := json.Marshal(*n.cfg.Cluster)
	if err != nil {
		panic(err) // texts always encode
	}
	standing, cancel := context.WithCancel(ctx) // until this node is told to stop
	defer cancel()
	go func() {
		select {
		case <-n.retire:
			cancel()
		case <-standing.Done():
		}
	}()
	wait := n.cfg.Timing.RetryMin
	for n.awaitCandidacy(ctx) {
		l, err := n.cfg.Store.(storage.Elector).Campaign(standing, identity) //nolint:forcetypeassert // New has looked
		if err == nil {
			if !n.retiring() {
				return l
			}
			n.resign(l)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if n.retiring() {
			continue
		}
		n.setDegraded(err)
		n.log.Warn("this node cannot stand for election; it is tried again", "error", err)
		if !sleep(ctx, jitter(wait)) {
			return nil
		}
		wait = min(2*wait, n.cfg.Timing.RetryMax)
	}
	return nil
}

// yield waits while this node shall not be elected: it has stepped down and nobody has followed yet, or it is about to end.
func (n *Node) awaitCandidacy(ctx context.Context) bool {
	pause := time.NewTimer(time.Until(time.Unix(0, n.pauseUntil.Load())))
	defer pause.Stop()
	for over := false; ; {
		changed := n.changed.wait()
		if !n.retiring() && (over || n.pauseUntil.Load() == 0 || n.leader.Load() != nil) {
			n.pauseUntil.Store(0)
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-changed:
		case <-pause.C:
			over = true
		}
	}
}

// sleep waits, and reports whether ctx still lasts.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (n *Node) resign(l storage.Leadership) {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timing.Prove)
	defer cancel()
	if err := l.Resign(ctx); err != nil {
		n.log.Warn("the office could not be given up; it ends with its lease", "error", err)
	}
}

// lead serves as leader from the election until the office is lost, given up, or ctx ends.
func (n *Node) lead(ctx context.Context, l storage.Leadership, closing *sync.WaitGroup) {
	a, err := n.becomeLeader(ctx, l, closing)
	if err != nil {
		if ctx.Err() == nil {
			n.cfg.Metrics.Counter("core.leadership_setup_failed").Inc()
			n.setDegraded(err)
			n.log.Error("elected, but not able to lead; another node may", "epoch", l.Epoch(), "error", err)
		}
		n.pauseUntil.Store(time.Now().Add(n.cfg.Timing.Pause).UnixNano())
		n.resign(l)
		return
	}
	select {
	case <-l.Lost():
		n.cfg.Metrics.Counter("core.leadership_lost").Inc()
		n.setLeader(nil)
		n.role.CompareAndSwap(a, nil)
		a.inflight.shut()
		n.changed.tell()
		_ = a.close(ended) // nothing is written: another node may be in office
		n.log.Warn("the office is lost; this node is a standby and stands for election again", "epoch", l.Epoch())
		return
	case <-ctx.Done():
	case <-n.stepDownRequested:
		n.pauseUntil.Store(time.Now().Add(n.cfg.Timing.Pause).UnixNano())
	}
	n.stepDownInOrder(a, l)
}

// leave gives the office up in order: no new requests, those under way finish, the exact counts are written, and only then the next is elected.
func (n *Node) stepDownInOrder(a *RoleState, l storage.Leadership) {
	defer n.cfg.Metrics.Timer("core.step_down").Since(time.Now())
	n.setLeader(nil)
	n.role.CompareAndSwap(a, nil)
	a.inflight.shut()
	n.changed.tell()
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Timing.Drain)
	defer cancel()
	lasting, lost := context.WithCancel(ctx)
	defer lost()
	go func() {
		select {
		case <-l.Lost():
			lost()
		case <-lasting.Done():
		}
	}()
	a.inflight.drain(lasting)
	if err := a.close(lasting); err != nil {
		n.log.Warn("the encryption counts could not be written; the next leader assumes the higher, reserved ones", "error", err)
	}
	n.resign(l)
	n.log.Info("stepped down", "epoch", l.Epoch())
}

// becomeLeader reads everything again, in the name of the new term, and begins to answer.
func (n *Node) becomeLeader(ctx context.Context, l storage.Leadership, closing *sync.WaitGroup) (*RoleState, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.BecomeLeader)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-l.Lost():
			cancel()
		case <-done:
		}
	}()
	n.transition.Lock()
	defer n.transition.Unlock()
	if err := n.restored(ctx, l.Epoch()); err != nil {
		return nil, err
	}
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	b, err := n.enter(ctx, &fencedStore{Store: n.cfg.Store, epoch: l.Epoch()})
	if err != nil {
		return nil, err
	}
	b.Fence(l.Epoch())
	a, err := n.assemble(ctx, b, false)
	if err != nil {
		return nil, errors.Join(err, b.Seal(ended))
	}
	a.leadership, a.inflight = l, newInflight()
	self, err := n.recordLeader(ctx, a)
	if err != nil {
		return nil, errors.Join(err, a.close(ended))
	}
	if err := n.rotateRestored(ctx, b); err != nil {
		return nil, errors.Join(err, a.close(ended))
	}
	n.ceremonies.StartKeeping()
	n.publish(a, closing)
	n.setLeader(self)
	n.poke() // what is due is done now
	n.log.Info("active", "epoch", l.Epoch(), "cluster", n.state.Load().clusterName, "term", b.KeyStatus().Term, "generation", b.RootGeneration())
	return a, nil
}

// enter opens a barrier for a role from the keys that the node has, as of now. Where the root key was replaced meanwhile it gets the new one:
// handed over, or from a seal that needs nobody. The caller holds transition and has loaded the facts.
func (n *Node) enter(ctx context.Context, s *fencedStore) (*barrier.Barrier, error) {
	keys := n.core.Load()
	if keys == nil {
		return nil, barrier.FaultSealed
	}
	err := keys.Reload(ctx)
	if errors.Is(err, barrier.ErrWrongRoot) && !n.seals.Load().NeedsShares() {
		if keys, err = n.rekeyed(ctx); err == nil {
			n.core.Store(keys)
		}
	}
	if err != nil {
		return nil, err
	}
	b, err := keys.Clone(s)
	if err != nil {
		return nil, err
	}
	if err := b.Reload(ctx); err != nil {
		return nil, errors.Join(err, b.Seal(ended))
	}
	return b, nil
}

// rekeyed asks the seals for the root key that another node has made.
func (n *Node) rekeyed(ctx context.Context) (*barrier.Barrier, error) {
	record := n.state.Load().record
	root, err := n.seals.Load().Unwrap(ctx, record, nil)
	if err != nil {
		return nil, err
	}
	defer root.Destroy()
	b := barrier.New(&fencedStore{Store: n.cfg.Store}, n.barrierOptions())
	if err := b.Unseal(ctx, root, record.Generation); err != nil {
		return nil, err
	}
	n.log.Info("the root key was replaced by another node; the seals gave the new one", "generation", record.Generation)
	return b, nil
}
