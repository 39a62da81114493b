package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// ReplaceSeals makes a node use the set of a changed configuration, at once. It returns the old
// set, which the caller closes. On an unsealed node the new set must open what the old one opens:
// a seal that holds the root key stays configured, and proves with its new parameters that it
// would unseal. A seal that is new in the set holds nothing until it is added: see
// [SealAdmin.Add].
func (n *Node) ReplaceSeals(ctx context.Context, set *seals.Set) (old *seals.Set, err error) {
	old = n.seals.Load()
	if n.migration.pending() {
		return nil, fault.New(fault.Invalid, "a seal migration is pending; finish it, or restart the node with the changed "+
			"configuration")
	}
	if !n.sealed() {
		if err := n.replaceable(ctx, old, set); err != nil {
			return nil, err
		}
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	if n.seals.Load() != old {
		return nil, fault.New(fault.Unavailable, "the seals were replaced meanwhile; reload the configuration again")
	}
	if n.sealed() {
		n.forgetShares()
		set.Succeed(old)
	}
	if n.migration != nil {
		n.migration.to.Store(set)
	}
	n.seals.Store(set)
	n.migration.follow(n.state.Load().record)
	n.seals.Load().Follow(n.state.Load().record)
	n.keeper.check()
	return old, nil
}

// replaceable refuses a set by which an unsealed node could do less than by the one it has.
func (n *Node) replaceable(ctx context.Context, old, set *seals.Set) error {
	record := n.state.Load().record
	if record == nil {
		return nil
	}
	before := map[string]seals.Status{}
	for _, st := range old.Status() {
		before[st.Name] = st
	}
	set.Succeed(old)
	after := map[string]seals.Status{}
	for _, st := range set.Probe(ctx, record) {
		after[st.Name] = st
	}
	for i := range record.Parts {
		p := &record.Parts[i]
		was, had := before[p.Name]
		now, has := after[p.Name]
		switch {
		case !had:
		case !has:
			return fault.New(fault.Invalid, "seal %q holds the root key and is not in the changed configuration: remove it "+
				"first (sealgate operator seals remove %s), or add its stanza again; the seals stay as they are",
				p.Name, p.Name)
		case now.Type != p.Type:
			return fault.New(fault.Invalid, "seal %q holds the root key as a seal of type %s, and the changed configuration "+
				"makes it %s: add the new seal under another name; the seals stay as they are", p.Name, p.Type, now.Type)
		case was.WouldUnseal && !now.WouldUnseal:
			err := seals.Fail(now.Class, errors.New(now.Cause), "%s", now.Remedy)
			return sealFault(err, fmt.Sprintf("seal %q opens the root key with the parameters in use and not with the changed "+
				"ones; the seals stay as they are", p.Name))
		}
	}
	return nil
}
