package node

import (
	"context"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// VerifyStatus is where the verification of new shares stands.
type VerifyStatus struct {
	Nonce             string
	Started           bool
	Shares, Threshold int
	Progress          int
	Complete          bool // only in the answer to the last share
}

// verifying returns the ceremony whose new shares are to be proven.
func (n *Node) verifying(ctx context.Context, t recovery.Target, none string) (*RoleState, *recovery.Ceremony, error) {
	a, err := n.rekeyTarget(t)
	if err != nil {
		return nil, nil, err
	}
	c, err := n.readCeremony(ctx, a.barrier, purposeOf(t))
	switch {
	case err != nil:
		return nil, nil, err
	case c == nil:
		return nil, nil, fault.New(fault.Invalid, "%s", none)
	case c.Phase != recovery.Verifying:
		return nil, nil, fault.New(fault.Invalid, "no rekey verification in progress")
	}
	return a, c, nil
}

func describeVerify(c *recovery.Ceremony) VerifyStatus {
	return VerifyStatus{
		Nonce: c.VerificationNonce, Started: true, Shares: c.Params.Shares, Threshold: c.Params.Threshold, Progress: len(c.Proven),
	}
}

// RekeyVerifyStatus tells where the verification stands.
func (n *Node) RekeyVerifyStatus(ctx context.Context, t recovery.Target) (VerifyStatus, error) {
	_, c, err := n.verifying(ctx, t, "no rekey configuration found")
	if err != nil {
		return VerifyStatus{}, err
	}
	return describeVerify(c), nil
}

// RekeyVerify takes one of the new shares. With the last one that is needed the new shares take the place of the old ones. A wrong
// share is refused at once and leaves the others as they are.
func (n *Node) RekeyVerify(ctx context.Context, t recovery.Target, nonce string, share *secret.Bytes) (VerifyStatus, error) {
	_, c, err := n.verifying(ctx, t, "no rekey in progress")
	if err != nil {
		return VerifyStatus{}, err
	}
	number, err := c.Verify(nonce, share, n.cfg.Now())
	if err != nil {
		return VerifyStatus{}, giveFault(err) // judged without the lock: see look
	}
	tell(ctx, c.Next, number)
	n.transition.Lock()
	defer n.transition.Unlock()
	a, c, err := n.verifying(ctx, t, "no rekey in progress")
	if err != nil {
		return VerifyStatus{}, err
	}
	if _, err := c.Verify(nonce, share, n.cfg.Now()); err != nil {
		return VerifyStatus{}, giveFault(err)
	}
	if !c.Verified() {
		if err := a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(ceremonyPath(c.Purpose), c.Marshal())}}); err != nil {
			return VerifyStatus{}, storeFault(err, "the share could not be recorded; give it again")
		}
		return describeVerify(c), nil
	}
	tx := a.barrier.Begin()
	tx.Delete(answerPath(c.Purpose))
	if err := n.install(ctx, a.barrier, tx, c, c.Next); err != nil {
		return VerifyStatus{}, err
	}
	return VerifyStatus{Nonce: nonce, Complete: true}, nil
}

// RekeyVerifyRestart forgets the proofs given so far, and makes a new nonce. The new shares stay the same.
func (n *Node) RekeyVerifyRestart(ctx context.Context, t recovery.Target) (VerifyStatus, error) {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, c, err := n.verifying(ctx, t, "no rekey in progress")
	if err != nil {
		return VerifyStatus{}, err
	}
	if err := c.RestartVerification(n.cfg.Rand); err != nil {
		return VerifyStatus{}, err
	}
	if err := a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(ceremonyPath(c.Purpose), c.Marshal())}}); err != nil {
		return VerifyStatus{}, storeFault(err, "the verification could not be restarted")
	}
	return describeVerify(c), nil
}
