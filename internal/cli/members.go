package cli

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/openbao/openbao/api/v2"
)

// member is a node of the cluster in sys/ha-status.
type member struct {
	Hostname       string  `json:"hostname"`
	APIAddress     string  `json:"api_address"`
	ClusterAddress string  `json:"cluster_address"`
	Active         bool    `json:"active_node"`
	LastEcho       *string `json:"last_echo"`
	Version        string  `json:"version"`
	UpgradeVersion string  `json:"upgrade_version,omitempty"`
}

func membersCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "operator members", synopsis: "List the nodes of a cluster",
		about: `Lists the active node and the standbys that it recently heard from, with their addresses and the last echo
of each.`,
		run: func([]string) int { return b.withClient(b.members) }}
}

func (b *base) members(client *api.Client) int {
	var data struct{ Nodes []member }
	if err := callData(context.Background(), client, http.MethodGet, "sys/ha-status", nil, &data); err != nil {
		return b.fail("reading the cluster's nodes", err)
	}
	if b.format() != "table" {
		return b.encode(data)
	}
	rows := [][]string{}
	for _, m := range data.Nodes {
		echo := "n/a"
		if m.LastEcho != nil {
			echo = *m.LastEcho
		}
		rows = append(rows, []string{
			m.Hostname, m.APIAddress, m.ClusterAddress, strconv.FormatBool(m.Active), m.Version,
			cmp.Or(m.UpgradeVersion, m.Version), echo,
		})
	}
	b.printf("%s", table([]string{"Host Name", "API Address", "Cluster Address", "Active Node", "Version",
		"Upgrade Version", "Last Echo"}, rows))
	return exitOK
}
