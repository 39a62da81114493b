package node

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// SealStatus is what anybody may know of the node.
type SealStatus struct {
	Type                        string
	Initialized, Sealed         bool
	Threshold, Shares, Progress int
	Nonce                       string
	RecoverySeal, Migration     bool
	ClusterName, ClusterID      string // "" while sealed
	StorageType                 string
	Seals                       []seals.Status
	FullyWrapped                bool // every seal holds its part, by the newest version of its key
	Warnings                    []string
}

// SealStatus tells the state of the node and of its seals. It waits for no seal and for no operation that is under way, and
// reads storage only while no sealed root key was ever seen there.
func (n *Node) SealStatus(ctx context.Context) (SealStatus, error) {
	initialized, err := n.Initialized(ctx)
	f := n.state.Load()
	if err != nil && !f.known {
		return SealStatus{}, err
	}
	st := SealStatus{
		Type:         n.seals.Load().Type(),
		Initialized:  initialized,
		Sealed:       n.sealed(),
		RecoverySeal: !n.seals.Load().NeedsShares(),
		StorageType:  n.cfg.StorageType,
		Seals:        n.seals.Load().StatusOf(f.record),
	}
	switch {
	case st.RecoverySeal:
		st.Threshold, st.Shares = f.shareCounts.threshold, f.shareCounts.shares
	case f.shareSet != nil:
		st.Threshold, st.Shares = f.shareSet.Threshold, f.shareSet.Shares
	}
	if st.Sealed {
		if u := n.unsealing.Load(); u != nil {
			st.Progress, st.Nonce = u.progress()
		}
		if f.trouble != nil {
			class, cause, remedy := diagnosis(f.trouble)
			st.Warnings = append(st.Warnings, "not unsealed: "+string(class)+": "+cause+"; "+remedy)
		}
	} else {
		st.ClusterName, st.ClusterID = f.clusterName, f.record.Cluster
		if err := n.Degraded(); err != nil {
			class, cause, remedy := diagnosis(err)
			st.Warnings = append(st.Warnings, "this node does not do its part in the cluster: "+string(class)+": "+cause+"; "+remedy)
		}
	}
	st.FullyWrapped = n.seals.Load().FullyWrapped(f.record)
	for _, s := range st.Seals {
		if s.Deletion != nil {
			st.Warnings = append(st.Warnings, deletionText(s))
		}
	}
	return st, nil
}

// Health is the little that load balancers ask for, from memory alone.
type Health struct {
	Initialized, Sealed, Standby bool
	Clustered                    bool
	KeyDeletion                  time.Time // when the first of the seals' keys will be destroyed; zero: none that is known
	WouldUnseal                  bool      // the seals gave the stored root key back when last asked
	ClusterName, ClusterID       string
}

// Health answers at once, whatever storage and seals do.
func (n *Node) Health() Health {
	f := n.state.Load()
	h := Health{Initialized: f.record != nil || !f.known, Sealed: n.sealed(), WouldUnseal: n.seals.Load().WouldUnseal()}
	h.Clustered = n.Clustered()
	h.Standby, h.KeyDeletion = h.Sealed || n.writer() == nil, n.seals.Load().FirstDeletion()
	if !h.Sealed {
		h.ClusterName, h.ClusterID = f.clusterName, f.record.Cluster
	}
	return h
}
