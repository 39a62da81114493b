package ceremony

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// keepAnswer adds the answer to the transaction that it reports, encrypted to the last share,
// unless answers are not kept. last is nil where no share was needed.
func (m *Manager) keepAnswer(tx *barrier.Tx, c *recovery.Ceremony, res *RekeyResult, last *secret.Bytes) error {
	if m.KeepAnswer <= 0 || len(res.Keys) == 0 || last == nil {
		return nil
	}
	number := c.Given[len(c.Given)-1].Number
	a := &answer{purpose: c.Purpose, made: m.Now(), number: number, authority: m.shareSet()}
	if err := a.seal(res, last); err != nil {
		return fmt.Errorf("ceremony: encrypting the answer: %w", err)
	}
	raw, err := a.marshal()
	if err != nil {
		return fmt.Errorf("ceremony: encoding the answer: %w", err)
	}
	tx.Put(answerPath(c.Purpose), raw)
	return nil
}

// readAnswer returns the answer that is kept for a purpose, nil where there is none or its time is
// over.
func (m *Manager) readAnswer(ctx context.Context, b *barrier.Barrier, p recovery.Purpose) (*answer, error) {
	if m.keptLongEnough() {
		return nil, nil
	}
	raw, err := b.Get(ctx, answerPath(p))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, barrier.Fault(err, "the answer to the last share could not be read")
	}
	defer clear(raw)
	a, err := unmarshalAnswer(p, raw)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", answerPath(p), err)
	}
	return a, nil
}

// StartKeeping restarts the time for which answers are kept. The node calls it when it begins to
// serve.
func (m *Manager) StartKeeping() { m.answerEnds.Store(m.Now().Add(m.KeepAnswer).UnixNano()) }

// KeepUntilFetched keeps answers until they are acknowledged or the node serves again: the replaced
// share set unsealed the node, so the reply with the new shares may be lost.
func (m *Manager) KeepUntilFetched() { m.answerEnds.Store(0) }

// keptLongEnough reports whether the time of kept answers is over.
func (m *Manager) keptLongEnough() bool {
	end := m.answerEnds.Load()
	return end != 0 && m.Now().UnixNano() >= end
}

// RekeyAcknowledge wipes the kept answer of a target's rekey, because its holder has the new
// shares. It takes the share and the nonce that the answer is for, so no one else can discard what
// another has not seen.
func (m *Manager) RekeyAcknowledge(ctx context.Context, t recovery.Target, nonce string, share *secret.Bytes) error {
	return m.acknowledge(ctx, purposeOf(t), nonce, share)
}

func (m *Manager) acknowledge(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) error {
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	kept, err := m.readAnswer(ctx, u.Barrier, p)
	if err != nil {
		return err
	}
	if kept == nil || kept.open(nonce, share) == nil {
		return fault.New(fault.Invalid, "no answer is kept for this share and nonce")
	}
	Attribute(ctx, kept.authority, kept.number)
	m.Lock.Lock()
	defer m.Lock.Unlock()
	return barrier.Fault(m.dropAnswers(ctx, u.Barrier, p), "the answer could not be wiped")
}

// WipeAnswers removes kept answers once their time is over, and ends the replaced unseal share set.
func (m *Manager) WipeAnswers(ctx context.Context) {
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil || u.Standby || !m.keptLongEnough() {
		return
	}
	if err := m.dropAnswers(ctx, u.Barrier, slots...); err != nil {
		m.Log.Warn("the kept answers to last shares could not be wiped; it is tried again", "error", err)
	}
}

// DropAnswers removes all kept answers and ends the replaced unseal share set. The caller holds the
// lock.
func (m *Manager) DropAnswers(ctx context.Context) error {
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	return m.dropAnswers(ctx, u.Barrier, slots...)
}

// dropAnswers removes kept answers and, with the barrier's, the replaced unseal share set, in one
// commit. The caller holds the lock.
func (m *Manager) dropAnswers(ctx context.Context, b *barrier.Barrier, purposes ...recovery.Purpose) error {
	tx, some, previous := b.Begin(), false, false
	for _, p := range purposes {
		previous = previous || p == recovery.PurposeRekeyBarrier
		_, err := b.Get(ctx, answerPath(p))
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		tx.Delete(answerPath(p))
		some = true
	}
	previous = previous && m.Host.ShareState().Previous
	if !some && !previous {
		return nil
	}
	failpoint.Point("answer.wipe")
	if previous {
		return m.Keys.EndPrevious(ctx, tx)
	}
	return tx.Commit(ctx)
}
