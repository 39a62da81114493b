package ha

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/clock"
)

// follow keeps a standby's memory current until ctx ends: it watches the whole store and drops what
// has changed. Where the watch ends early, or a change cannot be followed, everything is read
// again. ready is called after the first attempt, successful or not: a node may be unable to follow
// because of something that only a leader can repair.
func (r *Replica) follow(ctx context.Context, closing *sync.WaitGroup, ready func()) {
	wait := r.Timing.RetryMin
	for ctx.Err() == nil {
		begun := time.Now()
		err := r.followOnce(ctx, closing, ready)
		if ctx.Err() != nil {
			return
		}
		ready()
		r.setDegraded(err)
		r.Log.Warn("this standby reads everything again", "cause", err)
		pause := clock.Jitter(wait)
		if time.Since(begun) > r.Timing.RetryMin { // it has served; the stagger keeps standbys apart
			wait, pause = r.Timing.RetryMin, rand.N(r.Timing.Stagger)
		} else {
			wait = min(2*wait, r.Timing.RetryMax)
		}
		if !clock.Sleep(ctx, pause) {
			return
		}
	}
}

func (r *Replica) followOnce(ctx context.Context, closing *sync.WaitGroup, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := r.watcher.Watch(ctx, "")
	if err != nil {
		return fmt.Errorf("watching the storage: %w", err)
	}
	f, role, err := r.becomeStandby(ctx, closing)
	if err != nil {
		return err
	}
	defer f.end()
	ready()
	for e := range events {
		if e.Key == "" {
			f.reached(e.Revision)
			continue
		}
		if err := r.apply(ctx, role, e.Key); err != nil {
			return fmt.Errorf("following a change of %s: %w", e.Key, err)
		}
	}
	return errors.New("the storage's watch has ended: changes may have been missed")
}

func (r *Replica) apply(ctx context.Context, role Role, key string) error {
	ctx, cancel := context.WithTimeout(ctx, r.Timing.Read)
	defer cancel()
	if key == LeaderPath {
		return r.readLeader(ctx, role.Store())
	}
	return r.Host.Apply(ctx, role, key)
}

// becomeStandby builds the standby's role from storage and begins to serve it.
func (r *Replica) becomeStandby(ctx context.Context, closing *sync.WaitGroup) (*Follower, Role, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timing.Read)
	defer cancel()
	r.Lock.Lock()
	defer r.Lock.Unlock()
	mark, err := r.sequencer.Revision(ctx) // what is read below is of this revision or a later one
	if err != nil {
		return nil, nil, fmt.Errorf("reading the storage's revision: %w", err)
	}
	f := &Follower{sequencer: r.sequencer, timeout: r.Timing.Prove, mark: mark}
	role, err := r.Host.Standby(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	if err := r.readLeader(ctx, role.Store()); err != nil {
		return nil, nil, errors.Join(err, role.Close(ended))
	}
	if ctx.Err() != nil { // elected or sealed meanwhile
		return nil, nil, errors.Join(ctx.Err(), role.Close(ended))
	}
	r.publish(role, nil, closing)
	r.Log.Info("standby", "term", role.Store().KeyStatus().Term, "generation", role.Store().RootGeneration())
	return f, role, nil
}
