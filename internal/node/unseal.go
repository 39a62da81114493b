package node

import (
	"context"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// tryUnseal unseals with the seals alone. It returns nil where there is nothing to try: the store
// is not initialised, an operator sealed the node, or it needs shares.
func (n *Node) tryUnseal(ctx context.Context) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	if !n.sealed() || n.held {
		return nil
	}
	before := n.state.Load().trouble
	err := n.unsealBySeals(ctx)
	n.change(func(f *nodeState) { f.trouble = err })
	if err != nil && ctx.Err() == nil && !sameText(err, before) { // else the log has it already
		class, cause, remedy := diagnosis(err)
		n.log.Warn("not unsealed; it is tried again", "class", string(class), "cause", cause, "remedy", remedy)
	}
	return err
}

func sameText(a, b error) bool { return a != nil && b != nil && a.Error() == b.Error() }

func (n *Node) unsealBySeals(ctx context.Context) error {
	if err := n.loadVacant(ctx); err != nil {
		return err
	}
	record, set := n.state.Load().record, n.seals.Load()
	if err := set.Missing(record); err != nil {
		return err
	}
	if record == nil || set.NeedsShares() || n.migration.pending() {
		return nil
	}
	return n.open(ctx, nil)
}

// open gets the root key from the seals, opens the barrier and activates the node. quorum is the
// Shamir seal that a quorum of shares has unlocked, or nil.
func (n *Node) open(ctx context.Context, quorum wrapping.Wrapper) error {
	defer n.cfg.Metrics.Timer("core.unseal").Since(time.Now())
	if err := (integrity{n}).checkPin(); err != nil {
		return err
	}
	record := n.state.Load().record
	root, err := n.seals.Load().Unwrap(ctx, record, quorum)
	if err != nil {
		return err
	}
	defer root.Destroy()
	b := barrier.New(n.cfg.Store, n.barrierOptions())
	if err := b.Unseal(ctx, root, record.Generation); err != nil {
		return barrier.Fault(err, "the root key was unwrapped, but the keyring could not be opened")
	}
	return n.activate(ctx, b)
}

// Unseal takes one share: an unseal share under a Shamir seal, or a recovery share where an
// operator sealed a node that would unseal automatically. A wrong share is refused at once and
// leaves the others as they are.
func (n *Node) Unseal(ctx context.Context, share *secret.Bytes, migrate bool) error {
	if err := n.checkUnsealShare(share); err != nil {
		return err
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	if !n.sealed() {
		return nil
	}
	if err := n.loadVacant(ctx); err != nil {
		return err
	}
	if n.state.Load().record == nil {
		return fault.New(fault.Invalid, "Vault is not initialized")
	}
	if err := n.migration.check(ctx, migrate); err != nil {
		return err
	}
	f := n.state.Load()
	if f.shareSet == nil {
		return n.cannotTakeShares()
	}
	g := n.unsealing.Load()
	if g == nil {
		g = newUnsealProgress(f.shareSet, f.previous, n.cfg.Rand)
		n.unsealing.Store(g)
	}
	custodians, key, err := g.give(share)
	if err != nil {
		return unsealFault(err)
	}
	if number, err := custodians.Identify(share); err == nil {
		ceremony.Attribute(ctx, custodians, number)
	}
	if key == nil {
		return nil
	}
	defer key.Destroy()
	if migrate {
		if err := n.migration.authorise(custodians, key); err != nil {
			return err
		}
	}
	if err := n.unsealByShares(ctx, custodians, key); err != nil || !migrate {
		return err
	}
	return n.migration.commit(ctx) // in a cluster, once this node leads
}

// checkUnsealShare refuses a wrong share without a lock, as far as the share sets are known: a
// flood of wrong shares cannot delay a right one.
func (n *Node) checkUnsealShare(share *secret.Bytes) error {
	f := n.state.Load()
	if f.shareSet == nil || !n.sealed() {
		return nil
	}
	_, err := f.shareSet.Identify(share)
	if err != nil && f.previous != nil {
		if _, previous := f.previous.Identify(share); previous == nil {
			return nil
		}
	}
	if err != nil {
		return unsealFault(err)
	}
	return nil
}

func unsealFault(err error) error { return fault.Wrap(err, fault.Invalid, "invalid key: %v", err) }

// cannotTakeShares explains why a share does not help.
func (n *Node) cannotTakeShares() error {
	if err := n.state.Load().trouble; err != nil {
		return sealFault(err, "the seals do not unwrap the root key; shares do not replace them")
	}
	return fault.New(fault.Invalid, "this node takes no shares: it unseals automatically; restart it")
}

// unsealByShares opens the barrier with the key that a quorum combined.
func (n *Node) unsealByShares(ctx context.Context, custodians *recovery.ShareSet, key *secret.Bytes) error {
	n.forgetShares()
	var quorum wrapping.Wrapper
	if q := n.seals.Load().Quorum(); q != nil {
		var err error
		if quorum, err = q.For(custodians.PublicKey); err != nil {
			return sealFault(err, "invalid key")
		}
		unlocked := quorum.(seals.Quorum) //nolint:forcetypeassert // For returns the same provider
		if err := unlocked.Unlock(key.Expose()); err != nil {
			return sealFault(err, "invalid key")
		}
		defer unlocked.Lock()
	}
	previous := n.state.Load().previous
	if err := n.open(ctx, quorum); err != nil {
		return sealFault(err, "the shares are right, but the node could not be unsealed")
	}
	n.held = false
	if previous != nil && !n.Clustered() { // in a cluster the leader ends the previous share set, after a time
		n.settlePrevious(ctx, custodians.ID == previous.ID)
	}
	n.poke()
	return nil
}

// settlePrevious follows an unseal while two share sets could do it. New shares that unseal have
// arrived, so the previous set ends. Where the previous shares unsealed, the reply with the new
// ones may be lost: it is kept until it was fetched and used.
func (n *Node) settlePrevious(ctx context.Context, byPrevious bool) {
	if byPrevious {
		n.ceremonies.KeepUntilFetched()
		n.log.Warn("unsealed with the shares that the last rekey replaced: the holder of its last share gets the " +
			"new ones by giving that share again with the rekey's nonce")
		return
	}
	if err := n.ceremonies.DropAnswers(ctx); err != nil {
		n.log.Warn("the shares that the last rekey replaced still unseal; ending them is tried again", "error", err)
	}
}

// forgetShares drops the shares given to sys/unseal. The caller holds transition.
func (n *Node) forgetShares() {
	if g := n.unsealing.Swap(nil); g != nil {
		g.reset()
	}
}

// ResetUnseal forgets the shares given so far.
func (n *Node) ResetUnseal(context.Context) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	if !n.sealed() {
		return fault.New(fault.Invalid, "vault is unsealed")
	}
	n.forgetShares()
	return nil
}
