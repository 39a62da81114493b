package node

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/recipient"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

// complete carries out an authorised rekey in one commit. With verification asked, that commit only makes the new shares and
// keeps them from being lost; who holds what changes when they are proven. The caller holds transition.
func (n *Node) complete(ctx context.Context, a *RoleState, c *recovery.Ceremony) (*RekeyResult, error) {
	next, shares, err := n.nextShareSet(c)
	if err != nil {
		return nil, err
	}
	res := &RekeyResult{
		Nonce: c.Nonce, Backup: c.Params.Backup, VerificationRequired: c.Params.Verification,
		Shares: c.Params.Shares, Threshold: c.Params.Threshold,
	}
	if res.Keys, res.PGPFingerprints, err = enclose(c.Params.Recipients, shares, c.Started); err != nil {
		return nil, err
	}
	tx := a.barrier.Begin()
	if c.Params.Verification {
		if err := c.Await(next, n.cfg.Rand); err != nil {
			return nil, err
		}
		res.VerificationNonce = c.VerificationNonce
	}
	if err := n.keepAnswer(tx, c, res); err != nil {
		return nil, err
	}
	if err := n.keepBackup(tx, targetOf(c.Purpose), res); err != nil {
		return nil, err
	}
	if c.Params.Verification {
		return res, n.awaitVerification(ctx, tx, c)
	}
	if err := n.install(ctx, a.barrier, tx, c, next); err != nil {
		return nil, err
	}
	return res, nil
}

// awaitVerification stores a rekey whose new shares are to be proven. The old ones stay valid.
func (n *Node) awaitVerification(ctx context.Context, tx *barrier.Tx, c *recovery.Ceremony) error {
	tx.Put(ceremonyPath(c.Purpose), c.Marshal())
	failpoint.Point("rekey.await.commit")
	if err := tx.Commit(ctx); err != nil {
		return storeFault(err, "the new shares could not be kept; the old ones stay valid")
	}
	n.answerStarts()
	n.log.Info("new shares made; they are to be verified, and the old ones stay valid until then", "purpose", string(c.Purpose))
	return nil
}

// install makes next the custody, or renews the root key, and ends the ceremony, in one commit.
func (n *Node) install(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, c *recovery.Ceremony, next *recovery.ShareSet) error {
	tx.Delete(ceremonyPath(c.Purpose))
	if next != nil {
		tx.Put(pathShareSet+next.Target.String(), next.Marshal())
	}
	if err := n.transcribe(ctx, b, tx, c, ending{outcome: transcript.Completed, next: next}); err != nil {
		return err
	}
	var err error
	if c.Purpose == recovery.PurposeRekeyRecovery {
		err = n.installRecovery(ctx, tx, next)
	} else {
		err = n.renewRoot(ctx, b, tx, next, c.Params.Verification)
	}
	if err != nil {
		return err
	}
	n.answerStarts()
	n.log.Info("rekey complete", "purpose", string(c.Purpose), "by_shares", c.Numbers(), "shares", c.Params.Shares)
	return nil
}

// nextShareSet makes the new shares; there are none where the barrier is rekeyed by recovery shares.
func (n *Node) nextShareSet(c *recovery.Ceremony) (*recovery.ShareSet, []*secret.Bytes, error) {
	if c.Params.Shares == 0 {
		return nil, nil, nil
	}
	t := targetOf(c.Purpose)
	next, shares, err := recovery.NewShareSet(t, n.state.Load().shareSet, c.Params.Shares, c.Params.Threshold, n.cfg.Rand, n.cfg.Now())
	if err != nil {
		return nil, nil, fmt.Errorf("node: making the new shares: %w", err)
	}
	if err := next.NameHolders(c.Params.Holders); err != nil {
		return nil, nil, fmt.Errorf("node: naming the holders: %w", err)
	}
	return next, shares, nil
}

// enclose encrypts each share to its recipient, where there are any. As clients expect, what is encrypted is the share's
// hexadecimal text. Without recipients the shares themselves are returned. The keys were judged at a time, and a key that expired since
// then does not stop the last holder.
func enclose(recipients []string, shares []*secret.Bytes, at time.Time) ([]*secret.Bytes, []string, error) {
	if len(recipients) == 0 {
		return shares, nil, nil
	}
	to, err := recipient.ParseAll(recipients, at)
	if err != nil {
		return nil, nil, fmt.Errorf("node: a recipient's key was good when the rekey began: %w", err)
	}
	var out []*secret.Bytes
	var prints []string
	for i, r := range to {
		text := make([]byte, hex.EncodedLen(shares[i].Len()))
		hex.Encode(text, shares[i].Expose())
		message, err := r.Encrypt(text)
		clear(text)
		if err != nil {
			return nil, nil, fmt.Errorf("node: encrypting share %d: %w", i+1, err)
		}
		shares[i].Destroy()
		out, prints = append(out, secret.New(message)), append(prints, r.Fingerprint())
	}
	return out, prints, nil
}

// recipientsOf parses recipients and refuses those that cannot be encrypted to. It returns them without what encryption does
// not need, and their fingerprints.
func (n *Node) recipientsOf(texts []string) (compact, prints []string, err error) {
	to, err := recipient.ParseAll(texts, n.cfg.Now())
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Invalid, "%v", err)
	}
	for _, r := range to {
		compact, prints = append(compact, r.Compact()), append(prints, r.Fingerprint())
	}
	return compact, prints, nil
}

// installRecovery changes who authorises, and nothing else: no key of the barrier, no blob of a seal.
func (n *Node) installRecovery(ctx context.Context, tx *barrier.Tx, next *recovery.ShareSet) error {
	sh := shareCounts{next.Shares, next.Threshold}
	tx.PutRaw(keyShareCounts, sh.marshal())
	failpoint.Point("rekey.recovery.commit")
	if err := n.commitShareSet(ctx, tx, next); err != nil {
		return storeFault(err, "the rekey could not be written; the old shares stay valid")
	}
	n.change(func(f *nodeState) { f.shareSet, f.shareCounts = next, sh })
	return nil
}

// unsealShareSet is a custody as the seals need it, nil for nil.
func unsealShareSet(c *recovery.ShareSet) *seals.Custodians {
	if c == nil {
		return nil
	}
	return &seals.Custodians{ShareSet: c.Marshal(), PublicKey: c.PublicKey}
}

// renewRoot makes a new root key, has every seal wrap it, and re-encrypts the keyring under it, in one commit with whatever else is
// in tx. next are the people that come with it, nil where they stay the same: their public key is all that is needed to wrap for them.
// The people that next replaces stay able to unseal until the new shares are known to have arrived; proven says that they are.
func (n *Node) renewRoot(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, next *recovery.ShareSet, proven bool) error {
	f := n.state.Load()
	custodians, previous := f.shareSet, f.previous
	switch {
	case next != nil && !proven && n.cfg.Timing.Answer > 0:
		custodians, previous = next, f.shareSet
	case next != nil:
		custodians, previous = next, nil
	case len(f.record.ShareSet) == 0:
		custodians, previous = nil, nil // the custody is of recovery shares, which no key is wrapped to
	}
	root, err := secret.Random(n.cfg.Rand, seals.RootKeyLen)
	if err != nil {
		return err
	}
	defer root.Destroy()
	generation := b.RootGeneration() + 1
	record, err := n.seals.Load().Wrap(ctx, f.record.Cluster, generation, root, unsealShareSet(custodians), unsealShareSet(previous))
	if err != nil {
		return sealFault(err, "nothing was changed: a seal cannot keep a new root key")
	}
	raw, err := record.Marshal()
	if err != nil {
		return err
	}
	tx.PutRaw(keySealed, raw)
	tx.ReplaceRoot(root, generation)
	failpoint.Point("root.commit")
	if err := tx.Commit(ctx); err != nil {
		return storeFault(err, "the new root key could not be written; the old one stays")
	}
	n.change(func(f *nodeState) {
		f.record, f.previous = record, previous
		if next != nil {
			f.shareSet = next
		}
	})
	return nil
}
