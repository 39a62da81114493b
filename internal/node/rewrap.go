package node

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// pathRewrap names the re-wrap in the audit trail, whether an operator or the node itself does it.
const pathRewrap = "sys/sealwrap/rewrap"

// partChange is what a commit records of a record whose root key is the old one.
type partChange struct {
	purpose, reason string // for the transcript
	by              ceremony.Starter
	replaced        string            // the seal whose next key wraps; "": none
	next            string            // id of that key
	also            func(*barrier.Tx) // nil: nothing
}

// RewrapSeals makes every seal wrap the same root key again, by the newest version of its key. The
// root key comes from the seals themselves, so that what is wrapped is what they would unseal with.
func (n *Node) RewrapSeals(ctx context.Context, by ceremony.Starter) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Role()
	if err != nil {
		return err
	}
	f, set := n.state.Load(), n.seals.Load()
	if set.NeedsShares() {
		return fault.New(fault.Invalid, "the root key is wrapped to the unseal custodians, and only their shares "+
			"open it; "+
			"rotate the root key instead: that needs no shares")
	}
	if err := set.CheckReplace(f.record); err != nil {
		return sealFault(err, "nothing was changed")
	}
	root, err := set.Unwrap(ctx, f.record, nil)
	if err != nil {
		return sealFault(err, "nothing was changed: the seals do not unwrap the root key; "+
			"if their key is lost, rotate the root key instead (sealgate write -f sys/rotate/root)")
	}
	defer root.Destroy()
	if !a.barrier.VerifyRoot(root) {
		return fault.New(fault.Internal, "nothing was changed: the seals hold another root key than the one in use; "+
			"rotate the root key")
	}
	custodians, previous, err := (ceremonyHost{n}).quorums(ctx, a.barrier)
	defer destroyKeys(custodians, previous)
	if err != nil {
		return barrier.Fault(err, "nothing was changed: the record of who holds the shares could not be read")
	}
	plan := set.Plan()
	if set.AllowsPolicyChange() {
		plan = set.Configured()
	}
	if err := (SealAdmin{n}).readable(plan); err != nil {
		return err
	}
	record, err := set.WrapAs(ctx, plan, f.record.Cluster, f.record.Generation, root,
		unsealShareSet(custodians), unsealShareSet(previous))
	if err != nil {
		return sealFault(err, "nothing was changed: a seal cannot wrap the root key")
	}
	c := partChange{purpose: "seal-rewrap", by: by, reason: "every seal wrapped the root key again"}
	if err := (SealAdmin{n}).commitParts(ctx, a, record, c); err != nil {
		return err
	}
	set.Adopt(record)
	n.log.Info("the seals wrapped the root key again", "generation", record.Generation)
	return nil
}

// commitParts stores a record of the same root key, with a record of the transcript. The caller
// holds transition.
func (s SealAdmin) commitParts(ctx context.Context, a *RoleState, record *seals.Record, c partChange) error {
	n := s.n
	raw, err := record.Marshal()
	if err != nil {
		return err
	}
	tx := a.barrier.Begin()
	tx.PutRaw(keySealed, raw)
	if c.also != nil {
		c.also(tx)
	}
	if err := s.noteKeys(ctx, a, tx, record, c.replaced); err != nil {
		return barrier.Fault(err, "nothing was changed: the keys that the seals had could not be noted")
	}
	if err := s.record(ctx, tx, planChange{purpose: c.purpose, reason: c.reason, by: c.by}, record); err != nil {
		return err
	}
	if err := (integrity{n}).attest(ctx, a, tx); err != nil {
		return barrier.Fault(err, "the re-wrapped root key could not be attested; nothing was changed")
	}
	failpoint.Point("rewrap.commit")
	if err := tx.Commit(ctx); err != nil && !s.committed(ctx, a, raw, err) {
		return barrier.Fault(err, "the re-wrapped root key could not be written; the old record stays, and both open")
	}
	refreshPastSeals(ctx, s.n, a)
	n.change(func(f *nodeState) { f.setRecord(record, raw) })
	return nil
}

// rewrapAudited audits a re-wrap before and after.
func (k *sealKeeper) rewrapAudited(ctx context.Context, a *RoleState, st seals.Status) error {
	return k.audited(pathRewrap, map[string]string{
		"seal": st.Name, "old_version": st.KeyVersion, "new_version": st.KeyNewest,
	}, func() error { return k.rewrapOne(ctx, a, st, itself) })
}

// rewrapOne asks the seal without a lock, and commits only where the record has not changed
// meanwhile.
func (k *sealKeeper) rewrapOne(ctx context.Context, a *RoleState, st seals.Status, by ceremony.Starter) error {
	n := k.n
	before := n.state.Load().record
	record, moved, err := n.seals.Load().Rewrap(ctx, before, st.Name)
	if err != nil || !moved {
		return err
	}
	err = SealAdmin{n}.replacePart(ctx, a, before, record, partChange{purpose: "seal-rewrap", by: by,
		reason: fmt.Sprintf("seal %q wrapped the root key by another version of its key", st.Name)})
	if err != nil {
		return err
	}
	for _, p := range record.Parts {
		if p.Name == st.Name {
			n.log.Info("a seal wrapped the root key by the newest version of its key; nothing stored needs the old one",
				"seal", p.Name, "type", p.Type, "old_key", st.KeyID, "old_version", st.KeyVersion,
				"new_key", p.KeyID, "new_version", p.KeyVersion)
		}
	}
	return nil
}

// replacePart commits a record in which one part is another, unless the record has changed since.
func (s SealAdmin) replacePart(ctx context.Context, a *RoleState, before, next *seals.Record, c partChange) error {
	n := s.n
	n.transition.Lock()
	defer n.transition.Unlock()
	if n.role.Load() != a || n.state.Load().record != before {
		return fault.New(fault.Unavailable, "the sealed root key was replaced meanwhile; nothing was changed")
	}
	if err := s.stillNext(ctx, a, c); err != nil {
		return err
	}
	custodians, previous, err := (ceremonyHost{n}).quorums(ctx, a.barrier)
	defer destroyKeys(custodians, previous)
	if err != nil {
		return err
	}
	if err := authenticate(a.barrier, next, custodians, previous); err != nil {
		return err
	}
	return s.commitParts(ctx, a, next, c)
}

// stillNext refuses a key whose rotation was ended after it wrapped the part: it may be destroyed
// by now. The caller holds transition.
func (s SealAdmin) stillNext(ctx context.Context, a *RoleState, c partChange) error {
	if c.replaced == "" {
		return nil
	}
	k, err := readSealKeys(ctx, a.barrier, c.replaced)
	if err != nil {
		return barrier.Fault(err, "nothing was changed: the keys of the seal cannot be read")
	}
	if k.Next == nil || k.Next.ID != c.next {
		return fault.New(fault.Unavailable, "nothing was changed: the rotation to the key with id %s was ended meanwhile",
			c.next)
	}
	return nil
}

func auditData(m map[string]string) json.RawMessage {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings always encode
	}
	return b
}
