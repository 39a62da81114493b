package node

import (
	"bytes"
	"context"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// ceremonyHost shows the node to its ceremonies. It implements [ceremony.Host] and [ceremony.Keys].
type ceremonyHost struct{ n *Node }

func newCeremonies(n *Node) *ceremony.Manager {
	h := ceremonyHost{n}
	return ceremony.New(ceremony.Config{
		Host: h, Keys: h, Lock: &n.transition, Log: n.log, Now: n.cfg.Now, Rand: n.cfg.Rand,
		Expiry: n.cfg.Timing.Ceremony, KeepAnswer: n.cfg.Timing.Answer,
	})
}

// Ceremonies returns the operations that share holders authorise.
func (n *Node) Ceremonies() *ceremony.Manager { return n.ceremonies }

// Unsealed implements ceremony.Host.
func (h ceremonyHost) Unsealed() (ceremony.Unsealed, error) {
	a, err := h.n.Role()
	if err != nil {
		return ceremony.Unsealed{}, err
	}
	return ceremony.Unsealed{Barrier: a.barrier, Tokens: a.tokens, Standby: a.Standby()}, nil
}

// ShareState implements ceremony.Host.
func (h ceremonyHost) ShareState() ceremony.ShareState {
	f := h.n.state.Load()
	c := ceremony.ShareState{
		ShareSet: f.shareSet, SharesUnseal: h.n.seals.Load().NeedsShares(), BreakGlass: f.breakGlass,
	}
	if f.record != nil {
		c.SharesUnseal = len(f.record.ShareSet) > 0
	}
	if f.record != nil {
		c.Cluster, c.Previous = f.record.Cluster, f.record.Previous != nil
	}
	return c
}

// Attest implements ceremony.Keys.
func (h ceremonyHost) Attest(ctx context.Context, tx *barrier.Tx) error {
	a, err := h.n.Role()
	if err != nil {
		return err
	}
	return integrity(h).attest(ctx, a, tx)
}

// TranscriptHead implements ceremony.Host.
func (h ceremonyHost) TranscriptHead(ctx context.Context) ([]byte, error) {
	a, err := h.n.Role()
	if err != nil {
		return nil, err
	}
	return integrity(h).transcriptHead(ctx, a)
}

// commitShareSet commits a transaction that makes c the share set. Where the storage reports a
// failure it reads back whether the commit is there, since then the new shares are the only ones
// that work. (The barrier does so itself for a commit that changes the keyring.)
func (h ceremonyHost) commitShareSet(ctx context.Context, tx *barrier.Tx, c *recovery.ShareSet) error {
	err := tx.Commit(ctx)
	if err == nil || storage.NothingWritten(err) || !h.isCurrent(ctx, c) {
		return err
	}
	h.n.log.Warn("the storage reported a failure, but the commit is there", "error", err)
	return nil
}

// isCurrent reports whether c is the share set behind the barrier now.
func (h ceremonyHost) isCurrent(ctx context.Context, c *recovery.ShareSet) bool {
	a := h.n.role.Load()
	if a == nil {
		return false
	}
	got, err := a.barrier.Get(context.WithoutCancel(ctx), pathShareSet+c.Target.String())
	return err == nil && bytes.Equal(got, c.Marshal())
}

// EndPrevious implements ceremony.Keys. It renews the root key too: a copy of the sealed record
// from before would open for the replaced shares for ever.
func (h ceremonyHost) EndPrevious(ctx context.Context, tx *barrier.Tx) error {
	a, err := h.n.Role()
	if err != nil {
		return err
	}
	custodians, previous, err := (ceremonyHost{h.n}).quorums(ctx, a.barrier)
	defer destroyKeys(custodians, previous)
	if err != nil {
		return err
	}
	return h.replaceRoot(ctx, tx, nil, custodians, nil)
}

// quorums returns the share sets that a root key is wrapped to, with the keys that authenticate the
// record, from behind the barrier. Both are nil where no shares unseal. The caller destroys the
// keys: no memory keeps them.
func (h ceremonyHost) quorums(ctx context.Context, b *barrier.Barrier) (custodians,
	previous *recovery.ShareSet, err error) {
	n := h.n
	f := n.state.Load()
	if len(f.record.ShareSet) == 0 {
		return nil, nil, nil
	}
	custodians, err = n.trustedShareSet(ctx, b)
	if err != nil || f.previous == nil {
		return custodians, nil, err
	}
	copied := *f.previous
	copied.RecordKey = custodians.PreviousKey
	return custodians, &copied, nil
}

func destroyKeys(sets ...*recovery.ShareSet) {
	for _, s := range sets {
		s.DestroyKeys()
	}
}

// authenticate renews the tags of a record that was changed without a new root key.
func authenticate(b *barrier.Barrier, r *seals.Record, custodians, previous *recovery.ShareSet) error {
	var keys seals.RecordKeys
	if custodians != nil {
		keys.Quorum = custodians.RecordKey
	}
	if previous != nil {
		keys.Previous = previous.RecordKey
	}
	return b.WithRoot(func(root *secret.Bytes) error { return r.Authenticate(root, keys) })
}

// RenewRoot implements ceremony.Keys: it makes a new root key, has every seal wrap it, and
// re-encrypts the keyring under it, in one commit with the rest of tx. Holders of unseal shares are
// wrapped to by their public key. A share set that next replaces can still unseal until the new
// shares are known to have arrived; proven says that they have.
func (h ceremonyHost) RenewRoot(ctx context.Context, tx *barrier.Tx, next *recovery.ShareSet, proven bool) error {
	a, err := h.n.Role()
	if err != nil {
		return err
	}
	current, replaced, err := (ceremonyHost{h.n}).quorums(ctx, a.barrier)
	defer destroyKeys(current, replaced)
	if err != nil {
		return barrier.Fault(err, "nothing was changed: the record of who holds the shares could not be read")
	}
	if next != nil && current != nil {
		next.PreviousKey = current.RecordKey
	}
	custodians, previous := h.afterRenewal(current, replaced, next, proven)
	return h.replaceRoot(ctx, tx, next, custodians, previous)
}

// replaceRoot makes a root key that is wrapped to custodians and previous, and commits it with tx.
// next is the share set that becomes the current one; nil: it stays.
func (h ceremonyHost) replaceRoot(ctx context.Context, tx *barrier.Tx, next, custodians,
	previous *recovery.ShareSet) error {
	n := h.n
	a, err := n.Role()
	if err != nil {
		return err
	}
	f := n.state.Load()
	if err := n.seals.Load().CheckReplace(f.record); err != nil {
		return sealFault(err, "nothing was changed")
	}
	root, err := secret.Random(n.cfg.Rand, seals.RootKeyLen)
	if err != nil {
		return err
	}
	defer root.Destroy()
	generation := a.barrier.RootGeneration() + 1
	record, err := n.seals.Load().Wrap(ctx, f.record.Cluster, generation, root,
		unsealShareSet(custodians), unsealShareSet(previous))
	if err != nil {
		return sealFault(err, "nothing was changed: a seal cannot wrap a new root key")
	}
	raw, err := record.Marshal()
	if err != nil {
		return err
	}
	if next != nil {
		record := next.Marshal()
		defer clear(record)
		tx.Put(pathShareSet+next.Target.String(), record)
	}
	tx.PutRaw(keySealed, raw)
	tx.ReplaceRoot(root, generation)
	if err := (SealAdmin{n}).noteKeys(ctx, a, tx, record, ""); err != nil {
		return barrier.Fault(err, "nothing was changed: the keys that the seals had could not be noted")
	}
	if err := h.Attest(ctx, tx); err != nil {
		return barrier.Fault(err, "the new root key could not be attested; the old one stays")
	}
	failpoint.Point("root.commit")
	if err := tx.Commit(ctx); err != nil {
		return barrier.Fault(err, "the new root key could not be written; the old one stays")
	}
	refreshPastSeals(ctx, n, a)
	n.change(func(f *nodeState) {
		f.setRecord(record, raw)
		f.previous = nil
		if previous != nil {
			f.previous = previous.Public()
		}
		if next != nil {
			f.shareSet = next.Public()
		}
	})
	n.seals.Load().Adopt(record)
	return nil
}

// afterRenewal returns the share sets that the new root key is wrapped to; nil where recovery
// shares authorise, since no key is wrapped to those.
func (h ceremonyHost) afterRenewal(
	current, previous, next *recovery.ShareSet, proven bool,
) (custodians, replaced *recovery.ShareSet) {
	switch {
	case next != nil && !proven && h.n.cfg.Timing.Answer > 0:
		return next, current
	case next != nil:
		return next, nil
	}
	return current, previous
}

// unsealShareSet returns a share set as the seals need it, nil for nil.
func unsealShareSet(c *recovery.ShareSet) *seals.Custodians {
	if c == nil {
		return nil
	}
	return &seals.Custodians{ShareSet: c.Public().Marshal(), PublicKey: c.PublicKey, RecordKey: c.RecordKey}
}
