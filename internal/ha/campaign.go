package ha

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/storage"
)

// campaign waits until this node is elected; it returns nil once ctx ends. A node that has stepped
// down lets others be elected first.
func (r *Replica) campaign(ctx context.Context) storage.Leadership {
	self := r.Self
	self.HandOverKey = "" // for the leader alone
	identity, err := json.Marshal(self)
	if err != nil {
		panic(err) // strings always encode
	}
	candidate, cancel := context.WithCancel(ctx) // until this node retires
	defer cancel()
	go func() {
		select {
		case <-r.retire:
			cancel()
		case <-candidate.Done():
		}
	}()
	wait := r.Timing.RetryMin
	for r.awaitCandidacy(ctx) {
		l, err := r.elector.Campaign(candidate, identity)
		if err == nil {
			if !r.retiring() {
				return l
			}
			r.resign(l)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if r.retiring() {
			continue
		}
		r.setDegraded(err)
		r.Log.Warn("this node cannot stand for election; it is tried again", "error", err)
		if !clock.Sleep(ctx, clock.Jitter(wait)) {
			return nil
		}
		wait = min(2*wait, r.Timing.RetryMax)
	}
	return nil
}

// awaitCandidacy waits while this node must not be elected: it has stepped down and no other node
// leads yet, or it is about to stop. It reports whether ctx still lasts.
func (r *Replica) awaitCandidacy(ctx context.Context) bool {
	pause := time.NewTimer(time.Until(time.Unix(0, r.pauseUntil.Load())))
	defer pause.Stop()
	for over := false; ; {
		changed := r.changed.wait()
		if !r.retiring() && (over || r.pauseUntil.Load() == 0 || r.leader.Load() != nil) {
			r.pauseUntil.Store(0)
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

func (r *Replica) pause() { r.pauseUntil.Store(time.Now().Add(r.Timing.Pause).UnixNano()) }

func (r *Replica) resign(l storage.Leadership) {
	ctx, cancel := context.WithTimeout(context.Background(), r.Timing.Prove)
	defer cancel()
	if err := l.Resign(ctx); err != nil {
		r.Log.Warn("the leadership could not be resigned; it ends with its lease", "error", err)
	}
}

// retiring reports whether this node is about to stop.
func (r *Replica) retiring() bool {
	select {
	case <-r.retire:
		return true
	default:
		return false
	}
}
