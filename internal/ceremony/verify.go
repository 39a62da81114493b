package ceremony

import (
	"context"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// VerifyStatus is the state of a verification of new shares.
type VerifyStatus struct {
	Nonce             string
	Started           bool
	Shares, Threshold int
	Progress          int
	Complete          bool // only in the answer to the last share
}

var (
	errNoConfiguration = fault.Wrap(ErrNoConfiguration, fault.Invalid, "no rekey configuration found")
	errNoVerification  = fault.Wrap(ErrNone, fault.Invalid, "no rekey in progress")
)

// verifying returns the ceremony whose new shares are to be proven. none is the error where there
// is no ceremony.
func (m *Manager) verifying(ctx context.Context, t recovery.Target, none error) (Unsealed, *recovery.Ceremony, error) {
	u, err := m.unsealedFor(t)
	if err != nil {
		return u, nil, err
	}
	c, err := m.read(ctx, u.Barrier, purposeOf(t))
	switch {
	case err != nil:
		return u, nil, err
	case c == nil:
		return u, nil, none
	case c.Phase != recovery.Verifying:
		return u, nil, fault.Wrap(recovery.ErrNotVerifying, fault.Invalid, "%v", recovery.ErrNotVerifying)
	}
	return u, c, nil
}

func verifyStatus(c *recovery.Ceremony) VerifyStatus {
	return VerifyStatus{
		Nonce: c.VerificationNonce, Started: true,
		Shares: c.Params.Shares, Threshold: c.Params.Threshold, Progress: len(c.Proven),
	}
}

// RekeyVerifyStatus returns the state of the verification.
func (m *Manager) RekeyVerifyStatus(ctx context.Context, t recovery.Target) (VerifyStatus, error) {
	_, c, err := m.verifying(ctx, t, errNoConfiguration)
	if err != nil {
		return VerifyStatus{}, err
	}
	return verifyStatus(c), nil
}

// RekeyVerify takes one of the new shares. With the last one that is needed, the new shares replace
// the old ones. A wrong share is refused at once and leaves the others as they are.
func (m *Manager) RekeyVerify(ctx context.Context, t recovery.Target, nonce string, share *secret.Bytes) (VerifyStatus,
	error) {
	_, c, err := m.verifying(ctx, t, errNoVerification)
	if err != nil {
		return VerifyStatus{}, err
	}
	number, err := c.Verify(nonce, share, m.Now()) // without the lock: see check
	if err != nil {
		return VerifyStatus{}, ShareFault(err)
	}
	Attribute(ctx, c.Next, number)
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, c, err := m.verifying(ctx, t, errNoVerification)
	if err != nil {
		return VerifyStatus{}, err
	}
	if _, err := c.Verify(nonce, share, m.Now()); err != nil {
		return VerifyStatus{}, ShareFault(err)
	}
	if !c.Verified() {
		if err := storeVerification(ctx, u.Barrier, c); err != nil {
			return VerifyStatus{}, barrier.Fault(err, "the share could not be recorded; give it again")
		}
		return verifyStatus(c), nil
	}
	defer c.Next.DestroyKeys()
	tx := u.Barrier.Begin()
	tx.Delete(answerPath(c.Purpose))
	if err := m.install(ctx, u.Barrier, tx, c, c.Next); err != nil {
		return VerifyStatus{}, err
	}
	return VerifyStatus{Nonce: nonce, Complete: true}, nil
}

// RekeyVerifyRestart discards the proofs given so far and makes a new nonce. The new shares stay
// the same.
func (m *Manager) RekeyVerifyRestart(ctx context.Context, t recovery.Target) (VerifyStatus, error) {
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, c, err := m.verifying(ctx, t, errNoVerification)
	if err != nil {
		return VerifyStatus{}, err
	}
	if err := c.RestartVerification(m.Rand); err != nil {
		return VerifyStatus{}, err
	}
	if err := storeVerification(ctx, u.Barrier, c); err != nil {
		return VerifyStatus{}, barrier.Fault(err, "the verification could not be restarted")
	}
	return verifyStatus(c), nil
}

func storeVerification(ctx context.Context, b *barrier.Barrier, c *recovery.Ceremony) error {
	record := c.Marshal()
	defer clear(record)
	return b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(ceremonyPath(c.Purpose), record)}})
}
