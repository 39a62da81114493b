package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// HolderList is who holds the shares, as far as the server knows; never a value.
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

// Proof is what a holder learns whose share is good.
type Proof struct {
	Target     string
	Generation uint64
	Number     int
	Name       string
}

var errNoShares = fault.New(fault.Invalid, "nobody holds shares of this server: it was initialised without recovery shares")

// provenPath holds the custody with the times of proof. The custody itself is never rewritten for a proof: under a Shamir seal its bytes
// stand in the sealed record too.
func provenPath(t recovery.Target) string { return pathProven + t.String() }

// proven reads the custody with its times of proof.
func (n *Node) proven(ctx context.Context, b *barrier.Barrier) (*recovery.ShareSet, error) {
	shareSet := n.state.Load().shareSet
	if shareSet == nil {
		return nil, errNoShares
	}
	raw, err := b.Get(ctx, provenPath(shareSet.Target))
	if errors.Is(err, storage.ErrNotFound) {
		return recovery.UnmarshalShareSet(shareSet.Marshal()) // a copy, to be changed
	}
	if err != nil {
		return nil, storeFault(err, "the holders could not be read")
	}
	c, err := recovery.UnmarshalShareSet(raw)
	if err != nil {
		return nil, fmt.Errorf("node: entry %s: %w", provenPath(shareSet.Target), err)
	}
	if c.ID != shareSet.ID {
		return recovery.UnmarshalShareSet(shareSet.Marshal()) // what is stored is of a generation before
	}
	return c, nil
}

// noteProven adds to a transaction that the holder of a share has shown it.
func (n *Node) noteProven(ctx context.Context, b *barrier.Barrier, tx *barrier.Tx, number int) error {
	c, err := n.proven(ctx, b)
	if err != nil {
		return err
	}
	c.Prove(number, n.cfg.Now())
	tx.Put(provenPath(c.Target), c.Marshal())
	return nil
}

// Holders lists the shares.
func (n *Node) Holders(ctx context.Context) (*HolderList, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	c, err := n.proven(ctx, a.barrier)
	if err != nil {
		return nil, err
	}
	out := &HolderList{Target: c.Target.String(), Generation: c.Generation, Shares: c.Shares, Threshold: c.Threshold, Created: c.Created}
	for i, h := range c.Holders {
		out.Holders = append(out.Holders, HolderInfo{Number: i + 1, Name: h.Name, LastProven: h.Proven})
	}
	return out, nil
}

// Prove tells a holder whether a share is good, and notes that it was shown. It authorises nothing.
func (n *Node) Prove(ctx context.Context, share *secret.Bytes) (*Proof, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	shareSet := n.state.Load().shareSet
	if shareSet == nil {
		return nil, errNoShares
	}
	number, err := shareSet.Identify(share)
	if err != nil {
		return nil, giveFault(err)
	}
	tell(ctx, shareSet, number)
	n.transition.Lock()
	defer n.transition.Unlock()
	tx := a.barrier.Begin()
	if err := n.noteProven(ctx, a.barrier, tx, number); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, storeFault(err, "the share is good, but that could not be recorded")
	}
	n.log.Info("share proven", "target", shareSet.Target.String(), "share", number)
	return &Proof{Target: shareSet.Target.String(), Generation: shareSet.Generation, Number: number, Name: shareSet.HolderName(number)}, nil
}
