package api

import (
	"context"
	"os"
	"strings"
	"time"
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

// haStatus lists the node that answers, which leads or is alone, and the standbys that it hears of.
func (h *handler) haStatus(context.Context, *request) (*answer, error) {
	if h.Node.Clustered() {
		return h.clusterStatus()
	}
	name, err := os.Hostname()
	if err != nil {
		h.Log.Warn("this machine has no name for sys/ha-status", "error", err)
	}
	version, _, _ := strings.Cut(h.Version, "-")
	return shown(haStatusAnswer{[]haNode{{Hostname: name, Active: true, Version: version}}})
}

func (h *handler) clusterStatus() (*answer, error) {
	var a haStatusAnswer
	for _, m := range h.Node.Members() {
		version, _, _ := strings.Cut(m.Version, "-")
		n := haNode{Hostname: m.Hostname, APIAddress: m.APIAddr, ClusterAddress: m.ClusterAddr, Active: m.Active, Version: version}
		if !m.Active {
			echo := m.LastEcho.UTC().Format(time.RFC3339Nano)
			n.LastEcho = &echo
		}
		a.Nodes = append(a.Nodes, n)
	}
	return shown(a)
}
