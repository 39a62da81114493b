package node

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

// sealMigration moves the root key from the seals that hold it to those of the configuration, by
// the way of Vault's runbooks: the old stanza has disabled = "true", or is the Shamir seal, and a
// quorum gives its shares to `operator unseal -migrate`.
//
//	pending          the record is of the old seals alone; the node uses those, and does not
//	   │             unseal automatically
//	   │ a quorum of shares, with -migrate
//	   ▼
//	authorised       unsealed by the old seals; in a cluster until this node leads
//	   │ one commit: record of the new seals, share set in its new role, transcript
//	   ▼
//	(none)           the node uses the new seals
//
// A node that stops before the commit is pending again at its next start.
type sealMigration struct {
	n    *Node
	from *seals.Set
	to   atomic.Pointer[seals.Set]
	plan atomic.Pointer[migrationPlan] // stored under transition
}

// migrationPlan is a migration that a quorum has authorised.
type migrationPlan struct {
	shareSet *recovery.ShareSet // in its role after the migration
}

func newSealMigration(n *Node) *sealMigration {
	if n.cfg.MigrateFrom == nil {
		return nil
	}
	m := &sealMigration{n: n, from: n.cfg.MigrateFrom}
	m.to.Store(n.cfg.Seals)
	return m
}

// applies reports whether a record is of the old seals alone.
func (m *sealMigration) applies(r *seals.Record) bool {
	return m != nil && r != nil && m.from.Missing(r) == nil && len(m.to.Load().Candidates(r)) == len(m.to.Load().Seals())
}

// pending reports whether the node uses the old seals until they are migrated.
func (m *sealMigration) pending() bool { return m != nil && m.n.seals.Load() == m.from }

// follow chooses the seals that a record is of.
func (m *sealMigration) follow(r *seals.Record) {
	if m == nil {
		return
	}
	set := m.to.Load()
	if m.applies(r) {
		set = m.from
	}
	m.n.seals.Store(set)
}

// check judges the migrate option of a share. The caller holds transition and has loaded the state.
func (m *sealMigration) check(ctx context.Context, migrate bool) error {
	switch {
	case migrate && !m.pending():
		return fault.New(fault.Invalid, "can't perform a seal migration, no migration seal found")
	case !m.pending():
		return nil
	case !migrate:
		return fault.New(fault.Internal, "migrate option not provided and seal migration is pending")
	case m.n.state.Load().shareSet == nil:
		return m.loadShares(ctx)
	}
	return nil
}

// loadShares reads who holds the recovery shares from behind the barrier, which the old seals open.
func (m *sealMigration) loadShares(ctx context.Context) error {
	n := m.n
	record := n.state.Load().record
	root, err := m.from.Unwrap(ctx, record, nil)
	if err != nil {
		return sealFault(err, "the seal that is migrated from does not unwrap the root key")
	}
	defer root.Destroy()
	b := barrier.New(n.cfg.Store, n.barrierOptions())
	if err := b.Unseal(ctx, root, record.Generation); err != nil {
		return barrier.Fault(err, "the root key was unwrapped, but the keyring could not be opened")
	}
	defer func() { _ = b.Seal(ended) }() // it wrote nothing
	if _, err := (integrity{n}).attested(ctx, b); err != nil {
		return err
	}
	shareSet, err := n.trustedShareSet(ctx, b)
	if err != nil {
		return barrier.Fault(err, "the record of who holds the shares could not be read")
	}
	if shareSet == nil {
		return fault.New(fault.Invalid, "this server has no recovery shares that could authorise the migration; enable the "+
			"old seal again, and change the seals while the server runs: sealgate operator seals add, then remove")
	}
	enrolled := shareSet.Decrypts()
	shareSet.DestroyKeys()
	n.change(func(f *nodeState) { f.shareSet, f.breakGlass = shareSet, enrolled })
	return nil
}

// authorise records that a quorum wants the migration. The caller holds transition; key is the one
// that the shares combined to.
func (m *sealMigration) authorise(shareSet *recovery.ShareSet, key *secret.Bytes) error {
	next, err := shareSet.ForRecovery(), error(nil)
	switch {
	case m.to.Load().Quorum() != nil:
		next, err = shareSet.ForBarrier(key)
	case m.n.state.Load().breakGlass: // the enrolment stays
		next, err = shareSet.ForBreakGlass(key)
	}
	if err != nil {
		return err
	}
	m.plan.Store(&migrationPlan{shareSet: next})
	return nil
}

// finish commits a migration that a quorum has authorised, on the node that writes. Run calls it.
func (m *sealMigration) finish(ctx context.Context) {
	if m == nil || m.plan.Load() == nil || m.n.writer() == nil {
		return
	}
	m.n.transition.Lock()
	defer m.n.transition.Unlock()
	if err := m.commit(ctx); err != nil && ctx.Err() == nil {
		class, cause, remedy := diagnosis(err)
		m.n.log.Warn("the seal migration that a quorum authorised could not be done; it is tried again",
			"class", string(class), "cause", cause, "remedy", remedy)
	}
}

// commit does an authorised migration. The caller holds transition.
func (m *sealMigration) commit(ctx context.Context) error {
	n, plan := m.n, m.plan.Load()
	a := n.writer()
	if plan == nil || a == nil {
		return nil
	}
	before := n.state.Load().record
	if !m.applies(before) { // another node has done it
		m.plan.Store(nil)
		return nil
	}
	if now := n.state.Load().shareSet; now == nil || now.ID != plan.shareSet.ID {
		m.plan.Store(nil) // or a quorum that was replaced would come back with its shares
		return fault.New(fault.Denied, "nothing was changed: the shares were replaced after they authorised the seal "+
			"migration; restart the node and give it the new shares with -migrate")
	}
	to := m.to.Load()
	root, generation, err := (SealAdmin{n}).rootFor(a, planChange{renew: true})
	if err != nil {
		return err
	}
	defer root.Destroy()
	var custodians *seals.Custodians
	if to.Quorum() != nil {
		custodians = unsealShareSet(plan.shareSet)
	}
	for _, m := range to.Seals() {
		if err := (SealAdmin{n}).usedByMounts(ctx, a, m); err != nil {
			return err
		}
	}
	record, err := to.WrapAs(ctx, to.Configured(), before.Cluster, generation, root, custodians, nil)
	if err != nil {
		return sealFault(err, "nothing was changed: a new seal cannot wrap the root key")
	}
	raw, err := record.Marshal()
	if err != nil {
		return err
	}
	tx := a.barrier.Begin()
	tx.PutRaw(keySealed, raw)
	renewKeys(tx, root, generation)
	counts := putShareSet(tx, plan.shareSet)
	ceremony.Discard(tx)
	if err := (SealAdmin{n}).noteKeys(ctx, a, tx, record, ""); err != nil {
		return barrier.Fault(err, "nothing was changed: the keys of the seals that leave could not be noted")
	}
	if err := m.record(ctx, tx, before, record); err != nil {
		return err
	}
	if err := (integrity{n}).attest(ctx, a, tx); err != nil {
		return barrier.Fault(err, "nothing was changed: the migrated record could not be attested")
	}
	failpoint.Point("migrate.commit")
	if err := tx.Commit(ctx); err != nil && !(SealAdmin{n}).committed(ctx, a, raw, err) {
		return barrier.Fault(err, "the seal migration could not be written; the old record stays")
	}
	refreshPastSeals(ctx, n, a)
	n.change(func(f *nodeState) {
		f.setRecord(record, raw)
		f.shareSet, f.shareCounts, f.previous = plan.shareSet.Public(), counts, nil
		f.breakGlass = plan.shareSet.Decrypts()
	})
	m.done(before, record)
	return nil
}

// done ends a migration that is committed.
func (m *sealMigration) done(before, after *seals.Record) {
	m.plan.Store(nil)
	m.to.Load().Adopt(after)
	m.n.log.Warn("the seal migration is done", "from", planOf(before).String(), "to", planOf(after).String(),
		"generation", after.Generation)
}

// putShareSet stores a share set in its role, in place of the one in the other role.
func putShareSet(tx *barrier.Tx, c *recovery.ShareSet) (counts shareCounts) {
	tx.Put(pathShareSet+c.Target.String(), c.Marshal())
	if c.Target == recovery.Barrier {
		tx.Delete(pathShareSet + recovery.Recovery.String())
		tx.DeleteRaw(keyShareCounts)
		return shareCounts{}
	}
	counts = shareCounts{c.Shares, c.Threshold}
	tx.Delete(pathShareSet + recovery.Barrier.String())
	tx.PutRaw(keyShareCounts, counts.marshal())
	return counts
}

func (m *sealMigration) record(ctx context.Context, tx *barrier.Tx, before, next *seals.Record) error {
	now := m.n.cfg.Now()
	return ceremony.RecordChange(ctx, m.n.ceremonies, tx, transcript.Record{
		Purpose: "seal-migrate", Started: now, Finished: now, Outcome: transcript.Completed,
		Required: m.plan.Load().shareSet.Threshold,
		Reason: cut(fmt.Sprintf("migrated by a quorum of shares from %s to %s; generation %d", planOf(before), planOf(next),
			next.Generation)),
	})
}
