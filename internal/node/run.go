package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// Run looks after the node until ctx ends: it unseals by itself, proves that the seals would do so again, and rotates the barrier
// key when that is due. When ctx ends it seals, which writes the exact encryption counts, and returns. It is called once.
func (n *Node) Run(ctx context.Context) {
	wait := n.firstWait()
	backoff := n.cfg.Timing.RetryMin
	var nextProbe, nextCare time.Time
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			n.shutdown()
			return
		case <-n.wake:
		case <-timer.C:
		}
		timer.Stop()
		if n.sealed() {
			if err := n.tryUnseal(ctx); err != nil {
				wait = jitter(n.retryAfter(err, backoff))
				backoff = min(2*backoff, n.cfg.Timing.RetryMax)
				continue
			}
		}
		backoff = n.cfg.Timing.RetryMin
		now := time.Now()
		if n.sealed() { // uninitialised, or waiting for people
			wait, nextProbe, nextCare = n.idleWait(), time.Time{}, time.Time{}
			continue
		}
		if !now.Before(nextProbe) {
			nextProbe = now.Add(n.probe(ctx))
		}
		if !now.Before(nextCare) {
			n.rotateIfDue(ctx)
			n.ceremonies.WipeAnswers(ctx)
			n.ceremonies.EndLapsed(ctx)
			n.endHandOver(ctx)
			nextCare = now.Add(jitter(n.cfg.Timing.Care))
		}
		now = time.Now()
		wait = max(0, min(nextProbe.Sub(now), nextCare.Sub(now)))
	}
}

// retryAfter is the wait after a failed attempt: what was throttled waits longer.
func (n *Node) retryAfter(err error, backoff time.Duration) time.Duration {
	if seals.ClassOf(err) == seals.Throttled {
		return 5 * n.cfg.Timing.RetryMax
	}
	return backoff
}

// jitter moves d by up to a quarter either way, so that the nodes of a cluster do not all ask at once.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

// rotateIfDue rotates the barrier key when its count or its age says so.
func (n *Node) rotateIfDue(ctx context.Context) {
	a := n.writer()
	if a == nil {
		return
	}
	rotated, err := a.barrier.RotateIfDue(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		n.log.Error("the barrier key is due for rotation and could not be rotated; it is tried again", "error", err)
	case rotated:
		n.cfg.Metrics.Counter("barrier.auto_rotation").Inc()
		n.log.Info("rotated the barrier key by its schedule", "term", a.barrier.KeyStatus().Term)
	}
}

// shutdown seals without holding the node back from a restart: it will unseal by itself.
func (n *Node) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	n.lockWithoutRole()
	defer n.transition.Unlock()
	if err := n.deactivate(ctx); err != nil && !fault.Is(err, fault.Sealed) && !errors.Is(err, context.Canceled) {
		n.log.Warn("the encryption counts could not be written; the next start assumes the higher, reserved ones", "error", err)
	}
}
