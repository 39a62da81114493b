package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// Retire ends the use of a key that a seal had before a rotation, or of one that was to replace the
// seal's and does not. A quorum of shares allows that where mounts may use the key from then on.
// With destroy the provider destroys it, which needs a quorum where snapshots may need the key: the
// commit that orders it comes first, so that the same request continues after a failure.
func (s SealAdmin) Retire(
	ctx context.Context, name, key string, destroy bool, by ceremony.Starter,
) (*SealChange, error) {
	n := s.n
	a, err := s.mayChange()
	if err != nil {
		return nil, err
	}
	if destroy && !n.seals.Load().DestroysKeys(name) {
		m, _ := n.seals.Load().Member(name)
		return nil, fault.New(fault.Invalid, "nothing was changed: seal %q of type %q cannot destroy its old keys; "+
			"destroy the key where it is, and run the command without -destroy", name, m.Type)
	}
	o, warnings, err := s.orderRetirement(ctx, a, retirement{name, key, destroy, by})
	if err != nil {
		return nil, err
	}
	c := changed(n.state.Load().record)
	if o == nil { // a next key that was noted and is not used, or a key that is to stay
		c.Warnings = append(c.Warnings, warnings...)
		return c, nil
	}
	failpoint.Point("seals.key.destroy")
	done, err := n.seals.Load().DestroyKey(ctx, name, o.info(), o.KeyVersion)
	if err != nil {
		return nil, sealFault(err, "the destruction of the key is ordered and not done yet; the same command continues")
	}
	n.log.Warn("an old key of a seal was destroyed", "seal", name, "key", o.KeyID, "version", o.KeyVersion, "result", done,
		"by", by.String())
	c.Warnings = append(c.Warnings, warnings...)
	c.Warnings = append(c.Warnings, fmt.Sprintf("the key %s is %s", o.label(), done))
	return c, s.forgetKey(ctx, a, name, *o)
}

func (o *oldKey) info() *wrapping.KeyInfo {
	info := &wrapping.KeyInfo{}
	if err := proto.Unmarshal(o.Info, info); err != nil || info.GetKeyId() == "" {
		return &wrapping.KeyInfo{KeyId: o.KeyID}
	}
	return info
}

// label names a key for an operator.
func (o *oldKey) label() string {
	if o.KeyVersion == "" {
		return o.KeyID
	}
	return fmt.Sprintf("%s, version %s", o.KeyID, o.KeyVersion)
}

type retirement struct {
	name, key string
	destroy   bool
	by        ceremony.Starter
}

// retireSubject names what a quorum authorises: the end of one key of one seal.
func retireSubject(name string, o *oldKey) string { return name + ": " + o.label() }

// retiredSubject returns the subject of the destruction of a key that is named as for Retire.
func (s SealAdmin) retiredSubject(ctx context.Context, a *RoleState, name, key string) (string, error) {
	k, err := readSealKeys(ctx, a.barrier, name)
	if err != nil {
		return "", barrier.Fault(err, "the keys of the seal cannot be read")
	}
	if k.Next != nil && key == k.Next.ID {
		return retireSubject(name, &oldKey{KeyID: k.Next.ID}), nil
	}
	o, err := chooseOld(k, retirement{name: name, key: key})
	if err != nil {
		return "", err
	}
	return retireSubject(name, o), nil
}

// authorised uses the grant of a quorum for the destruction of a key, or for its use by mounts. The
// caller holds transition.
func (s SealAdmin) authorised(r retirement, o *oldKey) error {
	return s.quorum(planChange{plan: planOf(s.n.state.Load().record), lessens: true, purpose: "seal-retire",
		seal: retireSubject(r.name, o), by: r.by, reason: "the use of an old key of a seal is to be ended"})
}

// frees reports whether mounts may use a key once it is retired: no seal guards it as its own. Who
// decrypts by it in a mount reads the root key of older snapshots.
func (s SealAdmin) frees(ctx context.Context, o *oldKey) bool {
	if o.Type == "" {
		return false // it was never kept from mounts
	}
	set := s.n.seals.Load()
	for _, name := range planOf(s.n.state.Load().record).Members {
		m, ok := set.Member(name)
		if !ok || m.Type != o.Type {
			continue
		}
		if owner, ok := m.Wrapper.(seals.KeyOwner); !ok || owner.OwnsKey(ctx, o.KeyID) {
			return false
		}
	}
	return true
}

// orderRetirement commits what a retirement is to do. It returns the key that is to be destroyed,
// nil for none.
func (s SealAdmin) orderRetirement(ctx context.Context, a *RoleState, r retirement) (*oldKey, []string, error) {
	n := s.n
	n.transition.Lock()
	defer n.transition.Unlock()
	if _, err := s.unchanged(a); err != nil {
		return nil, nil, err
	}
	k, err := readSealKeys(ctx, a.barrier, r.name)
	if err != nil {
		return nil, nil, barrier.Fault(err, "nothing was changed: the keys of the seal cannot be read")
	}
	if k.Next != nil && r.key == k.Next.ID {
		return s.dropNext(ctx, a, k, r)
	}
	o, err := chooseOld(k, r)
	if err != nil {
		return nil, nil, err
	}
	if err := s.unneeded(o); err != nil {
		return nil, nil, err
	}
	warnings, err := s.snapshotsNeedKey(ctx, a, r.name, o)
	if err != nil {
		return nil, nil, err
	}
	if r.destroy && o.Destroying {
		return o, warnings, nil
	}
	act := "retired; it was not destroyed"
	if !r.destroy && s.frees(ctx, o) {
		if err := s.authorised(r, o); err != nil {
			return nil, nil, err
		}
	}
	if r.destroy {
		if k.Next != nil { // it may be this key, under another name
			return nil, nil, fault.New(fault.Invalid, "nothing was changed: a rotation of the key of seal %q is in progress; "+
				"finish it first, or end it: sealgate operator seals retire -key=%s %s", r.name, k.Next.ID, r.name)
		}
		if err := s.authorised(r, o); err != nil {
			return nil, nil, err
		}
		act, o.Destroying = "ordered to be destroyed", true
	} else {
		warnings = append(warnings, fmt.Sprintf("the key %s is still where it was; destroy it there once nothing needs it",
			o.label()))
	}
	chosen := *o
	if !r.destroy {
		k.drop(o.KeyID, o.KeyVersion)
	}
	reason := fmt.Sprintf("the old key %s of seal %q was %s", chosen.label(), r.name, act)
	if err := s.commitKeys(ctx, a, k, r, reason); err != nil {
		return nil, nil, err
	}
	if !r.destroy {
		return nil, warnings, nil
	}
	return &chosen, warnings, nil
}

// chooseOld returns the old key that a retirement names.
func chooseOld(k *sealKeys, r retirement) (*oldKey, error) {
	found := k.find(r.key)
	var names []string
	for i := range k.Old {
		names = append(names, k.Old[i].label())
	}
	switch {
	case len(k.Old) == 0:
		return nil, fault.New(fault.Invalid, "nothing was changed: seal %q has no old key", r.name)
	case len(found) == 0:
		return nil, fault.New(fault.Invalid, "nothing was changed: no old key of seal %q is named %q; it has: %s", r.name,
			r.key, strings.Join(names, "; "))
	case len(found) > 1:
		return nil, fault.New(fault.Invalid, "nothing was changed: seal %q has several old keys; name one: %s", r.name,
			strings.Join(names, "; "))
	}
	return found[0], nil
}

// unneeded refuses a key that a part of the record needs, of whichever seal.
func (s SealAdmin) unneeded(o *oldKey) error {
	for _, st := range s.n.seals.Load().StatusOf(s.n.state.Load().record) {
		for _, use := range st.Needed {
			if use.KeyID == o.KeyID && use.KeyVersion == o.KeyVersion {
				return fault.New(fault.Invalid, "nothing was changed: seal %q needs the key %s to unseal (%s)", st.Name,
					o.label(), use.For)
			}
		}
	}
	return nil
}

// snapshotsNeedKey warns where recent snapshots need an old key.
func (s SealAdmin) snapshotsNeedKey(ctx context.Context, a *RoleState, name string, o *oldKey) ([]string, error) {
	taken, err := readSnapshots(ctx, a.barrier)
	if err != nil {
		return nil, barrier.Fault(err, "nothing was changed: which snapshots need the key cannot be read")
	}
	need := taken.of(name, o.KeyID, o.KeyVersion)
	if need == nil || !need.recent(s.n.cfg.Now()) {
		return nil, nil
	}
	return []string{fmt.Sprintf("%d snapshots, the last one taken at %s, need the key %s for their part of seal %q: "+
		"without it only other seals that they are sealed to open them", need.Count, need.Last.Format(time.RFC3339),
		o.label(), name)}, nil
}

// commitKeys writes the keys of a seal with a record of the transcript.
func (s SealAdmin) commitKeys(ctx context.Context, a *RoleState, k *sealKeys, r retirement, reason string) error {
	tx := a.barrier.Begin()
	if k.Next == nil {
		tx.Delete(pathTrials + r.name)
	}
	if err := k.put(tx, r.name); err != nil {
		return err
	}
	err := s.record(ctx, tx, planChange{purpose: "seal-retire-key", reason: reason, by: r.by}, s.n.state.Load().record)
	if err != nil {
		return err
	}
	if err := integrity(s).attest(ctx, a, tx); err != nil {
		return barrier.Fault(err, "nothing was changed: the record of the transcript could not be attested")
	}
	failpoint.Point("seals.key.retire")
	if err := tx.Commit(ctx); err != nil {
		return barrier.Fault(err, "nothing was changed: the retirement of the key could not be written")
	}
	refreshPastSeals(ctx, s.n, a)
	s.n.log.Warn(reason, "by", r.by.String())
	return nil
}

// dropNext ends a rotation that has not wrapped the root key. A key that this server made for it is
// needed by nothing; one that was adopted may be another's, and only a quorum lets it be destroyed.
func (s SealAdmin) dropNext(ctx context.Context, a *RoleState, k *sealKeys, r retirement) (*oldKey, []string, error) {
	id := k.Next.ID
	made := oldKey{KeyID: id}
	if r.destroy {
		p, err := s.n.seals.Load().TrialOfKey(ctx, s.n.state.Load().record.Cluster, r.name, id)
		switch {
		case seals.ClassOf(err) == seals.KeyGone:
			r.destroy = false // it was not made
		case err != nil:
			return nil, nil, sealFault(err, "nothing was changed")
		default:
			if err := k.add(p, s.n.cfg.Now()); err != nil {
				return nil, nil, err
			}
			made = k.Old[len(k.Old)-1]
			k.Old[len(k.Old)-1].Destroying = true
		}
		if err := s.unneeded(&made); err != nil {
			return nil, nil, err
		}
	}
	if r.destroy && k.Next.Adopted {
		if err := s.authorised(r, &oldKey{KeyID: id}); err != nil {
			return nil, nil, err
		}
	}
	k.Next = nil
	reason := fmt.Sprintf("the key with id %s does not replace that of seal %q", id, r.name)
	if err := s.commitKeys(ctx, a, k, r, reason); err != nil {
		return nil, nil, err
	}
	if r.destroy {
		return &made, nil, nil
	}
	return nil, []string{fmt.Sprintf("if the key with id %s was made, it is still where it was", id)}, nil
}

// forgetKey drops a key that is destroyed.
func (s SealAdmin) forgetKey(ctx context.Context, a *RoleState, name string, o oldKey) error {
	s.n.transition.Lock()
	defer s.n.transition.Unlock()
	if _, err := s.unchanged(a); err != nil {
		return err
	}
	k, err := readSealKeys(ctx, a.barrier, name)
	if err == nil {
		tx := a.barrier.Begin()
		k.drop(o.KeyID, o.KeyVersion)
		if err = k.put(tx, name); err == nil {
			err = tx.Commit(ctx)
		}
	}
	if err != nil {
		return barrier.Fault(err, "the key is destroyed, and this could not be noted; the same command continues")
	}
	refreshPastSeals(ctx, s.n, a)
	return nil
}
