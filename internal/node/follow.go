package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// follow keeps a standby warm until ctx ends: it watches the whole store and drops what has changed. Where the watch ends early, or something
// cannot be followed, everything is read again. ready is called after the first attempt: what keeps a node from following may be something that
// only a leader can write.
func (n *Node) follow(ctx context.Context, closing *sync.WaitGroup, ready func()) {
	wait := n.cfg.Timing.RetryMin
	for ctx.Err() == nil {
		begun := time.Now()
		err := n.followOnce(ctx, closing, ready)
		if ctx.Err() != nil {
			return
		}
		ready()
		n.setDegraded(err)
		n.log.Warn("this standby reads everything again", "cause", err)
		if errors.Is(err, barrier.ErrWrongRoot) && n.seals.Load().NeedsShares() {
			n.change(func(f *nodeState) { f.trouble = errLeftBehind })
		}
		if time.Since(begun) > n.cfg.Timing.RetryMin { // it has served: not all standbys at once, and no longer than that
			wait = n.cfg.Timing.RetryMin
			if !sleep(ctx, rand.N(n.cfg.Timing.Stagger)) {
				return
			}
			continue
		}
		if !sleep(ctx, jitter(wait)) {
			return
		}
		wait = min(2*wait, n.cfg.Timing.RetryMax)
	}
}

// errLeftBehind is what a standby under a seal of people says that was away while the root key was replaced.
var errLeftBehind = errors.New("the root key was replaced while this node was away, and it cannot be handed over any more: " +
	"seal this node and unseal it with the current shares")

func (n *Node) followOnce(ctx context.Context, closing *sync.WaitGroup, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := n.cfg.Store.(storage.Watcher).Watch(ctx, "") //nolint:forcetypeassert // New has looked
	if err != nil {
		return fmt.Errorf("watching the storage: %w", err)
	}
	f, err := n.beStandby(ctx, closing)
	if err != nil {
		return err
	}
	defer f.end()
	ready()
	for e := range events {
		if e.Key != "" {
			if err := f.drop(ctx, e.Key); err != nil {
				return fmt.Errorf("following a change of %s: %w", e.Key, err)
			}
			continue
		}
		f.reached(e.Revision)
	}
	return errors.New("the storage's watch has ended: changes may have been missed")
}

// beStandby reads what a standby has in memory and shows it to requests.
func (n *Node) beStandby(ctx context.Context, closing *sync.WaitGroup) (*follower, error) {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.BecomeLeader)
	defer cancel()
	n.transition.Lock()
	defer n.transition.Unlock()
	mark, err := n.sequencer().Revision(ctx) // what is read below is of this revision or a later one
	if err != nil {
		return nil, fmt.Errorf("asking for the storage's revision: %w", err)
	}
	if st, err := snapshot.Pending(ctx, n.cfg.Store); err != nil || st != nil {
		return nil, errors.Join(err, errRestoring)
	}
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	b, err := n.enter(ctx, &fencedStore{Store: n.cfg.Store})
	if err != nil {
		return nil, err
	}
	a, err := n.assemble(ctx, b, true)
	if err != nil {
		return nil, errors.Join(err, b.Seal(ended))
	}
	a.inflight = newInflight()
	a.follower = &follower{n: n, a: a, mark: mark}
	if err := n.learnLeader(ctx, a); err != nil {
		return nil, errors.Join(err, a.close(ended))
	}
	if ctx.Err() != nil { // elected, or sealed, meanwhile
		return nil, errors.Join(ctx.Err(), a.close(ended))
	}
	n.publish(a, closing)
	n.log.Info("standby", "cluster", n.state.Load().clusterName, "term", b.KeyStatus().Term, "generation", b.RootGeneration())
	return a.follower, nil
}

func (n *Node) sequencer() storage.Sequencer { return n.cfg.Store.(storage.Sequencer) } //nolint:forcetypeassert // New has looked

// follower is what a standby knows of how current its memory is.
type follower struct {
	n *Node
	a *RoleState

	mu    sync.Mutex
	mark  uint64 // all changes up to this revision are followed
	over  bool   // nothing is followed any more
	moved signal

	asking   bool
	degraded bool // the last question got no answer: nobody waits for the next one
	next     *question
}

// question is one look at the storage's revision, for all who came before it was asked.
type question struct {
	done     chan struct{}
	revision uint64
	err      error
}

// errRestoring is why a standby serves nothing while all of the data is exchanged.
var errRestoring = errors.New("the data is being replaced by a snapshot")

// errBehind is why a standby does not answer itself.
var errBehind = fault.New(fault.Unavailable, "this standby cannot prove that what it knows is current")

func (f *follower) end() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.moved.tell()
}

func (f *follower) reached(revision uint64) {
	f.mu.Lock()
	f.mark = max(f.mark, revision)
	f.mu.Unlock()
	f.moved.tell()
}

// current waits until all that was committed before the call is followed, or fails.
func (f *follower) current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.n.cfg.Timing.Prove)
	defer cancel()
	q, degraded := f.join()
	if degraded {
		return errBehind
	}
	select {
	case <-q.done:
	case <-ctx.Done():
		return errBehind
	}
	if q.err != nil {
		return errBehind
	}
	for {
		moved := f.moved.wait()
		f.mu.Lock()
		over, mark := f.over, f.mark
		f.mu.Unlock()
		switch {
		case over:
			return errBehind
		case mark >= q.revision:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return errBehind
		}
	}
}

// join returns a question that will be asked after this call, and sees to it that it is. sick: the one before was not answered.
func (f *follower) join() (q *question, degraded bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = &question{done: make(chan struct{})}
	}
	if !f.asking {
		f.asking = true
		go f.ask()
	}
	return f.next, f.degraded
}

// ask asks one question after the other until nobody waits for one.
func (f *follower) ask() {
	for {
		f.mu.Lock()
		q := f.next
		f.next = nil
		if q == nil {
			f.asking = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), f.n.cfg.Timing.Prove)
		q.revision, q.err = f.n.sequencer().Revision(ctx)
		cancel()
		f.mu.Lock()
		f.degraded = q.err != nil
		f.mu.Unlock()
		close(q.done)
	}
}

// drop forgets what is kept in memory of a key that has changed. An error means that all of it must be read again.
func (f *follower) drop(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, f.n.cfg.Timing.BecomeLeader)
	defer cancel()
	a := f.a
	switch {
	case key == snapshot.StateKey:
		return errRestoring
	case key == barrier.KeyringPath:
		return a.barrier.Reload(ctx)
	case key == keySealed, key == keyShareCounts, strings.HasPrefix(key, pathShareSet):
		return f.n.followState(ctx, a)
	case key == pathLeader:
		return f.n.learnLeader(ctx, a)
	case strings.HasPrefix(key, "core/"):
		return f.dropCore(ctx, key)
	case strings.HasPrefix(key, "auth/"):
		a.tokens.Forget(key)
	default:
		a.mounts.Invalidate(key)
	}
	return nil
}

func (f *follower) dropCore(ctx context.Context, key string) error {
	a := f.a
	switch {
	case a.mounts.Holds(key):
		return a.mounts.Reload(ctx)
	case a.authMethods.Holds(key):
		return a.authMethods.Reload(ctx)
	case f.n.cfg.Trail != nil && f.n.cfg.Trail.Holds(key):
		return f.n.cfg.Trail.Follow(ctx, a.barrier)
	case strings.HasPrefix(key, "core/config/"), strings.HasPrefix(key, "core/quotas/"):
		a.settings.Add(1)
	}
	a.tokens.Forget(key)
	return nil
}

// followState takes over what another node changed of the seals and of who holds shares.
func (n *Node) followState(ctx context.Context, a *RoleState) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	before := n.state.Load().record
	if err := n.load(ctx); err != nil {
		return err
	}
	if after := n.state.Load().record; after != nil && before != nil && after.Generation != before.Generation {
		return fmt.Errorf("the root key was replaced: %w", barrier.ErrWrongRoot)
	}
	shareSet, err := n.trustedShareSet(ctx, a.barrier)
	if err != nil {
		return err
	}
	n.change(func(f *nodeState) { f.shareSet = shareSet })
	return nil
}
