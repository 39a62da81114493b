package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// shutdownTime bounds the sealing of a node that stops.
const shutdownTime = 5 * time.Second

// Run operates the node until ctx ends: it unseals automatically, proves that the seals would do so
// again, and does what is due. When ctx ends it seals, which writes the exact encryption counts,
// and returns. It is called once.
func (n *Node) Run(ctx context.Context) {
	wait := n.cfg.Timing.firstWait(n.Clustered(), n.replica.Led(ctx))
	backoff := n.cfg.Timing.RetryMin
	var nextProbe, nextMaintenance, nextCommits time.Time
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
		BreakGlassOf(n).sealLeftBehind(ctx)
		if n.sealed() {
			if err := n.tryUnseal(ctx); err != nil {
				wait = clock.Jitter(n.cfg.Timing.retryAfter(err, backoff))
				backoff = min(2*backoff, n.cfg.Timing.RetryMax)
				continue
			}
		}
		backoff = n.cfg.Timing.RetryMin
		n.trials.prove(ctx)
		KeysOf(n).renewAuthority(ctx)
		BreakGlassOf(n).recordReported(ctx)
		n.migration.finish(ctx)
		now := time.Now()
		if n.sealed() { // uninitialised, or waiting for shares
			n.keeper.checkKeys(ctx)
			wait, nextProbe, nextMaintenance = n.cfg.Timing.idleWait(n.Clustered()), time.Time{}, time.Time{}
			continue
		}
		if n.keeper.due.Swap(false) || !now.Before(nextProbe) {
			nextProbe = now.Add(n.keeper.probe(ctx))
		}
		if !now.Before(nextCommits) {
			(integrity{n}).watchCommits(ctx)
			nextCommits = now.Add(clock.Jitter(commitsEvery))
		}
		if !now.Before(nextMaintenance) {
			n.maintain(ctx)
			nextMaintenance = now.Add(clock.Jitter(n.cfg.Timing.Maintain))
		}
		now = time.Now()
		wait = max(0, min(nextProbe.Sub(now), nextMaintenance.Sub(now), nextCommits.Sub(now)))
		if n.trials.due.Load() {
			wait = min(wait, trialRetry)
		}
	}
}

// maintain does what is due on the node that writes.
func (n *Node) maintain(ctx context.Context) {
	n.rotateIfDue(ctx)
	n.ceremonies.WipeAnswers(ctx)
	n.ceremonies.EndLapsed(ctx)
	(replicaHost{n}).endHandOver(ctx)
	SealAdminOf(n).endTrials(ctx)
	(integrity{n}).checkAttestation(ctx)
	(enrolment{n}).maintain(ctx)
	(integrity{n}).refreshAnchor(ctx)
}

// firstWait keeps the nodes of a cluster that start together from asking their seals together. It
// is short where no node leads, because then all clients wait for it.
func (t *Timing) firstWait(clustered, led bool) time.Duration {
	switch {
	case !clustered:
		return 0
	case led:
		return rand.N(t.Stagger)
	}
	return rand.N(max(t.Stagger/25, 1))
}

// idleWait is the time between reads of a store that is not initialised, or that waits for shares.
func (t *Timing) idleWait(clustered bool) time.Duration {
	if clustered {
		return clock.Jitter(t.RetryMin) // another node may initialise it
	}
	return t.RetryMax
}

// retryAfter is the wait after a failed attempt to unseal. A throttled seal is given more time.
func (t *Timing) retryAfter(err error, backoff time.Duration) time.Duration {
	if seals.ClassOf(err) == seals.Throttled {
		return 5 * t.RetryMax
	}
	return backoff
}

// rotateIfDue rotates the barrier key when its count or its age requires it.
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

// endHandOver removes root keys that were handed over for long enough.
func (h replicaHost) endHandOver(ctx context.Context) {
	n := h.n
	a := n.writer()
	if a == nil || a.leadership == nil {
		return
	}
	before := n.cfg.Now().Add(-n.cfg.Timing.HandOver).UnixNano()
	if err := a.barrier.EndHandOver(ctx, before); err != nil && ctx.Err() == nil {
		n.log.Warn("a root key that was handed over to the standbys could not be removed; it is tried again",
			"error", err)
	}
}

// shutdown seals, and leaves the node free to unseal automatically when it is started again.
func (n *Node) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	n.lockWithoutRole()
	defer n.transition.Unlock()
	err := n.deactivate(ctx)
	if err != nil && !fault.Is(err, fault.Sealed) && !errors.Is(err, context.Canceled) {
		n.log.Warn("the encryption counts could not be written; the next start assumes the higher, reserved counts",
			"error", err)
	}
}
