package node

import (
	"context"
	"time"
)

// Seal forgets all keys. The node then waits for shares or a restart, even where its seals could
// unseal it: an operator who seals a node means it. Sealing a sealed node succeeds.
func (n *Node) Seal(ctx context.Context) error {
	defer n.cfg.Metrics.Timer("core.seal").Since(time.Now())
	n.hold()
	n.lockWithoutRole()
	defer n.transition.Unlock()
	n.forgetShares()
	if n.sealed() {
		return nil
	}
	if err := n.deactivate(ctx); err != nil {
		n.log.Warn("sealed, but the encryption counts could not be written; "+
			"the next start assumes the higher, reserved counts", "error", err)
	}
	n.log.Info("sealed by an operator")
	return nil
}

// hold keeps the node from unsealing automatically.
func (n *Node) hold() {
	n.transition.Lock()
	defer n.transition.Unlock()
	n.held = true
}

// deactivate takes the node out of service and closes the barrier. Requests in flight end with
// barrier.ErrSealed.
func (n *Node) deactivate(ctx context.Context) error {
	(integrity{n}).refreshAnchor(ctx)
	n.ceremonies.Grants.Forget()
	n.ceremonies.Enrolment.Forget()
	if n.Clustered() {
		n.forgetKeys()
		return nil
	}
	a := n.role.Swap(nil)
	if a == nil {
		return nil
	}
	defer n.cfg.Metrics.Timer("core.pre_seal").Since(time.Now())
	err := a.Close(ctx)
	if n.cfg.Trail != nil {
		n.cfg.Trail.Deactivate() // last: until here a request can still take effect
	}
	return err
}
