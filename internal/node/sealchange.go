package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

// SealChange is the result of a change of the seals.
type SealChange struct {
	Done       bool     `json:"done"`
	Policy     string   `json:"policy"`
	Generation uint64   `json:"generation"`
	Waiting    []string `json:"waiting"` // nodes that must prove the seal first; the same request continues
	Warnings   []string `json:"warnings"`
}

// planChange is a change of the seals that is ready to be committed.
type planChange struct {
	plan    seals.Plan
	renew   bool // the keys too: copies of the old record must not open what is written from now on
	lessens bool // a quorum of shares must have authorised it
	purpose string
	seal    string // that the change is about; "": the policy
	enroll  bool   // the holders of the recovery shares become custodians
	reason  string // for the transcript
	by      ceremony.Starter
	also    func(*barrier.Tx) // what ends with the change; nil: nothing
}

// Add makes a configured seal hold the root key too, once every node has proven that it can use it.
// It can be repeated: it continues where it stopped, and does nothing where the seal is a member.
// policy is that of the members with the new one, "" for one more seal under the same threshold.
func (s SealAdmin) Add(ctx context.Context, name, policy string, by ceremony.Starter) (*SealChange, error) {
	return s.Replace(ctx, name, policy, nil, by)
}

// Replace is [SealAdmin.Add] of a seal in place of others, which are not asked: they may be lost.
// That takes a quorum, and new keys as [SealAdmin.Remove] does.
func (s SealAdmin) Replace(ctx context.Context, name, policy string, lost []string, by ceremony.Starter) (*SealChange,
	error) {
	n := s.n
	a, err := s.mayChange()
	if err != nil {
		return nil, err
	}
	left, err := without(planOf(n.state.Load().record), name, lost)
	if err != nil {
		return nil, err
	}
	next, err := s.withMember(left, name, policy)
	if err != nil {
		return nil, err
	}
	if record := n.state.Load().record; slices.Contains(planOf(record).Members, name) {
		return changed(record), nil
	}
	if _, ok := n.seals.Load().Member(name); !ok {
		if err := n.readSeals(ctx); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "nothing was changed: the configuration's seals cannot be used: %v", err)
		}
	}
	if s.hasQuorum(seals.Plan{Members: []string{name}}) {
		if len(lost) > 0 {
			return nil, fault.New(fault.Invalid, "nothing was changed: custodians join as a seal of their own; remove the lost "+
				"seal afterwards")
		}
		return s.addCustodians(ctx, a, name, next, by)
	}
	t, err := s.trialFor(ctx, a, name, "")
	if err != nil {
		return nil, err
	}
	m, _ := n.seals.Load().Member(name)
	if err := s.usedByMounts(ctx, a, m); err != nil {
		return nil, err
	}
	if waiting := s.await(ctx, t); len(waiting) > 0 {
		return waitingFor(n.state.Load().record, waiting), nil
	}
	s.awaitProofs(ctx, left, next)
	n.transition.Lock()
	defer n.transition.Unlock()
	plan, err := s.unchanged(a)
	if err != nil {
		return nil, err
	}
	if slices.Contains(plan.Members, name) {
		return changed(n.state.Load().record), nil
	}
	if waiting := s.unproven(t); len(waiting) > 0 { // a node joined meanwhile
		return waitingFor(n.state.Load().record, waiting), nil
	}
	c, err := s.addition(plan, name, policy, lost)
	if err != nil {
		return nil, err
	}
	c.by = by
	return s.commit(ctx, a, c)
}

// addition is the change that adds a seal, in place of others where there are such.
func (s SealAdmin) addition(plan seals.Plan, name, policy string, lost []string) (c planChange, err error) {
	left, err := without(plan, name, lost)
	if err != nil {
		return c, err
	}
	next, err := s.withMember(left, name, policy)
	if err == nil {
		err = s.accepted(left, next)
	}
	if err != nil {
		return c, err
	}
	if next.Check() != nil {
		return c, fault.New(fault.Invalid, "nothing was changed: without %s, the policy %s cannot be met; change it "+
			"first: sealgate operator seals policy", strings.Join(lost, ", "), plan)
	}
	c = planChange{
		plan: next, renew: plan.Raises(next), lessens: s.lessens(plan, next),
		purpose: "seal-add", seal: name, reason: fmt.Sprintf("seal %q added", name),
		also: func(tx *barrier.Tx) { tx.Delete(pathTrials + name) },
	}
	if len(lost) > 0 {
		c.renew, c.lessens, c.reason = true, true, c.reason+" in place of "+strings.Join(lost, ", ")
		c.purpose, c.seal = "seal-replace", strings.Join(lost, ",")+" with "+name
	}
	return c, nil
}

// without returns the plan without the seals that a new one replaces.
func without(plan seals.Plan, name string, lost []string) (seals.Plan, error) {
	if slices.Contains(plan.Members, name) {
		return plan, nil
	}
	for _, l := range lost {
		if l == name || !slices.Contains(plan.Members, l) {
			return plan, fault.New(fault.Invalid, "nothing was changed: seal %q, which is to be replaced, holds no part of "+
				"the root key; the members are %s", l, orList(plan.Members))
		}
		plan = plan.Without(l)
	}
	return plan, nil
}

// Remove takes the root key from a seal: the others wrap a new one, and the barrier key is rotated,
// so that nothing which the removed seal ever wrapped opens what is stored from now on.
func (s SealAdmin) Remove(ctx context.Context, name string, by ceremony.Starter) (*SealChange, error) {
	n := s.n
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := s.mayChange()
	if err != nil {
		return nil, err
	}
	plan := planOf(n.state.Load().record)
	if !slices.Contains(plan.Members, name) {
		return nil, fault.New(fault.Invalid, "nothing was changed: seal %q holds no part of the root key; the members are %s",
			name, orList(plan.Members))
	}
	next := plan.Without(name)
	if next.Check() != nil {
		if plan.Grouped() {
			return nil, fault.New(fault.Invalid, "nothing was changed: without seal %q, the policy %s cannot be met; change it "+
				"first: sealgate operator seals policy", name, plan)
		}
		return nil, fault.New(fault.Invalid, "nothing was changed: without seal %q, %d seals would be left and %d are "+
			"needed; add another seal or lower the threshold first", name, len(next.Members), plan.Threshold)
	}
	c, err := s.commit(ctx, a, planChange{
		plan: next, renew: true, lessens: true, purpose: "seal-remove", seal: name, by: by,
		reason: fmt.Sprintf("seal %q removed", name),
	})
	if err != nil {
		return nil, err
	}
	c.Warnings = append(c.Warnings, s.snapshotsNeed(ctx, a, name)...)
	return c, nil
}

// Rewrap makes one seal wrap its part by the newest version of its key; "" means every seal.
func (s SealAdmin) Rewrap(ctx context.Context, name string, by ceremony.Starter) (*SealChange, error) {
	n := s.n
	a, err := s.mayChange()
	if err != nil {
		return nil, err
	}
	if name == "" {
		if err := n.RewrapSeals(ctx, by); err != nil {
			return nil, err
		}
		return changed(n.state.Load().record), nil
	}
	for _, st := range n.seals.Load().StatusOf(n.state.Load().record) {
		if st.Name != name || len(st.Needed) == 0 {
			continue
		}
		if err := n.keeper.rewrapOne(ctx, a, st, by); err != nil {
			return nil, sealFault(err, "nothing was changed")
		}
		return changed(n.state.Load().record), nil
	}
	return nil, fault.New(fault.Invalid, "nothing was changed: seal %q holds no part of the root key", name)
}

// unchanged returns the plan of the record, unless the node's role has ended. The caller holds
// transition.
func (s SealAdmin) unchanged(a *RoleState) (seals.Plan, error) {
	if s.n.role.Load() != a {
		return seals.Plan{}, fault.New(fault.Unavailable, "the role of this node changed meanwhile; nothing was changed; "+
			"try again")
	}
	return planOf(s.n.state.Load().record), nil
}

func changed(r *seals.Record) *SealChange {
	return &SealChange{Done: true, Policy: planOf(r).String(), Generation: r.Generation, Waiting: []string{},
		Warnings: []string{}}
}

// waitingFor is the answer to a change that continues with the same request once these nodes have
// proven the seal.
func waitingFor(r *seals.Record, nodes []string) *SealChange {
	c := changed(r)
	c.Done, c.Waiting = false, nodes
	return c
}

// wrapped is a root key that was wrapped under a changed plan.
type wrapped struct {
	root    *secret.Bytes
	record  *seals.Record
	raw     []byte
	retired *recovery.ShareSet // the custodians who leave; nil: none

	enrolled *recovery.ShareSet // the custodians who join, with their keys; nil: none
}

// wrap wraps the root key under a plan. The caller destroys the root key.
func (s SealAdmin) wrap(ctx context.Context, a *RoleState, c planChange) (w wrapped, err error) {
	n := s.n
	root, generation, err := s.rootFor(a, c)
	if err != nil {
		return w, err
	}
	w.root = root
	custodians, previous, err := (ceremonyHost{n}).quorums(ctx, a.barrier)
	defer destroyKeys(custodians, previous)
	if err != nil {
		return w, barrier.Fault(err, "nothing was changed: the record of who holds the shares could not be read")
	}
	if c.enroll {
		if w.enrolled, err = s.n.ceremonies.Grants.Enrolled(recovery.PurposeAuthorizeSeals, c.wanted(), c.by); err != nil {
			return w, err
		}
		custodians = w.enrolled
	}
	if custodians != nil && !s.hasQuorum(c.plan) {
		w.retired, custodians, previous = custodians, nil, nil
	}
	w.record, err = n.seals.Load().WrapAs(ctx, c.plan, n.state.Load().record.Cluster, generation, root,
		unsealShareSet(custodians), unsealShareSet(previous))
	if err != nil {
		return w, sealFault(err, "nothing was changed: a seal cannot wrap the root key")
	}
	w.raw, err = w.record.Marshal()
	return w, err
}

// hasQuorum reports whether custodians are a member of a plan.
func (s SealAdmin) hasQuorum(p seals.Plan) bool {
	return s.n.seals.Load().HasCustodians(p)
}

// commit wraps the root key under a plan and writes the record, its attestation and a record of the
// transcript in one commit. The caller holds transition.
func (s SealAdmin) commit(ctx context.Context, a *RoleState, c planChange) (*SealChange, error) {
	n := s.n
	w, err := s.wrap(ctx, a, c)
	defer w.root.Destroy()
	defer w.enrolled.DestroyKeys()
	if err == nil {
		err = s.quorum(c)
	}
	if err != nil {
		return nil, err
	}
	tx := a.barrier.Begin()
	tx.PutRaw(keySealed, w.raw)
	if c.renew {
		renewKeys(tx, w.root, w.record.Generation)
	}
	if c.also != nil {
		c.also(tx)
	}
	shares := newUse(tx, w)
	if err := s.noteKeys(ctx, a, tx, w.record, ""); err != nil {
		return nil, barrier.Fault(err, "nothing was changed: the keys that the seals had could not be noted")
	}
	if err := s.record(ctx, tx, c, w.record); err != nil {
		return nil, err
	}
	if err := (integrity{n}).attest(ctx, a, tx); err != nil {
		return nil, barrier.Fault(err, "nothing was changed: the new record could not be attested")
	}
	failpoint.Point("seals.commit")
	if err := tx.Commit(ctx); err != nil && !s.committed(ctx, a, w.raw, err) {
		return nil, barrier.Fault(err, "the change of the seals could not be written; the old record stays")
	}
	refreshPastSeals(ctx, n, a)
	n.change(func(f *nodeState) {
		f.setRecord(w.record, w.raw)
		if shares.shareSet != nil {
			f.shareSet, f.shareCounts, f.previous = shares.shareSet, shares.counts, nil
			f.breakGlass = false
		}
	})
	n.seals.Load().Adopt(w.record)
	n.log.Info("the seals were changed", "change", c.reason, "by", c.by.String(), "policy", planOf(w.record).String(),
		"generation", w.record.Generation)
	return changed(w.record), nil
}

// renewKeys replaces the root key and the barrier key: a holder of the old root key and a copy of
// the old keyring has the keys of its terms.
func renewKeys(tx *barrier.Tx, root *secret.Bytes, generation uint64) {
	tx.ReplaceRoot(root, generation)
	tx.RotateKeyring()
}

// newRole is a share set in another role.
type newRole struct {
	shareSet *recovery.ShareSet
	counts   shareCounts
}

// newUse makes unseal shares recovery shares or the reverse, and ends what was begun with them. It
// does nothing where none joins or leaves.
func newUse(tx *barrier.Tx, w wrapped) newRole {
	next := w.enrolled
	if w.retired != nil {
		next = w.retired.ForRecovery()
	}
	if next == nil {
		return newRole{}
	}
	ceremony.Discard(tx)
	counts := putShareSet(tx, next)
	return newRole{next.Public(), counts}
}

// rootFor returns the root key that a change wraps, and its generation.
func (s SealAdmin) rootFor(a *RoleState, c planChange) (root *secret.Bytes, generation uint64, err error) {
	if c.renew {
		root, err = secret.Random(s.n.cfg.Rand, seals.RootKeyLen)
		return root, a.barrier.RootGeneration() + 1, err
	}
	err = a.barrier.WithRoot(func(key *secret.Bytes) error {
		root = key.Clone()
		return nil
	})
	return root, a.barrier.RootGeneration(), err
}

// record adds the record of the transcript.
func (s SealAdmin) record(ctx context.Context, tx *barrier.Tx, c planChange, next *seals.Record) error {
	now := s.n.cfg.Now()
	return ceremony.RecordChange(ctx, s.n.ceremonies, tx, transcript.Record{
		Purpose: c.purpose, Started: now, Finished: now, StartedBy: c.by.DisplayName, StartedAccessor: c.by.Accessor,
		Outcome: transcript.Completed,
		Reason:  cut(fmt.Sprintf("%s; policy: %s; generation %d", c.reason, planOf(next), next.Generation)),
	})
}

// committed reports whether a commit whose failure the storage reported is there all the same.
func (s SealAdmin) committed(ctx context.Context, a *RoleState, raw []byte, err error) bool {
	if storage.NothingWritten(err) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), firstRead)
	defer cancel()
	stored, failed := s.n.cfg.Store.Get(ctx, keySealed)
	if failed != nil || !bytes.Equal(stored, raw) {
		return false
	}
	c, failed := readCluster(ctx, a.barrier)
	if failed != nil || c.Attested == nil || !sameDigest(c.Attested.Record, attestDigest(keySealed, raw)) {
		return false
	}
	s.n.log.Warn("the storage reported a failure, but the commit is there", "error", err)
	return true
}

// quorum uses the grant of a quorum of shares for a change that lessens protection. A store without
// shares has no quorum.
func (s SealAdmin) quorum(c planChange) error {
	if !c.lessens {
		return nil
	}
	err := s.n.ceremonies.Grants.UseFor(recovery.PurposeAuthorizeSeals, c.wanted(), c.by)
	if errors.Is(err, ceremony.ErrNoShares) && !c.enroll {
		s.n.log.Warn("this change of the seals lessens protection, and there are no shares that could authorise it",
			"change", c.reason, "by", c.by.String())
		return nil
	}
	return err
}

// snapshotDays is how long a snapshot counts as one that may have to be restored.
const snapshotDays = 30

// snapshotsNeed warns where a recent snapshot needs a seal that was removed.
func (s SealAdmin) snapshotsNeed(ctx context.Context, a *RoleState, name string) []string {
	snapshots, err := readSnapshots(ctx, a.barrier)
	if err != nil {
		return []string{"whether a recent snapshot needs this seal is not known: " + err.Error()}
	}
	taken, ok := snapshots.Last[name]
	if !ok || s.n.cfg.Now().Sub(taken) > snapshotDays*24*time.Hour {
		return nil
	}
	return []string{fmt.Sprintf("the snapshot that was taken at %s, and older ones, still need seal %q: keep its key, or "+
		"take a new snapshot now", taken.Format(time.RFC3339), name)}
}
