package ceremony

import (
	"context"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// RekeyStatus is the state of a rekey. Where none is in progress, only Required is set.
type RekeyStatus struct {
	Nonce                        string
	Started                      bool
	Threshold, Shares            int // of the new share set
	Progress, Required           int // progress is 0 again while the new shares are verified
	PGPFingerprints              []string
	Backup, VerificationRequired bool
	VerificationNonce            string   // "" until the new shares are to be verified
	HoldersGiven                 []string // by name, or "share 3"
}

// RekeyResult is the result of a completed rekey.
type RekeyResult struct {
	Nonce string
	// Keys are the shares, or messages that only their holders can decrypt; none where only the root
	// key was replaced.
	Keys                         []*secret.Bytes
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

// unsealedFor refuses a target that this node's seals do not have.
func (m *Manager) unsealedFor(t recovery.Target) (Unsealed, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return u, err
	}
	if t == recovery.Recovery && m.Host.ShareState().SharesUnseal {
		return u, fault.Wrap(ErrNoRecoveryShares, fault.Invalid, "recovery rekeying not supported: "+
			"the shares of a shamir seal unseal the server; rekey the target barrier")
	}
	return u, nil
}

// RekeyStatus returns the state of a target's rekey.
func (m *Manager) RekeyStatus(ctx context.Context, t recovery.Target) (RekeyStatus, error) {
	u, err := m.unsealedFor(t)
	if err != nil {
		return RekeyStatus{}, err
	}
	c, err := m.read(ctx, u.Barrier, purposeOf(t))
	if err != nil {
		return RekeyStatus{}, err
	}
	return m.rekeyStatus(c), nil
}

func (m *Manager) rekeyStatus(c *recovery.Ceremony) RekeyStatus {
	shareSet := m.shareSet()
	if c == nil {
		st := RekeyStatus{}
		if shareSet != nil {
			st.Required = shareSet.Threshold
		}
		return st
	}
	st := RekeyStatus{
		Nonce: c.Nonce, Started: true, Threshold: c.Params.Threshold, Shares: c.Params.Shares,
		Progress: c.Progress(), Required: c.Required, Backup: c.Params.Backup,
		VerificationRequired: c.Params.Verification, VerificationNonce: c.VerificationNonce,
		PGPFingerprints: c.Params.Fingerprints, HoldersGiven: c.GivenBy(shareSet),
	}
	if c.Phase == recovery.Verifying {
		st.Progress, st.HoldersGiven = 0, nil
	}
	return st
}

// RekeyStart begins the rekey of a target. It returns a result only where no shares are needed,
// because no recovery shares exist yet.
func (m *Manager) RekeyStart(ctx context.Context, t recovery.Target, params recovery.Params, by Starter) (RekeyStatus,
	*RekeyResult, error) {
	var err error
	if params.Recipients, params.Fingerprints, err = Recipients(params.Recipients, m.Now()); err != nil {
		return RekeyStatus{}, nil, misconfigured(purposeOf(t), err)
	}
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.unsealedFor(t)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if t == recovery.Barrier && m.shareSet() == nil {
		return RekeyStatus{}, nil, fault.New(fault.Invalid, "there are no recovery shares to authorise a rekey "+
			"of the barrier: make some first, by a rekey of the target recovery")
	}
	if m.shareSet() == nil && !by.Root { // no share authorises this, and the shares can make a root token
		return RekeyStatus{}, nil, fault.New(fault.Denied, "permission denied: there are no recovery shares yet, and only "+
			"a root token may make the first ones")
	}
	c, err := m.begin(ctx, u.Barrier, purposeOf(t), params, by)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if !c.Authorised() {
		return m.rekeyStatus(c), nil, nil
	}
	res, err := m.complete(ctx, u, c, nil)
	return m.rekeyStatus(c), res, err
}

// RekeyCancel ends the rekey of a target, if there is one, also while its new shares await
// verification.
func (m *Manager) RekeyCancel(ctx context.Context, t recovery.Target, nonce string, by Starter) error {
	return m.cancel(ctx, purposeOf(t), nonce, nil, by)
}

// RekeyGive takes one share. With the last share that is needed it carries the rekey out and
// returns the result. Where that fails, the last share counts as not given, and can be given again.
func (m *Manager) RekeyGive(ctx context.Context, t recovery.Target, nonce string, share *secret.Bytes) (RekeyStatus,
	*RekeyResult, error) {
	p := purposeOf(t)
	if _, err := m.unsealedFor(t); err != nil {
		return RekeyStatus{}, nil, err
	}
	kept, err := m.check(ctx, p, nonce, share)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if kept != nil {
		return m.rekeyStatus(nil), kept, nil
	}
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, c, err := m.accept(ctx, p, nonce, share)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if !c.Authorised() {
		return m.rekeyStatus(c), nil, m.store(ctx, u.Barrier, c)
	}
	res, err := m.complete(ctx, u, c, share)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	return m.rekeyStatus(nil), res, nil
}
