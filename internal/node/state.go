package node

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// Keys of the records outside the barrier, which are needed before it is open.
const (
	keySealed      = "core/seal"           // the sealed root key: seals.Record
	keyShareCounts = "core/recovery-shape" // display only: see shareCounts
	keyBreakGlass  = "core/break-glass"    // the root key for the quorum: recovery.BreakGlass
)

// Storage keys of the sealed root key and of the break-glass record.
const (
	SealedRecordKey = keySealed
	BreakGlassKey   = keyBreakGlass
)

// Paths of this package's entries behind the barrier.
const (
	pathCluster  = "core/cluster"
	pathShareSet = "core/custody/" // + target
)

// nodeState is what a node knows of itself while it may be sealed. It is immutable once published.
type nodeState struct {
	known        bool               // storage was read at least once
	record       *seals.Record      // nil while uninitialised
	recordDigest string             // of the record's stored bytes: see attestation
	shareCounts  shareCounts        // of recovery shares, for display
	shareSet     *recovery.ShareSet // unseal shares; once unsealed under other seals, the recovery shares
	previous     *recovery.ShareSet // the share set before, while its shares still unseal: see seals.Previous
	breakGlass   bool               // the holders of the recovery shares are enrolled; known once unsealed
	glass        *glassRecord       // as stored outside the barrier, nil: none; believed once it opens
	clusterName  string             // known once unsealed
	trouble      error              // why the node is not unsealed, other than by an operator's wish
}

// change publishes a new state made from the old one. The caller holds transition.
func (n *Node) change(f func(*nodeState)) {
	next := *n.state.Load()
	f(&next)
	next.breakGlass = next.breakGlass && (next.record == nil || len(next.record.ShareSet) == 0) // else they unseal
	n.state.Store(&next)
	n.migration.follow(next.record)
	if n.seals.Load().Follow(next.record) {
		n.keeper.check() // the seals that hold a part now are proven at once
	}
}

// load reads the records outside the barrier. The caller holds transition.
func (n *Node) load(ctx context.Context) error {
	record, digest, err := readRecord(ctx, n.cfg.Store)
	if err != nil {
		return err
	}
	counts, err := readShareCounts(ctx, n.cfg.Store)
	if err != nil {
		return err
	}
	glass, err := readGlass(ctx, n.cfg.Store)
	if err != nil {
		return err
	}
	custodians, previous, err := readUnsealShareSets(record)
	if err != nil {
		return err
	}
	n.change(func(f *nodeState) {
		f.known, f.record, f.recordDigest, f.shareCounts, f.previous = true, record, digest, counts, previous
		f.glass = glass
		if custodians != nil {
			f.shareSet = custodians
		}
	})
	return nil
}

// readUnsealShareSets returns the share sets in a sealed record: the one that unseals, and the one
// before it as long as its shares unseal too.
func readUnsealShareSets(r *seals.Record) (custodians, previous *recovery.ShareSet, err error) {
	if r == nil || len(r.ShareSet) == 0 {
		return nil, nil, nil
	}
	custodians, err = recovery.UnmarshalShareSet(r.ShareSet)
	if err == nil && r.Previous != nil {
		previous, err = recovery.UnmarshalShareSet(r.Previous.ShareSet)
	}
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal,
			"the record of who holds the unseal shares cannot be read; restore %s from a backup", keySealed)
	}
	return custodians, previous, nil
}

func readRecord(ctx context.Context, s storage.Store) (r *seals.Record, digest string, err error) {
	raw, err := s.Get(ctx, keySealed)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", storageFault(err, "the storage cannot be read")
	}
	r, err = seals.UnmarshalRecord(raw)
	if err != nil {
		return nil, "", fault.Wrap(err, fault.Internal,
			"the sealed root key (storage entry %s) cannot be read: %v; restore it from a backup", keySealed, err)
	}
	return r, attestDigest(keySealed, raw), nil
}

// setRecord replaces the sealed record by one whose bytes were stored.
func (f *nodeState) setRecord(r *seals.Record, raw []byte) {
	f.record, f.recordDigest = r, attestDigest(keySealed, raw)
}

// StoredRecord reads the sealed root key with the Get of a store, without a node; nil where the
// store is not initialised.
func StoredRecord(ctx context.Context, get func(context.Context, string) ([]byte, error)) (*seals.Record, error) {
	raw, err := get(ctx, keySealed)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return seals.UnmarshalRecord(raw)
}

// StoredBreakGlass reads how many of how many recovery shares open the root key when every seal is
// lost, with the Get of a store; both are 0 where none do. It does not prove it.
func StoredBreakGlass(ctx context.Context, get func(context.Context, string) ([]byte, error)) (threshold, shares int,
	err error) {
	raw, err := get(ctx, keyBreakGlass)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	_, of, err := recovery.UnmarshalBreakGlass(raw)
	if err != nil {
		return 0, 0, err
	}
	return of.Threshold, of.Shares, nil
}
