package node

import (
	"context"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// rekey carries out an authorised ceremony in one commit, which also ends the ceremony. The caller holds transition.
func (n *Node) rekey(ctx context.Context, a *Active, t recovery.Target, c *recovery.Ceremony) (*RekeyResult, error) {
	next, shares, err := n.nextCustody(t, c.Params)
	if err != nil {
		return nil, err
	}
	tx := a.barrier.Begin()
	tx.Delete(ceremonyPath(t))
	if next != nil {
		tx.Put(pathCustody+next.Target.String(), next.Marshal())
		if err := n.keepAnswer(tx, t, c, shares); err != nil {
			return nil, err
		}
	}
	if t == recovery.Recovery {
		err = n.rekeyRecovery(ctx, tx, next)
	} else {
		err = n.renewRoot(ctx, a.barrier, tx, next)
	}
	if err != nil {
		return nil, err
	}
	return &RekeyResult{Nonce: c.Nonce, Keys: shares}, nil
}

// nextCustody makes the new shares; there are none where the barrier is rekeyed by recovery shares.
func (n *Node) nextCustody(t recovery.Target, p recovery.Params) (*recovery.Custody, []*secret.Bytes, error) {
	if p.Shares == 0 {
		return nil, nil, nil
	}
	next, shares, err := recovery.NewCustody(t, n.facts.Load().custody, p.Shares, p.Threshold, n.cfg.Rand, n.cfg.Now())
	if err != nil {
		return nil, nil, fmt.Errorf("node: making the new shares: %w", err)
	}
	for i, name := range p.Holders {
		next.Holders[i].Name = name
	}
	return next, shares, nil
}

// rekeyRecovery changes who authorises, and nothing else: no key of the barrier, no blob of a seal.
func (n *Node) rekeyRecovery(ctx context.Context, tx *barrier.Tx, next *recovery.Custody) error {
	sh := shape{next.Shares, next.Threshold}
	tx.PutRaw(keyShape, sh.marshal())
	failpoint.Point("rekey.recovery.commit")
	if err := n.commitCustody(ctx, tx, next); err != nil {
		return storeFault(err, "the rekey could not be written; the old shares stay valid")
	}
	n.change(func(f *facts) { f.custody, f.shape = next, sh })
	return nil
}

// renewRoot makes a new root key, has every seal wrap it, and re-encrypts the keyring under it, in one commit with whatever else is
// in tx. next is the custody that comes with it, nil where the people stay the same: their public key is all that is needed to wrap for them.
func (n *Node) renewRoot(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, next *recovery.Custody) error {
	f := n.facts.Load()
	people := f.record.People
	if next != nil {
		people = next.Marshal()
		if err := n.meetPeople(next.PublicKey); err != nil {
			return err
		}
	}
	err := n.commitRoot(ctx, b, tx, people)
	if err != nil && next != nil {
		// The new shares were never handed out: the quorum seal stands for the old ones again.
		if back := n.meetPeople(f.custody.PublicKey); back != nil {
			n.log.Error("the shamir seal lost its public key; restart the server", "error", back)
		}
	}
	if err == nil && next != nil {
		n.change(func(f *facts) { f.custody = next })
	}
	return err
}

func (n *Node) commitRoot(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, people []byte) error {
	f := n.facts.Load()
	root, err := secret.Random(n.cfg.Rand, seals.RootKeyLen)
	if err != nil {
		return err
	}
	defer root.Destroy()
	generation := b.RootGeneration() + 1
	record, err := n.seals.Load().Wrap(ctx, f.record.Cluster, generation, root, people)
	if err != nil {
		return sealFault(err, "nothing was changed: a seal cannot keep a new root key")
	}
	raw, err := record.Marshal()
	if err != nil {
		return err
	}
	tx.PutRaw(keySealed, raw)
	tx.ReplaceRoot(root, generation)
	failpoint.Point("root.commit")
	if err := tx.Commit(ctx); err != nil {
		return storeFault(err, "the new root key could not be written; the old one stays")
	}
	n.change(func(f *facts) { f.record = record })
	return nil
}
