package cli

import "testing"

func TestMembers(t *testing.T) {
	const nodes = `{"nodes":[{"hostname":"node-a","api_address":"https://10.0.0.1:8200","cluster_address":"https://10.0.0.1:8201","active_node":true,` +
		`"last_echo":null,"version":"1.2.3"},{"hostname":"node-b","api_address":"https://10.0.0.2:8200","cluster_address":"https://10.0.0.2:8201",` +
		`"active_node":false,"last_echo":"2026-01-02T03:04:05.678Z","version":"1.2.3"}]}`
	get := func(a answer) map[string][]answer { return map[string][]answer{"GET sys/ha-status": {a}} }
	runAll(t, []run{
		{name: "members", args: []string{"operator", "members"}, answers: get(ok(inData(nodes)))},
		{name: "members-json", args: []string{"operator", "members", "-format=json"}, answers: get(ok(inData(nodes)))},
		{name: "members-denied", args: []string{"operator", "members"}, want: 2,
			answers: get(refusal(403, "permission denied"))},
		{name: "members-arguments", args: []string{"operator", "members", "x"}, want: 1},
	})
}
