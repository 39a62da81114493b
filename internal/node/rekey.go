package node

import (
	"context"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// RekeyStatus is where a rekey stands. The zero value, but for Required, is that of a target with no rekey under way.
type RekeyStatus struct {
	Nonce                        string
	Started                      bool
	Threshold, Shares            int // of the new custody
	Progress, Required           int // progress is 0 again once all shares are given and the new ones are to be verified
	PGPFingerprints              []string
	Backup, VerificationRequired bool
	VerificationNonce            string   // "" until the new shares are to be verified
	HoldersGiven                 []string // by name, or "share 3"
}

// RekeyResult is what a completed rekey hands out.
type RekeyResult struct {
	Nonce                        string
	Keys                         []*secret.Bytes // shares, or messages that only their holders can read; none where the seals alone changed
	PGPFingerprints              []string
	Backup, VerificationRequired bool
	VerificationNonce            string
	Shares, Threshold            int
}

// purposeOf maps a target to the ceremony that rekeys it.
func purposeOf(t recovery.Target) recovery.Purpose {
	if t == recovery.Recovery {
		return recovery.PurposeRekeyRecovery
	}
	return recovery.PurposeRekeyBarrier
}

func targetOf(p recovery.Purpose) recovery.Target {
	if p == recovery.PurposeRekeyRecovery {
		return recovery.Recovery
	}
	return recovery.Barrier
}

// checkTarget refuses a target that this node's seals do not have.
func (n *Node) checkTarget(t recovery.Target) error {
	if t == recovery.Recovery && n.seals.Load().NeedsShares() {
		return fault.New(fault.Invalid, "recovery rekeying not supported: the shares of a shamir seal unseal the server; rekey the target barrier")
	}
	return nil
}

// rekeyTarget is what every call begins with.
func (n *Node) rekeyTarget(t recovery.Target) (*RoleState, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	return a, n.checkTarget(t)
}

// RekeyStatus tells where the rekey of a target stands.
func (n *Node) RekeyStatus(ctx context.Context, t recovery.Target) (RekeyStatus, error) {
	a, err := n.rekeyTarget(t)
	if err != nil {
		return RekeyStatus{}, err
	}
	c, err := n.readCeremony(ctx, a.barrier, purposeOf(t))
	if err != nil {
		return RekeyStatus{}, err
	}
	return n.describe(c), nil
}

func (n *Node) describe(c *recovery.Ceremony) RekeyStatus {
	shareSet := n.state.Load().shareSet
	if c == nil {
		st := RekeyStatus{}
		if shareSet != nil {
			st.Required = shareSet.Threshold
		}
		return st
	}
	st := RekeyStatus{
		Nonce: c.Nonce, Started: true, Threshold: c.Params.Threshold, Shares: c.Params.Shares, Progress: c.Progress(), Required: c.Required,
		Backup: c.Params.Backup, VerificationRequired: c.Params.Verification, VerificationNonce: c.VerificationNonce,
		PGPFingerprints: c.Params.Fingerprints, HoldersGiven: c.GivenBy(shareSet),
	}
	if c.Phase == recovery.Verifying {
		st.Progress, st.HoldersGiven = 0, nil
	}
	return st
}

// RekeyStart begins the rekey of a target. The result is not nil only where nobody's shares are needed: no recovery shares exist yet.
func (n *Node) RekeyStart(ctx context.Context, t recovery.Target, params recovery.Params, by Starter) (RekeyStatus, *RekeyResult, error) {
	var err error
	if params.Recipients, params.Fingerprints, err = n.recipientsOf(params.Recipients); err != nil {
		return RekeyStatus{}, nil, misconfigured(purposeOf(t), err)
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.rekeyTarget(t)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if t == recovery.Barrier && n.state.Load().shareSet == nil {
		return RekeyStatus{}, nil, fault.New(fault.Invalid, "there are no recovery shares to authorise a rekey of the barrier: make some first, by a rekey of the target recovery")
	}
	c, err := n.begin(ctx, a.barrier, purposeOf(t), params, by)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if !c.Authorised() {
		return n.describe(c), nil, nil
	}
	res, err := n.complete(ctx, a, c)
	return n.describe(c), res, err
}

// RekeyCancel ends the rekey of a target, if there is one, and what of it waits for verification.
func (n *Node) RekeyCancel(ctx context.Context, t recovery.Target, nonce string, by Starter) error {
	return n.cancel(ctx, purposeOf(t), nonce, by)
}

// RekeyGive takes one share. With the last one that is needed it carries the rekey out and returns what came
// of it. Where that fails, the last share counts as not given: it can be given again once the cause is mended.
func (n *Node) RekeyGive(ctx context.Context, t recovery.Target, nonce string, share *secret.Bytes) (RekeyStatus, *RekeyResult, error) {
	p := purposeOf(t)
	if _, err := n.rekeyTarget(t); err != nil {
		return RekeyStatus{}, nil, err
	}
	kept, err := n.look(ctx, p, nonce, share)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if kept != nil {
		return n.describe(nil), kept.result(), nil
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a, c, err := n.take(ctx, p, nonce, share)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if !c.Authorised() {
		return n.describe(c), nil, n.keep(ctx, a.barrier, c)
	}
	res, err := n.complete(ctx, a, c)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	return n.describe(nil), res, nil
}
