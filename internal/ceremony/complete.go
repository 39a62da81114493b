package ceremony

import (
	"context"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// complete carries out an authorised rekey in one commit. Where verification was asked for, that
// commit stores the new shares as pending, and they replace the old ones when they are proven. The
// caller holds the lock.
func (m *Manager) complete(ctx context.Context, u Unsealed, c *recovery.Ceremony, last *secret.Bytes) (
	*RekeyResult, error) {
	next, shares, err := m.nextShareSet(c)
	if err != nil {
		return nil, err
	}
	defer next.DestroyKeys()
	res := &RekeyResult{
		Nonce: c.Nonce, Backup: c.Params.Backup, VerificationRequired: c.Params.Verification,
		Shares: c.Params.Shares, Threshold: c.Params.Threshold,
	}
	if res.Keys, res.PGPFingerprints, err = Enclose(c.Params.Recipients, shares, c.Started); err != nil {
		return nil, err
	}
	tx := u.Barrier.Begin()
	if c.Params.Verification {
		if err := c.Await(next, m.Rand); err != nil {
			return nil, err
		}
		res.VerificationNonce = c.VerificationNonce
	}
	if err := m.keepAnswer(tx, c, res, last); err != nil {
		return nil, err
	}
	if err := m.keepBackup(tx, targetOf(c.Purpose), res); err != nil {
		return nil, err
	}
	if c.Params.Verification {
		return res, m.awaitVerification(ctx, tx, c)
	}
	if err := m.install(ctx, u.Barrier, tx, c, next); err != nil {
		return nil, err
	}
	return res, nil
}

// awaitVerification stores a rekey whose new shares are pending. The old ones stay valid.
func (m *Manager) awaitVerification(ctx context.Context, tx *barrier.Tx, c *recovery.Ceremony) error {
	record := c.Marshal()
	defer clear(record) // it has the keys of the new share set
	tx.Put(ceremonyPath(c.Purpose), record)
	failpoint.Point("rekey.await.commit")
	if err := tx.Commit(ctx); err != nil {
		return barrier.Fault(err, "the new shares could not be stored; the old ones stay valid")
	}
	m.StartKeeping()
	m.Log.Info("new shares await verification; the old ones stay valid until then", "purpose", string(c.Purpose))
	return nil
}

// install replaces the share set by next, or renews the root key, and ends the ceremony, in one
// commit.
func (m *Manager) install(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, c *recovery.Ceremony,
	next *recovery.ShareSet) error {
	tx.Delete(ceremonyPath(c.Purpose))
	if err := m.record(ctx, b, tx, c, ending{outcome: transcript.Completed, next: next}); err != nil {
		return err
	}
	var err error
	if c.Purpose == recovery.PurposeRekeyRecovery {
		err = m.Keys.ReplaceRecovery(ctx, tx, next)
	} else {
		err = m.Keys.RenewRoot(ctx, tx, next, c.Params.Verification)
	}
	if err != nil {
		return err
	}
	m.reportHead(ctx)
	m.StartKeeping()
	m.Log.Info("rekey complete", "purpose", string(c.Purpose), "by_shares", c.Numbers(), "shares", c.Params.Shares)
	return nil
}

// nextShareSet makes the new shares; none where recovery shares authorise a rekey of the barrier.
func (m *Manager) nextShareSet(c *recovery.Ceremony) (*recovery.ShareSet, []*secret.Bytes, error) {
	if c.Params.Shares == 0 {
		return nil, nil, nil
	}
	state, target := m.Host.ShareState(), targetOf(c.Purpose)
	make := func() (*recovery.ShareSet, []*secret.Bytes, error) {
		if target == recovery.Recovery && state.BreakGlass {
			return recovery.NewBreakGlassSet(state.ShareSet, c.Params.Shares, c.Params.Threshold, m.Rand, m.Now())
		}
		return recovery.NewShareSet(target, state.ShareSet, c.Params.Shares, c.Params.Threshold, m.Rand, m.Now())
	}
	next, shares, err := make()
	if err != nil {
		return nil, nil, fmt.Errorf("ceremony: making the new shares: %w", err)
	}
	if err := next.NameHolders(c.Params.Holders); err != nil {
		return nil, nil, fmt.Errorf("ceremony: naming the holders: %w", err)
	}
	return next, shares, nil
}
