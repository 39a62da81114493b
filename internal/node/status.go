package node

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// SealStatus is the state of the node and of its seals. Causes, labels and key ids in it are not
// for every client: internal/api/sys removes them.
type SealStatus struct {
	Type                        string
	Initialized, Sealed         bool
	Threshold, Shares, Progress int
	Nonce                       string
	RecoverySeal, Migration     bool
	ClusterName, ClusterID      string // "" while sealed
	StorageType                 string
	Seals                       []seals.Status
	// every seal holds its part by the newest version of its key, under the configured policy
	FullyWrapped bool
	PolicyDrift  bool // the stored policy is not the configured one
	Warnings     []string
	Upstreams    []string // ids of the clusters without which the seals cannot unseal this one
	// why calls of the storage fail; nil while they succeed
	StorageFailure *storage.Failure
}

// SealStatus returns the state of the node and of its seals. It waits for no seal and for no
// operation, and reads the storage only until a sealed root key was found there.
func (n *Node) SealStatus(ctx context.Context) (SealStatus, error) {
	initialized, err := n.Initialized(ctx)
	f := n.state.Load()
	failure := StorageFailure(n)
	switch {
	case err == nil || f.known:
	case failure == nil:
		return SealStatus{}, err
	default: // not known yet; see Health
		initialized = true
	}
	st := SealStatus{
		Type:         n.seals.Load().Type(),
		Migration:    n.migration.pending(),
		Initialized:  initialized,
		Sealed:       n.sealed(),
		RecoverySeal: !n.seals.Load().NeedsShares(),
		StorageType:  n.cfg.StorageType,
		Seals:        n.seals.Load().StatusOf(f.record),

		StorageFailure: failure,
	}
	switch {
	case st.RecoverySeal && (f.record == nil || len(f.record.ShareSet) == 0):
		st.Threshold, st.Shares = f.shareCounts.threshold, f.shareCounts.shares
	case f.shareSet != nil:
		st.Threshold, st.Shares = f.shareSet.Threshold, f.shareSet.Shares
	}
	if st.Migration {
		st.Type = n.migration.to.Load().Type()
	}
	if !st.Sealed {
		st.ClusterName, st.ClusterID = f.clusterName, f.record.Cluster
	} else if u := n.unsealing.Load(); u != nil {
		st.Progress, st.Nonce = u.progress()
	}
	for i := range st.Seals {
		st.Seals[i].Remedy = cmp.Or(n.lost(st.Seals[i]), st.Seals[i].Remedy)
	}
	st.FullyWrapped = n.seals.Load().FullyWrapped(f.record)
	drift, _ := n.seals.Load().PolicyDrift(f.record)
	st.PolicyDrift = drift != ""
	st.Upstreams = n.seals.Load().Upstreams(f.record)
	st.Warnings = statusWarnings(n, f, &st)
	return st, nil
}

// StatusVersion identifies what [Node.SealStatus] and [Node.Health] return: while it is the same,
// so are they. It consists of everything that they are made of, as immutable values by reference,
// or as a count of changes.
type StatusVersion struct {
	state                     *nodeState
	seals, migration          *seals.Set
	sealChanges               uint64
	sealed, writer, migrating bool
	unsealing                 *unsealProgress
	progress                  int
	nonce                     string
	tampered, lost            *error
	failure                   *storage.Failure
	unsealedByShares          bool
	snapshots                 string // the warnings of the schedules
}

// StatusVersionOf returns the version of a node's status; false where a status must not be kept:
// the storage has to be asked, or a role fails.
func StatusVersionOf(n *Node) (v StatusVersion, ok bool) {
	v = StatusVersion{
		state: n.state.Load(), seals: n.seals.Load(), sealed: n.sealed(), writer: n.writer() != nil,
		migrating: n.migration.pending(), tampered: n.tampered.Load(), failure: StorageFailure(n),
		lost: n.commits.lost.Load(), unsealedByShares: n.unsealedByShares(),
		snapshots: strings.Join(n.snapshots.warnings(), "\n"),
	}
	v.sealChanges = v.seals.Changes()
	if v.migrating {
		v.migration = n.migration.to.Load()
	}
	if v.unsealing = n.unsealing.Load(); v.sealed && v.unsealing != nil {
		v.progress, v.nonce = v.unsealing.progress()
	}
	return v, v.state.record != nil && n.replica.Degraded() == nil
}

// Health is the state for load balancers, from memory alone.
type Health struct {
	Initialized, Sealed, Standby bool
	Clustered                    bool
	KeyDeletion                  time.Time // when the first of the seals' keys will be destroyed; zero: none is known
	WouldUnseal                  bool      // the seals unwrapped the stored root key when last asked
	ClusterName, ClusterID       string
	StorageFailure               storage.Class // why calls of the storage fail; "" while they succeed
	StorageSlow                  bool          // commits take long: see storage.Pace
	LostCommits                  bool          // the storage lost commits that it had acknowledged
	FailingSnapshot              string        // a schedule whose last snapshot failed; "": none
}

// StorageFailure returns why calls of the node's storage fail at the moment; nil while they
// succeed, and for a storage that does not report it.
func StorageFailure(n *Node) *storage.Failure {
	if r, ok := n.cfg.Store.(storage.Reporter); ok {
		return r.Failing()
	}
	return nil
}

// Health answers at once, whatever the storage and the seals do.
func (n *Node) Health() Health {
	f := n.state.Load()
	h := Health{
		Initialized: f.record != nil || !f.known, Sealed: n.sealed(), Clustered: n.Clustered(),
		KeyDeletion: n.seals.Load().FirstDeletion(), WouldUnseal: n.seals.Load().WouldUnseal(),
	}
	h.Standby = h.Sealed || n.writer() == nil
	if f := StorageFailure(n); f != nil {
		h.StorageFailure = f.Class
	}
	if p, ok := n.cfg.Store.(storage.Paced); ok {
		_, h.StorageSlow = p.Slow()
	}
	h.FailingSnapshot, _ = n.snapshots.failing()
	h.LostCommits = n.commits.lost.Load() != nil
	if !h.Sealed {
		h.ClusterName, h.ClusterID = f.clusterName, f.record.Cluster
	}
	return h
}
