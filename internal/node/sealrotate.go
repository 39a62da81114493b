package node

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// RotateKey makes a new key of a seal, or a new version of it, and wraps the root key by it, in one
// commit. What is stored does not need the old one then; it stays readable, for snapshots, until it
// is retired.
//
// A provider whose keys have no versions ([seals.KeyReplacer]) gets another key. Repeated, it
// continues where it stopped. keyID names a key that was made by other means, "" for a new one.
//
//	entry: id of the next key ──▶ key made ──▶ trial: every node opens it ──▶ commit of the record
func (s SealAdmin) RotateKey(ctx context.Context, name, keyID string, by ceremony.Starter) (*SealChange, error) {
	a, err := s.mayChange()
	if err != nil {
		return nil, err
	}
	if partOf(s.n.state.Load().record, name) == nil {
		return nil, fault.New(fault.Invalid, "nothing was changed: seal %q holds no part of the root key", name)
	}
	switch {
	case s.n.seals.Load().ReplacesKeys(name):
		return s.replaceKey(ctx, a, name, keyID, by)
	case keyID != "":
		return nil, fault.New(fault.Invalid, "nothing was changed: the key of seal %q has versions, so no other key "+
			"replaces it; leave out the key's id", name)
	}
	return s.newVersion(ctx, a, name, by)
}

// partOf returns the part of a seal, nil where it has none.
func partOf(r *seals.Record, name string) *seals.Part {
	for i := range r.Parts {
		if r.Parts[i].Name == name {
			return &r.Parts[i]
		}
	}
	return nil
}

// newVersion makes a new version of a key, and every seal wraps the root key again.
func (s SealAdmin) newVersion(
	ctx context.Context, a *RoleState, name string, by ceremony.Starter,
) (*SealChange, error) {
	n := s.n
	before := *partOf(n.state.Load().record, name)
	if err := n.seals.Load().RotateKey(ctx, name); err != nil {
		return nil, sealFault(err, "nothing was changed")
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	plan, err := s.unchanged(a)
	if err != nil {
		return nil, err
	}
	c, err := s.commit(ctx, a, planChange{
		plan: plan, purpose: "seal-rotate-key", by: by, reason: fmt.Sprintf("the key of seal %q rotated", name),
	})
	if err != nil {
		return nil, fault.Wrap(err, fault.KindOf(err), "the key has a new version, which the server will use as soon as it "+
			"can; until then the old one is needed: %v", err)
	}
	after := partOf(n.state.Load().record, name)
	if after != nil && after.KeyVersion == before.KeyVersion {
		c.Warnings = append(c.Warnings, "the service reports no new version of the key")
	} else {
		c.Warnings = append(c.Warnings, fmt.Sprintf("snapshots from before need version %s of the key: keep it readable as "+
			"long as one of them may be restored, then run sealgate operator seals retire %s", before.KeyVersion, name))
	}
	return c, nil
}

// replaceKey makes another key wrap the part of a seal.
func (s SealAdmin) replaceKey(
	ctx context.Context, a *RoleState, name, keyID string, by ceremony.Starter,
) (*SealChange, error) {
	n := s.n
	next, err := s.nextKey(ctx, a, name, keyID)
	if err != nil {
		return nil, err
	}
	if !next.Adopted {
		failpoint.Point("seals.key.make")
		if err := n.seals.Load().MakeKey(ctx, name, next.ID); err != nil {
			return nil, sealFault(err, "nothing was changed")
		}
	}
	failpoint.Point("seals.key.made")
	t, err := s.trialFor(ctx, a, name, next.ID)
	if err != nil {
		return nil, err
	}
	waiting := s.await(ctx, t)
	before := n.state.Load().record
	if waiting == nil {
		waiting = s.unproven(t) // a node joined meanwhile
	}
	if len(waiting) > 0 {
		return waitingFor(before, waiting), nil
	}
	return s.adoptKey(ctx, a, before, name, next.ID, by)
}

// adoptKey commits the record whose part of a seal the next key wrapped.
func (s SealAdmin) adoptKey(
	ctx context.Context, a *RoleState, before *seals.Record, name, id string, by ceremony.Starter,
) (*SealChange, error) {
	n := s.n
	record, err := n.seals.Load().ReplaceKey(ctx, before, name, id)
	if err != nil {
		return nil, sealFault(err, "nothing was changed")
	}
	was, now := partOf(before, name), partOf(record, name)
	if was.KeyID == now.KeyID {
		return nil, fault.New(fault.Invalid, "nothing was changed: the key %s wraps the root key already; end the rotation: "+
			"sealgate operator seals retire -key=%s %s", now.KeyID, id, name)
	}
	err = s.replacePart(ctx, a, before, record, partChange{
		purpose: "seal-rotate-key", by: by, replaced: name, next: id,
		reason: fmt.Sprintf("the key of seal %q was replaced: %s, before %s", name, now.KeyID, was.KeyID),
		also:   func(tx *barrier.Tx) { tx.Delete(pathTrials + name) },
	})
	if err != nil {
		return nil, err
	}
	n.seals.Load().Adopt(record)
	n.log.Warn("the key of a seal was replaced; nothing stored needs the old one", "seal", name, "old_key", was.KeyID,
		"new_key", now.KeyID, "by", by.String())
	c := changed(record)
	c.Warnings = append(c.Warnings, fmt.Sprintf("snapshots from before need the key %s: keep it as long as one of them "+
		"may be restored, then run sealgate operator seals retire %s", was.KeyID, name))
	return c, nil
}

// nextKey returns the key that is to replace that of a seal, and notes one where there is none.
func (s SealAdmin) nextKey(ctx context.Context, a *RoleState, name, keyID string) (*nextKey, error) {
	n := s.n
	n.transition.Lock()
	defer n.transition.Unlock()
	if _, err := s.unchanged(a); err != nil {
		return nil, err
	}
	k, err := readSealKeys(ctx, a.barrier, name)
	if err != nil {
		return nil, barrier.Fault(err, "nothing was changed: the keys of the seal cannot be read")
	}
	if k.Next != nil && (keyID == "" || keyID == k.Next.ID) {
		return k.Next, nil
	}
	if k.Next != nil {
		return nil, fault.New(fault.Invalid, "nothing was changed: the key with id %s is to replace that of seal %q; repeat "+
			"the command without an id to finish that, or end it: sealgate operator seals retire -key=%s %s",
			k.Next.ID, name, k.Next.ID, name)
	}
	k.Next = &nextKey{ID: keyID, Adopted: keyID != "", At: n.cfg.Now().UTC()}
	if keyID == "" {
		var id [16]byte
		if _, err := io.ReadFull(n.cfg.Rand, id[:]); err != nil {
			return nil, err
		}
		k.Next.ID = hex.EncodeToString(id[:])
	}
	if err := s.mayReplace(ctx, name, k); err != nil {
		return nil, err
	}
	tx := a.barrier.Begin()
	if err := k.put(tx, name); err != nil {
		return nil, err
	}
	failpoint.Point("seals.key.note")
	if err := tx.Commit(ctx); err != nil {
		return nil, barrier.Fault(err, "nothing was changed: the key that is to be made could not be noted")
	}
	return k.Next, nil
}

// mayReplace refuses a rotation that a seal or a node cannot do. With a second key of the same
// name, a node with an older program would find neither.
func (s SealAdmin) mayReplace(ctx context.Context, name string, k *sealKeys) error {
	set, record, next := s.n.seals.Load(), s.n.state.Load().record, k.Next
	if err := set.CheckReplaceKey(name, next.ID); err != nil {
		return sealFault(err, "nothing was changed")
	}
	if next.Adopted {
		p, err := set.TrialOfKey(ctx, record.Cluster, name, next.ID)
		if err != nil {
			return sealFault(err, "nothing was changed: the key cannot be used")
		}
		if p.KeyID == partOf(record, name).KeyID {
			return fault.New(fault.Invalid, "nothing was changed: the key %s wraps the root key already", p.KeyID)
		}
		if k.destroying(p) {
			return toBeDestroyed(name, p.KeyID)
		}
	}
	for _, r := range s.reports() {
		if !r.known {
			return fault.New(fault.Unavailable, "nothing was changed: node %s reports nothing about its seals; wait for its "+
				"report, or stop it", r.node)
		}
		for _, seal := range r.Seals {
			if seal.Name == name && seal.Configured && !seal.ReplacesKeys {
				return fault.New(fault.Invalid, "nothing was changed: the program of node %s is older and could not tell two "+
					"keys of one name apart; upgrade it first", r.node)
			}
		}
	}
	return nil
}
