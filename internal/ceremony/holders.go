package ceremony

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// HolderList is who holds the shares, as far as the server knows. It contains no share.
type HolderList struct {
	Target            string
	Generation        uint64
	Shares, Threshold int
	Created           time.Time
	Holders           []HolderInfo
}

// HolderInfo is one share.
type HolderInfo struct {
	Number     int
	Name       string    // "" where shares have no names
	LastProven time.Time // zero: not since it was made
}

// Proof is the result of proving a share.
type Proof struct {
	Target     string
	Generation uint64
	Number     int
	Name       string
}

// proven reads the share set with the times at which its shares were proven. They are a record of
// their own: under a Shamir seal the bytes of the share set are in the sealed record too, and
// proving a share must not change them.
func (m *Manager) proven(ctx context.Context, b *barrier.Barrier) (*recovery.ShareSet, error) {
	shareSet := m.shareSet()
	if shareSet == nil {
		return nil, ErrNoShares
	}
	raw, err := b.Get(ctx, provenPath(shareSet.Target))
	if errors.Is(err, storage.ErrNotFound) {
		return recovery.UnmarshalShareSet(shareSet.Marshal()) // a copy that may be changed
	}
	if err != nil {
		return nil, barrier.Fault(err, "the holders could not be read")
	}
	c, err := recovery.UnmarshalShareSet(raw)
	if err != nil {
		return nil, fmt.Errorf("ceremony: entry %s: %w", provenPath(shareSet.Target), err)
	}
	if c.ID != shareSet.ID { // of an earlier share set
		return recovery.UnmarshalShareSet(shareSet.Marshal())
	}
	return c, nil
}

// markProven adds to a transaction that the holder of a share has shown it.
func (m *Manager) markProven(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, number int) error {
	c, err := m.proven(ctx, b)
	if err != nil {
		return err
	}
	c.Prove(number, m.Now())
	tx.Put(provenPath(c.Target), c.Marshal())
	return nil
}

// Holders lists the shares.
func (m *Manager) Holders(ctx context.Context) (*HolderList, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return nil, err
	}
	c, err := m.proven(ctx, u.Barrier)
	if err != nil {
		return nil, err
	}
	out := &HolderList{
		Target: c.Target.String(), Generation: c.Generation,
		Shares: c.Shares, Threshold: c.Threshold, Created: c.Created,
	}
	for i, h := range c.Holders {
		out.Holders = append(out.Holders, HolderInfo{Number: i + 1, Name: h.Name, LastProven: h.Proven})
	}
	return out, nil
}

// Prove reports whether a share is valid, and records that it was shown. It authorises nothing.
func (m *Manager) Prove(ctx context.Context, share *secret.Bytes) (*Proof, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return nil, err
	}
	shareSet := m.shareSet()
	if shareSet == nil {
		return nil, ErrNoShares
	}
	number, err := shareSet.Identify(share)
	if err != nil {
		return nil, ShareFault(err)
	}
	Attribute(ctx, shareSet, number)
	m.Lock.Lock()
	defer m.Lock.Unlock()
	tx := u.Barrier.Begin()
	if err := m.markProven(ctx, u.Barrier, tx, number); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, barrier.Fault(err, "the share is valid, but that could not be recorded")
	}
	target := shareSet.Target.String()
	m.Log.Info("share proven", "target", target, "share", number)
	return &Proof{
		Target: target, Generation: shareSet.Generation, Number: number, Name: shareSet.HolderName(number),
	}, nil
}
