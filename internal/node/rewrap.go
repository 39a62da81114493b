package node

import (
	"context"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
)

// RewrapSeals has every seal wrap the same root key again, by the newest version of its key. The root key comes from the seals
// themselves, so that what is wrapped again is what they would unseal with. One commit; people are wrapped to by their public key.
func (n *Node) RewrapSeals(ctx context.Context) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Role()
	if err != nil {
		return err
	}
	f, set := n.state.Load(), n.seals.Load()
	if set.NeedsShares() {
		return fault.New(fault.Invalid, "the root key is sealed to people, and only their shares open it; rotate the root key instead: that needs nobody's shares")
	}
	root, err := set.Unwrap(ctx, f.record, nil)
	if err != nil {
		return sealFault(err, "nothing was changed: the seals do not give the root key")
	}
	defer root.Destroy()
	if !a.barrier.VerifyRoot(root) {
		return fault.New(fault.Internal, "nothing was changed: the seals hold another root key than the one in use")
	}
	custodians := f.shareSet
	if len(f.record.ShareSet) == 0 {
		custodians = nil
	}
	record, err := set.Wrap(ctx, f.record.Cluster, f.record.Generation, root, unsealShareSet(custodians), unsealShareSet(f.previous))
	if err != nil {
		return sealFault(err, "nothing was changed: a seal cannot keep the root key")
	}
	raw, err := record.Marshal()
	if err != nil {
		return err
	}
	tx := a.barrier.Begin()
	tx.PutRaw(keySealed, raw)
	failpoint.Point("rewrap.commit")
	if err := tx.Commit(ctx); err != nil {
		return barrier.Fault(err, "the re-wrapped root key could not be written; the old record stays, and both open")
	}
	n.change(func(f *nodeState) { f.record = record })
	n.log.Info("the seals wrapped the root key again", "generation", record.Generation)
	return nil
}
