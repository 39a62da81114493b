package node

import (
	"context"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// retiring reports whether this node is about to stop.
func (n *Node) retiring() bool {
	select {
	case <-n.retire:
		return true
	default:
		return false
	}
}

// StepDown gives the office up, for another node to lead; where this node does not lead nothing happens. It returns once requests are no
// longer answered in the old term's name.
func (n *Node) StepDown(ctx context.Context) error {
	for {
		changed := n.changed.wait()
		a := n.role.Load()
		if a == nil || a.leadership == nil {
			return nil
		}
		select {
		case n.stepDownRequested <- struct{}{}:
		case <-changed:
		case <-ctx.Done():
			return fault.Wrap(ctx.Err(), fault.Unavailable, "the node did not step down in time")
		}
	}
}

// Retire makes a node that is about to stop leave the office and not stand for it again, while it goes on answering, and forwarding to
// whoever leads. It returns once another node leads, or ctx ends.
func (n *Node) Retire(ctx context.Context) {
	if !n.Clustered() {
		return
	}
	n.retireOnce.Do(func() { close(n.retire) })
	others := len(n.Members()) > 1
	if a := n.role.Load(); a == nil || a.leadership == nil {
		return
	}
	if err := n.StepDown(ctx); err != nil {
		n.log.Warn("this node stops while it leads", "error", err)
		return
	}
	for others && n.core.Load() != nil {
		changed := n.changed.wait()
		if n.leader.Load() != nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			n.log.Warn("this node stops, and no other leads yet")
			return
		}
	}
}

// outOfService ends what answers, while the office stays: for a restore, which writes in its name. The caller holds transition.
func (n *Node) outOfService(ctx context.Context, a *RoleState) error {
	if !n.Clustered() {
		return n.deactivate(ctx)
	}
	n.role.CompareAndSwap(a, nil)
	a.inflight.shut()
	n.changed.tell()
	return a.close(ended) // its counts are of data that is replaced
}

// requestStepDown ends the tenure of a node that is out of service, and forgets its keys; the audit trail stays as it is until the next role, for the
// answer to whoever asked for this. The caller holds transition: nothing of a tenure waits for it while this node leads.
func (n *Node) requestStepDown() {
	if !n.Clustered() {
		return
	}
	n.stopRoles()
	if core := n.core.Swap(nil); core != nil {
		_ = core.Seal(ended) // it never encrypted, so there is nothing to write
	}
	n.changed.tell()
}

// restored finishes the restore of a snapshot that another leader has left, and sees to it that keys from a snapshot encrypt no more.
func (n *Node) restored(ctx context.Context, epoch uint64) error {
	st, err := snapshot.Pending(ctx, n.cfg.Store)
	if err != nil || st == nil {
		return err
	}
	n.log.Warn("going on with the restore of a snapshot that was interrupted", "cluster", st.Meta.ClusterName, "taken", st.Meta.Created)
	return snapshot.Finish(ctx, n.cfg.Store, epoch)
}
