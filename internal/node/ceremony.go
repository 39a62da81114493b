package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// RekeyStatus is where a rekey stands. The zero value, but for Required, is that of a target with no rekey under way.
type RekeyStatus struct {
	Nonce                        string
	Started                      bool
	Threshold, Shares            int // of the new custody
	Progress, Required           int
	PGPFingerprints              []string
	Backup, VerificationRequired bool
	VerificationNonce            string
}

// RekeyResult is what a completed rekey hands out, once.
type RekeyResult struct {
	Nonce                        string
	Keys                         []*secret.Bytes // empty for the barrier target under a seal that unseals by itself
	PGPFingerprints              []string
	Backup, VerificationRequired bool
	VerificationNonce            string
}

// purposes maps a target to the ceremony that rekeys it.
var purposes = map[recovery.Target]recovery.Purpose{
	recovery.Barrier:  recovery.PurposeRekeyBarrier,
	recovery.Recovery: recovery.PurposeRekeyRecovery,
}

// checkTarget refuses a target that this node's seals do not have.
func (n *Node) checkTarget(t recovery.Target) error {
	if t == recovery.Recovery && n.seals.Load().NeedsPeople() {
		return fault.New(fault.Invalid, "recovery rekeying not supported: the shares of a shamir seal unseal the server; rekey the target barrier")
	}
	return nil
}

// RekeyStatus tells where the rekey of a target stands.
func (n *Node) RekeyStatus(ctx context.Context, t recovery.Target) (RekeyStatus, error) {
	a, err := n.Active()
	if err == nil {
		err = n.checkTarget(t)
	}
	if err != nil {
		return RekeyStatus{}, err
	}
	c, err := n.readCeremony(ctx, a.barrier, t)
	if err != nil {
		return RekeyStatus{}, err
	}
	return n.describe(c), nil
}

func (n *Node) describe(c *recovery.Ceremony) RekeyStatus {
	if c == nil {
		st := RekeyStatus{}
		if custody := n.facts.Load().custody; custody != nil {
			st.Required = custody.Threshold
		}
		return st
	}
	return RekeyStatus{
		Nonce: c.Nonce, Started: true, Threshold: c.Params.Threshold, Shares: c.Params.Shares,
		Progress: c.Progress(), Required: c.Required, Backup: c.Params.Backup, VerificationRequired: c.Params.Verification,
	}
}

// RekeyStart begins the rekey of a target. by names who did it, for the record.
func (n *Node) RekeyStart(ctx context.Context, t recovery.Target, params recovery.Params, by string) (RekeyStatus, error) {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Active()
	if err == nil {
		err = n.checkTarget(t)
	}
	if err != nil {
		return RekeyStatus{}, err
	}
	running, err := n.readCeremony(ctx, a.barrier, t)
	if err != nil {
		return RekeyStatus{}, err
	}
	if running != nil {
		return RekeyStatus{}, fault.New(fault.Invalid, "rekey already in progress")
	}
	if params.Verification || params.Backup || len(params.Recipients) > 0 {
		return RekeyStatus{}, fault.New(fault.Invalid, "this version cannot verify, encrypt or back up new shares yet; start the rekey without")
	}
	custody := n.facts.Load().custody
	if custody == nil {
		return RekeyStatus{}, fault.New(fault.Invalid, "there are no recovery shares to authorise a rekey: the store was initialised without")
	}
	c, err := recovery.Start(purposes[t], custody, params, recovery.Origin{By: by, Now: n.cfg.Now(), Rand: n.cfg.Rand})
	if err != nil {
		return RekeyStatus{}, startFault(t, err)
	}
	ops := []storage.Op{storage.Put(ceremonyPath(t), c.Marshal()), storage.Delete(answerPath(t))}
	if err := a.barrier.Commit(ctx, storage.Batch{Ops: ops}); err != nil {
		return RekeyStatus{}, storeFault(err, "the rekey could not be started")
	}
	n.log.Info("rekey started", "target", t.String(), "by", by, "shares", params.Shares, "threshold", params.Threshold)
	return n.describe(c), nil
}

// startFault gives the contract's words for parameters that cannot be.
func startFault(t recovery.Target, err error) error {
	switch {
	case errors.Is(err, recovery.ErrShape) && t == recovery.Barrier:
		return fault.New(fault.Invalid, "invalid rekey seal configuration: %v", err)
	case errors.Is(err, recovery.ErrShape):
		return fault.New(fault.Invalid, "invalid recovery configuration: %v", err)
	case errors.Is(err, recovery.ErrParams), errors.Is(err, recovery.ErrPurpose):
		return fault.New(fault.Invalid, "%v", err)
	}
	return err
}

// RekeyCancel ends the rekey of a target, if there is one.
func (n *Node) RekeyCancel(ctx context.Context, t recovery.Target) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Active()
	if err != nil {
		return err
	}
	running, err := n.readCeremony(ctx, a.barrier, t)
	if err != nil || running == nil {
		return err
	}
	if err := a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(ceremonyPath(t))}}); err != nil {
		return storeFault(err, "the rekey could not be cancelled")
	}
	n.log.Info("rekey cancelled", "target", t.String(), "progress", running.Progress())
	return nil
}

// RekeyGive takes one share. With the last one that is needed it carries the rekey out and returns what came
// of it. Where that fails, the last share counts as not given: it can be given again once the cause is mended.
func (n *Node) RekeyGive(ctx context.Context, t recovery.Target, nonce string, share *secret.Bytes) (RekeyStatus, *RekeyResult, error) {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Active()
	if err == nil {
		err = n.checkTarget(t)
	}
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	c, err := n.readCeremony(ctx, a.barrier, t)
	if err != nil {
		return RekeyStatus{}, nil, err
	}
	if c == nil {
		result, err := n.answerAgain(ctx, a.barrier, t, nonce, share)
		return n.describe(nil), result, err
	}
	number, err := c.Give(n.facts.Load().custody, nonce, share, n.cfg.Now())
	if err != nil {
		return RekeyStatus{}, nil, giveFault(err)
	}
	if c.Authorised() {
		result, err := n.rekey(ctx, a, t, c)
		if err != nil {
			return RekeyStatus{}, nil, err
		}
		n.log.Info("rekey complete", "target", t.String(), "by_shares", c.Numbers(), "shares", len(result.Keys))
		return n.describe(nil), result, nil
	}
	if err := a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(ceremonyPath(t), c.Marshal())}}); err != nil {
		return RekeyStatus{}, nil, storeFault(err, "the share could not be recorded; give it again")
	}
	n.log.Info("share given", "target", t.String(), "share", number, "progress", c.Progress(), "required", c.Required)
	return n.describe(c), nil, nil
}

// answerAgain is for whoever gives the last share of a completed rekey again, because the answer did not reach him.
func (n *Node) answerAgain(ctx context.Context, b *barrier.Barrier, t recovery.Target, nonce string, share *secret.Bytes) (*RekeyResult, error) {
	kept, err := n.readAnswer(ctx, b, t)
	if err != nil {
		return nil, err
	}
	if kept == nil || !kept.is(nonce, share) {
		return nil, fault.New(fault.Invalid, "no %s rekey in progress", t)
	}
	n.log.Info("the answer of the last rekey was given again", "target", t.String(), "share", kept.number)
	return &RekeyResult{Nonce: kept.nonce, Keys: kept.keys}, nil
}

// giveFault is for the holder of a share: all that can go wrong is the request's fault, and none of the texts tells the nonce.
func giveFault(err error) error { return fault.Wrap(err, fault.Invalid, "%v", err) }

func ceremonyPath(t recovery.Target) string { return pathRitual + t.String() }

// readCeremony returns the ceremony under way for a target. There is none where its time is over, or where the shares that
// were to authorise it were replaced meanwhile: the next one overwrites what is left of it.
func (n *Node) readCeremony(ctx context.Context, b *barrier.Barrier, t recovery.Target) (*recovery.Ceremony, error) {
	raw, err := b.Get(ctx, ceremonyPath(t))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeFault(err, "the rekey under way could not be read")
	}
	c, err := recovery.UnmarshalCeremony(raw)
	if err != nil {
		return nil, fmt.Errorf("node: entry %s: %w", ceremonyPath(t), err)
	}
	custody := n.facts.Load().custody
	if c.Expired(n.cfg.Now()) || custody == nil || custody.ID != c.Custody {
		return nil, nil
	}
	return c, nil
}
