package node

import (
	"bytes"
	"context"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// commitShareSet commits a transaction that makes c the custody, and makes certain what came of it: storage may have written it and
// failed only to say so, and then the new shares in memory are the only ones that work. (What changes the keyring is made certain by the barrier.)
func (n *Node) commitShareSet(ctx context.Context, tx *barrier.Tx, c *recovery.ShareSet) error {
	err := tx.Commit(ctx)
	if err == nil || storage.NothingWritten(err) || !n.isCurrentShareSet(ctx, c) {
		return err
	}
	n.log.Warn("storage reported a failure, but the commit is there", "error", err)
	return nil
}

// isCurrentShareSet reports whether c is the custody that stands behind the barrier now.
func (n *Node) isCurrentShareSet(ctx context.Context, c *recovery.ShareSet) bool {
	a := n.role.Load()
	if a == nil {
		return false
	}
	got, err := a.barrier.Get(context.WithoutCancel(ctx), pathShareSet+c.Target.String())
	return err == nil && bytes.Equal(got, c.Marshal())
}
