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
	n.answerEnds = n.cfg.Now().Add(n.cfg.Timing.Answer)
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

// peopleOf is a custody as the seals need it, nil for nil.
func peopleOf(c *recovery.Custody) *seals.People {
	if c == nil {
		return nil
	}
	return &seals.People{Custody: c.Marshal(), PublicKey: c.PublicKey}
}

// renewRoot makes a new root key, has every seal wrap it, and re-encrypts the keyring under it, in one commit with whatever else is
// in tx. next are the people that come with it, nil where they stay the same: their public key is all that is needed to wrap for them.
// The people that next replaces stay able to unseal until the new shares are known to have arrived.
func (n *Node) renewRoot(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, next *recovery.Custody) error {
	f := n.facts.Load()
	people, former := f.custody, f.former
	switch {
	case next != nil && n.cfg.Timing.Answer > 0:
		people, former = next, f.custody
	case next != nil:
		people, former = next, nil
	case len(f.record.People) == 0:
		people, former = nil, nil // the custody is of recovery shares, which no key is wrapped to
	}
	root, err := secret.Random(n.cfg.Rand, seals.RootKeyLen)
	if err != nil {
		return err
	}
	defer root.Destroy()
	generation := b.RootGeneration() + 1
	record, err := n.seals.Load().Wrap(ctx, f.record.Cluster, generation, root, peopleOf(people), peopleOf(former))
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
	n.change(func(f *facts) {
		f.record, f.former = record, former
		if next != nil {
			f.custody = next
		}
	})
	return nil
}
