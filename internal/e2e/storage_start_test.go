package e2e

import (
	"strings"
	"testing"
)

// TestStartWithoutItsStorage: a node whose etcd is unavailable starts, says why it is sealed, and
// unseals when etcd is back.
func TestStartWithoutItsStorage(t *testing.T) {
	t.Parallel()
	f, ways := etcdCluster(t, 1)
	f.Begin()
	node := f.Nodes[0]
	if err := node.Stop(); err != nil {
		t.Fatal(err)
	}
	ways[0].Down()
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if err := node.UntilUp(); err != nil {
		t.Fatalf("%v\n%s", err, node.Log())
	}
	if h, code, err := node.Health(t.Context()); err != nil || code == 200 || !h.Sealed {
		t.Errorf("health without etcd: %d %+v, %v", code, h, err)
	}
	if !strings.Contains(node.Log(), "the server starts sealed and waits for it") ||
		!strings.Contains(node.Log(), "connection refused") {
		t.Errorf("the log does not name the cause:\n%s", node.Log())
	}
	ways[0].Up(t)
	err := node.Until(patience, "unsealed", func(h Health, _ int) bool { return !h.Sealed })
	if err != nil {
		t.Errorf("%v\n%s", err, node.Log())
	}
}
