package ha

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// lead serves as the leader from the election until the lease is lost, the node steps down, or ctx
// ends.
func (r *Replica) lead(ctx context.Context, l storage.Leadership, closing *sync.WaitGroup) {
	role, err := r.becomeLeader(ctx, l, closing)
	if err != nil {
		if ctx.Err() == nil {
			r.Metrics.Counter("core.leadership_setup_failed").Inc()
			r.setDegraded(err)
			r.Log.Error("elected, but not able to lead; another node may lead", "epoch", l.Epoch(), "error", err)
		}
		r.pause()
		r.resign(l)
		return
	}
	select {
	case <-l.Lost():
		r.Metrics.Counter("core.leadership_lost").Inc()
		r.withdraw(role)
		_ = role.Close(ended) // nothing is written: another node may lead
		r.Log.Warn("the leadership is lost; this node is a standby and stands for election again", "epoch", l.Epoch())
		return
	case <-ctx.Done():
	case <-r.stepDown:
		r.pause()
	}
	r.stepDownInOrder(role, l)
}

// stepDownInOrder refuses new requests, lets those in flight finish, writes the exact encryption
// counts, and only then lets another node be elected.
func (r *Replica) stepDownInOrder(role Role, l storage.Leadership) {
	defer r.Metrics.Timer("core.step_down").Since(time.Now())
	r.withdraw(role)
	ctx, cancel := context.WithTimeout(context.Background(), r.Timing.Drain)
	defer cancel()
	go cancelWhenLost(ctx, l, cancel)
	role.Inflight().Drain(ctx)
	if err := role.Close(ctx); err != nil {
		r.Log.Warn("the encryption counts could not be written; the next leader assumes the higher, reserved counts",
			"error", err)
	}
	r.resign(l)
	r.Log.Info("stepped down", "epoch", l.Epoch())
}

// cancelWhenLost cancels once a leadership is lost; it returns when ctx ends.
func cancelWhenLost(ctx context.Context, l storage.Leadership, cancel context.CancelFunc) {
	select {
	case <-l.Lost():
		cancel()
	case <-ctx.Done():
	}
}

// becomeLeader builds the leader's role from storage and begins to serve it.
func (r *Replica) becomeLeader(ctx context.Context, l storage.Leadership, closing *sync.WaitGroup) (Role, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timing.Read)
	defer cancel()
	go cancelWhenLost(ctx, l, cancel)
	r.Lock.Lock()
	defer r.Lock.Unlock()
	role, err := r.Host.Lead(ctx, l)
	if err != nil {
		return nil, err
	}
	self, err := r.recordLeader(ctx, role.Store(), l.Epoch())
	if err != nil {
		return nil, errors.Join(err, role.Close(ended))
	}
	r.publish(role, l, closing)
	r.setLeader(self)
	r.Log.Info("active", "epoch", l.Epoch(), "term", role.Store().KeyStatus().Term,
		"generation", role.Store().RootGeneration())
	return role, nil
}

// leads returns the leadership of the current role, nil where this node does not lead.
func (r *Replica) leads() storage.Leadership {
	if r == nil {
		return nil
	}
	if h := r.current.Load(); h != nil {
		return h.leadership
	}
	return nil
}

// StepDown gives up the leadership for another node to lead; on a node that does not lead it does
// nothing. It returns once no request is answered under the old leadership.
func (r *Replica) StepDown(ctx context.Context) error {
	for r.leads() != nil {
		changed := r.changed.wait()
		if r.leads() == nil {
			break
		}
		select {
		case r.stepDown <- struct{}{}:
		case <-changed:
		case <-ctx.Done():
			return fault.Wrap(ctx.Err(), fault.Unavailable, "the node did not step down in time; try again")
		}
	}
	return nil
}

// Retire makes a node that is about to stop step down and not campaign again, while it continues to
// answer and to forward to the next leader. It returns once another node leads, or ctx ends.
func (r *Replica) Retire(ctx context.Context) {
	if r == nil {
		return
	}
	r.retireOnce.Do(func() { close(r.retire) })
	others := len(r.Members()) > 1
	if r.leads() == nil {
		return
	}
	if err := r.StepDown(ctx); err != nil {
		r.Log.Warn("this node stops while it leads", "error", err)
		return
	}
	for others && r.Running() {
		changed := r.changed.wait()
		if r.leader.Load() != nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			r.Log.Warn("this node stops, and no other node leads yet")
			return
		}
	}
}
