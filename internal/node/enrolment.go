package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// enrolment keeps the break-glass record current: recovery.BreakGlass at keyBreakGlass, outside the
// barrier. Whether the quorum is enrolled, and its keys, are in the recovery share set, which is
// behind the barrier and attested. So nothing that is stored outside the barrier enrols anybody.
type enrolment struct{ n *Node }

// follow adds the break-glass record to a transaction that replaces the root key or the recovery
// share set. Every such transaction is attested, and so passes here. It takes no shares: the
// quorum's public key encrypts.
func (e enrolment) follow(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx) error {
	state := e.n.state.Load()
	root, generation := tx.NewRoot()
	written, replaced := tx.Written(pathRecovery)
	if root == nil && !replaced {
		return nil
	}
	shareSet, err := enrolledSet(ctx, b, written, replaced)
	if err != nil {
		return err
	}
	defer shareSet.DestroyKeys()
	if replaced && state.breakGlass && root == nil {
		return errors.New("node: shares that can decrypt the root key were replaced, and the root key was not")
	}
	if !shareSet.Decrypts() {
		if state.breakGlass {
			tx.DeleteRaw(keyBreakGlass)
		}
		return nil
	}
	cluster := state.record.Cluster
	seal := func(root *secret.Bytes, generation uint64) error {
		record, err := recovery.SealBreakGlass(root, cluster, generation, shareSet)
		if err == nil {
			tx.PutRaw(keyBreakGlass, record.Marshal())
		}
		return err
	}
	if root != nil {
		return seal(root, generation)
	}
	return b.WithRoot(func(root *secret.Bytes) error { return seal(root, b.RootGeneration()) })
}

// enrolledSet returns the recovery share set after a transaction, with its keys; nil where there is
// none.
func enrolledSet(ctx context.Context, b *barrier.Barrier, written []byte, replaced bool) (*recovery.ShareSet, error) {
	if replaced {
		if written == nil {
			return nil, nil
		}
		return recovery.UnmarshalShareSet(written)
	}
	raw, err := b.Get(ctx, pathRecovery)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the recovery share set: %w", err)
	}
	defer clear(raw) // it can have keys
	return recovery.UnmarshalShareSet(raw)
}

// maintain writes the break-glass record again where the stored one is not current: somebody
// changed the storage, or an older program replaced the root key.
func (e enrolment) maintain(ctx context.Context) {
	asWriter(e.n, func(a *RoleState) {
		if err := e.repair(ctx, a.barrier); err != nil && ctx.Err() == nil {
			e.n.log.Warn("the break-glass record could not be checked; it is tried again", "error", err)
		}
	})
}

func (e enrolment) repair(ctx context.Context, b *barrier.Barrier) error {
	n := e.n
	shareSet, err := enrolledSet(ctx, b, nil, false)
	if err != nil {
		return err
	}
	defer shareSet.DestroyKeys()
	raw, err := n.cfg.Store.Get(ctx, keyBreakGlass)
	missing := errors.Is(err, storage.ErrNotFound)
	if err != nil && !missing {
		return err
	}
	stored, _, damaged := recovery.UnmarshalBreakGlass(raw)
	cluster, generation := n.state.Load().record.Cluster, b.RootGeneration()
	current := !missing && damaged == nil && stored.Holds(cluster, generation, shareSet)
	enrolled := shareSet.Decrypts()
	if current || missing && !enrolled {
		return nil
	}
	tx := b.Begin()
	if enrolled {
		err = b.WithRoot(func(root *secret.Bytes) error {
			record, err := recovery.SealBreakGlass(root, cluster, generation, shareSet)
			if err == nil {
				tx.PutRaw(keyBreakGlass, record.Marshal())
			}
			return err
		})
		if err != nil {
			return err
		}
	} else {
		tx.DeleteRaw(keyBreakGlass)
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	n.log.Error("ALARM: the stored break-glass record was not the current one: somebody changed the storage, or an older "+
		"program wrote to it; it was corrected", "entry", keyBreakGlass, "enrolled", enrolled)
	return nil
}

// ReplaceRecovery implements ceremony.Keys. It changes who authorises, and nothing else: no key of
// the barrier, no part of a seal. Only where the shares before can decrypt, the root key and the
// barrier key are renewed: a copy of the storage from before must not open, for their holders, what
// is written from now on.
func (h ceremonyHost) ReplaceRecovery(ctx context.Context, tx *barrier.Tx, next *recovery.ShareSet) error {
	n, before := h.n, h.n.state.Load()
	counts := shareCounts{next.Shares, next.Threshold}
	rekey := before.shareSet == nil || before.shareSet.ID != next.ID
	if rekey && next.Decrypts() && !before.breakGlass { // removed while the new shares were verified
		next = next.ForRecovery()
	}
	tx.PutRaw(keyShareCounts, counts.marshal())
	if before.breakGlass {
		if rekey && !next.Decrypts() {
			n.log.Warn("the new recovery shares were made before the enrolment for break-glass, which ends with the old ones: " +
				"enrol again (sealgate operator break-glass enroll)")
		}
		tx.RotateKeyring()
		if err := h.replaceRoot(ctx, tx, next, nil, nil); err != nil {
			return err
		}
	} else if err := h.replaceShares(ctx, tx, next, rekey); err != nil {
		return err
	}
	n.change(func(f *nodeState) {
		f.shareSet, f.shareCounts, f.breakGlass = next.Public(), counts, next.Decrypts()
	})
	return nil
}

// replaceShares commits a recovery share set under the root key in use.
func (h ceremonyHost) replaceShares(ctx context.Context, tx *barrier.Tx, next *recovery.ShareSet, rekey bool) error {
	record := next.Marshal()
	defer clear(record) // it can have keys
	tx.Put(pathShareSet+next.Target.String(), record)
	what := "rekey"
	if !rekey {
		what = "enrolment"
	}
	if err := h.Attest(ctx, tx); err != nil {
		return barrier.Fault(err, "the "+what+" could not be attested; the old shares stay valid")
	}
	if rekey {
		failpoint.Point("rekey.recovery.commit")
	} else {
		failpoint.Point("break-glass.enroll.commit")
	}
	return barrier.Fault(h.commitShareSet(ctx, tx, next),
		"the "+what+" could not be written; the old shares stay valid")
}

// survivesAllSeals says whether the data survives the loss of every seal that is a device or a
// service.
func survivesAllSeals(n *Node) (bool, string) {
	f := n.state.Load()
	custodians := func(name string) bool {
		return n.seals.Load().HasCustodians(seals.Plan{Members: []string{name}})
	}
	switch {
	case len(f.record.ShareSet) > 0 && f.shareSet != nil && planOf(f.record).Opens(custodians):
		return true, fmt.Sprintf("The data survives the loss of every other seal: %d of %d unseal shares open it.",
			f.shareSet.Threshold, f.shareSet.Shares)
	case len(f.record.ShareSet) > 0:
		return false, "The data does not survive the loss of every other seal: the policy asks for more than the unseal " +
			"shares."
	case f.breakGlass:
		return true, fmt.Sprintf("The data survives the loss of every seal: %d of %d recovery shares open it (break-glass).",
			f.shareSet.Threshold, f.shareSet.Shares)
	case f.shareSet == nil:
		return false, "The data does not survive the loss of every seal: nobody holds recovery shares."
	}
	return false, "The data does not survive the loss of every seal: the recovery shares decrypt nothing unless their " +
		"holders enroll (sealgate operator break-glass enroll)."
}

var _ ceremony.Keys = ceremonyHost{}
