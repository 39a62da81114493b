package api

import (
	"context"
	"os"
	"strings"
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

// haStatus lists the node that answers: it is alone.
func (h *handler) haStatus(context.Context, *request) (*answer, error) {
	name, err := os.Hostname()
	if err != nil {
		h.Log.Warn("this machine has no name for sys/ha-status", "error", err)
	}
	version, _, _ := strings.Cut(h.Version, "-")
	return shown(haStatusAnswer{[]haNode{{Hostname: name, Active: true, Version: version}}})
}
