package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
)

// Which node answers in a cluster. The leader answers everything while it holds its lease. A
// standby answers what changes nothing, once it has proven that it has everything that was
// acknowledged before; the rest is forwarded to the leader. A request that meets a change of leader
// waits for the next one, as long as nothing of it was carried out.

// Errors of a cluster, with Vault's texts where it has them.
var (
	errNoLeader  = fault.New(fault.Unavailable, "no active Vault instance found")
	errNoAddress = &Status{http.StatusInternalServerError, "local node not active but active cluster node not found"}
	errUndone    = fault.New(fault.Unavailable, "this node does not lead, and nothing was done")
	errInDoubt   = fault.New(fault.Unavailable,
		"the active node changed while the request was under way: it may have taken effect; check, then try again")
)

// inCluster answers a request by this node or by the leader.
func (h *Handler) inCluster(ctx context.Context, q *Request) (*Answer, error) {
	ctx = ha.WithTrace(ctx, &q.trace)
	until, cancel := context.WithTimeout(ctx, h.Node.ForwardWithin())
	defer cancel()
	begun := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		changed := h.Node.Cluster().Changed()
		a, again, err := h.try(ctx, q)
		if !again && errors.Is(err, errUndone) && !h.Peer && node.StorageFailure(h.Node) != nil {
			return nil, h.noLeader()
		}
		if !again {
			return a, err
		}
		if h.Peer {
			return nil, errUndone
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-until.Done():
		}
		timer.Stop()
		if until.Err() != nil || h.noLeaderExpected(begun) {
			return nil, h.noLeader()
		}
	}
}

// outageWait is how long a request waits for a leader at least while the storage fails.
const outageWait = time.Second

// noLeaderExpected reports whether no leader will be found soon, since the storage fails: a request
// gets the cause at once, and not after the whole wait for a leader.
func (h *Handler) noLeaderExpected(begun time.Time) bool {
	return time.Since(begun) >= outageWait && node.StorageFailure(h.Node).Over(time.Now(), true)
}

// noLeader says why no node answers, as far as this node knows.
func (h *Handler) noLeader() error {
	if f := node.StorageFailure(h.Node); f != nil {
		return fault.Wrap(f.Err, fault.Unavailable, "%v: the storage fails: %s; %s", errNoLeader, f.Class, f.Class.Remedy())
	}
	err := h.Node.Cluster().Degraded()
	if err == nil {
		return errNoLeader
	}
	return fault.Wrap(err, fault.Unavailable, "%v; this node cannot take over, or follow: see sys/seal-status and its "+
		"log for the cause", errNoLeader)
}

// try lets this node or the leader answer. With again nothing was done, and another try may
// succeed.
func (h *Handler) try(ctx context.Context, q *Request) (a *Answer, again bool, err error) {
	role, err := h.Node.Role()
	switch {
	case fault.Is(err, fault.Sealed) && !h.Peer:
		a, err = h.answerHere(ctx, q)
		return a, false, err
	case err != nil:
		return nil, true, nil // between two roles
	case !role.Standby():
		return h.answerAs(ctx, q, role)
	case h.Peer:
		return nil, true, nil
	case !h.standbyAnswers(q, role):
		return h.forward(ctx, q)
	}
	if a, again, err = h.answerAssuming(ctx, q, role); errors.Is(err, ha.ErrStale) {
		if err := role.Current(ctx); err != nil {
			if q.Route.Own {
				return nil, false, err
			}
			return h.forward(ctx, q)
		}
		a, again, err = h.answerAs(ctx, q, role)
	}
	if again || !errors.Is(err, ha.ErrStandby) || q.Route.Own {
		return a, again, err
	}
	q.reset() // it would have written
	return h.forward(ctx, q)
}

// answerAssuming lets a standby read before it has proven that its memory is current: the proof
// comes with what it reads. [ha.ErrStale]: the request must begin with the proof.
func (h *Handler) answerAssuming(ctx context.Context, q *Request, role *node.RoleState) (a *Answer, again bool,
	err error) {
	if q.Op != mount.Read || q.Route.Here {
		return nil, false, ha.ErrStale
	}
	ctx, q.assumption = role.Assume(ctx)
	if q.assumption == nil {
		return nil, false, ha.ErrStale
	}
	defer func() { q.assumption = nil }()
	return h.answerAs(ctx, q, role)
}

// standbyAnswers reports whether a standby may answer the request.
func (h *Handler) standbyAnswers(q *Request, role *node.RoleState) bool {
	if q.WrapTTL != 0 {
		return false
	}
	if q.Route.Here {
		return true
	}
	q.Role = role
	defer func() { q.Role = nil }()
	return q.onlyReads()
}

// answerAs answers in a role of this node. With again the role ended meanwhile, and nothing was
// done.
func (h *Handler) answerAs(ctx context.Context, q *Request, role *node.RoleState) (a *Answer, again bool, err error) {
	if !q.lasting() {
		if !role.Enter() {
			return nil, true, nil
		}
		defer role.Leave()
	}
	q.reset()
	q.assigned = role
	a, err = h.answerHere(ctx, q)
	if q.Sent || q.lasting() {
		return a, false, err
	}
	if held := role.Held(); held != nil || roleOver(err) {
		if q.trace.Wrote() {
			return nil, false, errInDoubt
		}
		return nil, true, nil
	}
	return a, false, err
}

// lasting reports whether no change of role waits for the request, or undoes it.
func (q *Request) lasting() bool {
	return q.Route.Duration != Usual
}

// archive reports whether the request sends or receives a snapshot.
func (q *Request) archive() bool { return q.Route.Duration == Transfer }

// roleOver reports whether an error follows from the end of a role.
func roleOver(err error) bool {
	return errors.Is(err, node.ErrNotHeld) || errors.Is(err, storage.ErrFenced) || errors.Is(err, barrier.ErrSealed) ||
		errors.Is(err, audit.ErrSealed) ||
		fault.Is(err, fault.Sealed)
}

// held returns an error where this node can no longer prove that what it has read is current, or
// finds that it was not.
func (q *Request) held(ctx context.Context) error {
	if q.assigned == nil || q.lasting() {
		return nil
	}
	if q.assumption != nil {
		if err := q.assumption.Check(ctx); err != nil {
			return err
		}
	}
	return q.assigned.Held()
}

// roleFor returns the role that answers the request.
func (h *Handler) roleFor(q *Request) (*node.RoleState, error) {
	if q.assigned != nil {
		return q.assigned, nil
	}
	return h.Node.Role()
}

// changes reports whether the request is more than a read.
func (q *Request) changes() bool {
	return q.Op != mount.Read && q.Op != mount.List && q.Op != mount.Scan
}
