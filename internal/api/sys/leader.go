package sys

import (
	"context"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
)

// stepDown does nothing on a node without a cluster.
func stepDown(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if h.Node.Clustered() {
		if err := h.Node.Cluster().StepDown(ctx); err != nil {
			return nil, err
		}
	}
	return api.Done()
}

// leaderAnswer leaves out what is not known.
type leaderAnswer struct {
	HAEnabled      bool   `json:"ha_enabled"`
	Self           bool   `json:"is_self,omitempty"`
	ActiveTime     string `json:"active_time,omitempty"`
	Address        string `json:"leader_address,omitempty"`
	ClusterAddress string `json:"leader_cluster_address,omitempty"`
}

// leader shows the leader. A sealed node of a cluster answers with the text that command lines
// match.
func leader(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if !h.Node.Clustered() {
		return api.Show(leaderAnswer{})
	}
	if h.Node.Health().Sealed {
		return nil, fault.New(fault.Sealed, api.TextSealed)
	}
	l, err := h.Node.Cluster().CurrentLeader(ctx)
	if err != nil {
		return nil, err
	}
	a := leaderAnswer{HAEnabled: true}
	if l != nil {
		a.Self, a.Address, a.ClusterAddress = l.Self, l.APIAddr, l.ClusterAddr
		if l.Self {
			a.ActiveTime = l.Since.UTC().Format(time.RFC3339Nano)
		}
	}
	return api.Show(a)
}
