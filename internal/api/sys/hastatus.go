package sys

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/api"
)

type haStatusAnswer struct {
	Nodes []haNode `json:"nodes"`
}

// haNode is one node of a cluster. last_echo is null on the active one.
type haNode struct {
	Hostname       string  `json:"hostname"`
	APIAddress     string  `json:"api_address"`
	ClusterAddress string  `json:"cluster_address"`
	Active         bool    `json:"active_node"`
	LastEcho       *string `json:"last_echo"`
	Version        string  `json:"version"` // without what follows a "-"
}

// haStatus lists this node, which leads or is alone, and the standbys that announce themselves.
func haStatus(_ context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	if h.Node.Clustered() {
		return clusterStatus(h)
	}
	name, err := os.Hostname()
	if err != nil {
		h.Log.Warn("this machine has no name for sys/ha-status", "error", err)
	}
	version, _, _ := strings.Cut(h.Version, "-")
	return api.Show(haStatusAnswer{[]haNode{{Hostname: name, Active: true, Version: version}}})
}

func clusterStatus(h *api.Handler) (*api.Answer, error) {
	var a haStatusAnswer
	for _, m := range h.Node.Cluster().Members() {
		version, _, _ := strings.Cut(m.Version, "-")
		n := haNode{Hostname: m.Hostname, APIAddress: m.APIAddr, ClusterAddress: m.ClusterAddr,
			Active: m.Active, Version: version}
		if !m.Active {
			echo := m.LastEcho.UTC().Format(time.RFC3339Nano)
			n.LastEcho = &echo
		}
		a.Nodes = append(a.Nodes, n)
	}
	return api.Show(a)
}
