package node

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/anchor"
	"github.com/sealgate/sealgate/internal/engine/kv"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/recovery"
)

// anchored runs a node with an anchor on a store.
func (h *harness) anchored(store storage.Store, file anchor.File, change func(*Config)) (n *Node, stop func()) {
	h.t.Helper()
	cfg := Config{
		Store: store, StorageType: "inmem", Seals: h.autoSeals(), Engines: map[string]mount.Factory{"kv": kv.New},
		Now: h.clock, Anchor: file, Timing: Timing{RetryMin: time.Millisecond, RetryMax: 4 * time.Millisecond},
	}
	if change != nil {
		change(&cfg)
	}
	n, err := New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(stop)
	return n, stop
}

// copyStore returns a copy of all entries: a backup that an attacker kept.
func copyStore(t *testing.T, from storage.Store) *inmem.Store {
	t.Helper()
	to := inmem.New()
	t.Cleanup(func() { _ = to.Close() })
	err := from.(storage.Snapshotter).Snapshot(t.Context(), func(key string, value []byte) error {
		return to.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, value)}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func refusal(n *Node) string {
	if err := n.state.Load().trouble; err != nil {
		return err.Error()
	}
	return ""
}

// TestAnchor: a copy of the whole storage from before brings nothing back, and neither does another
// cluster's storage under the same seal; the deliberate way past it works once it names the
// storage.
func TestAnchor(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	file := anchor.File(filepath.Join(t.TempDir(), "anchor"))
	n, stop := h.anchored(h.store, file, nil)
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 3, RecoveryThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	old := copyStore(t, h.store)
	h.write(n, "k", "v")
	stop()
	n, stop = h.anchored(h.store, file, nil)
	eventually(t, "its own storage opens again", isActive(n))
	h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, res.RecoveryKeys[:2])
	cluster := n.state.Load().record.Cluster
	stop()

	n2, stop := h.anchored(old, file, nil)
	eventually(t, "refused", func() bool { return strings.Contains(refusal(n2), "rolled back") })
	if isActive(n2)() || !strings.Contains(refusal(n2), "-accept-rollback="+cluster+":1") {
		t.Errorf("on an old copy: %s", refusal(n2))
	}
	stop()

	other := inmem.New()
	t.Cleanup(func() { _ = other.Close() })
	n3, stop := h.anchored(other, "", func(c *Config) { c.Anchor = nil })
	if _, err := n3.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	stop()
	n4, stop := h.anchored(other, file, nil)
	eventually(t, "refused", func() bool { return strings.Contains(refusal(n4), "and the anchor of "+cluster) })
	stop()
	n5, stop := h.anchored(other, "", func(c *Config) { c.Anchor, c.ClusterID = nil, cluster })
	eventually(t, "refused", func() bool { return strings.Contains(refusal(n5), "cluster_id in the configuration") })
	stop()

	wrong, stop := h.anchored(old, file, func(c *Config) { c.AcceptRollback = cluster + ":2" })
	eventually(t, "refused", func() bool { return strings.Contains(refusal(wrong), "rolled back") })
	stop()
	n6, stop := h.anchored(old, file, func(c *Config) { c.AcceptRollback = cluster + ":1" })
	eventually(t, "accepted", isActive(n6))
	stop()
	n7, _ := h.anchored(old, file, nil)
	eventually(t, "the anchor follows what was accepted", isActive(n7))
}

// TestAnchorIsAuthenticated: a changed file is refused, and not taken for a new one.
func TestAnchorIsAuthenticated(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	file := anchor.File(filepath.Join(t.TempDir(), "anchor"))
	n, stop := h.anchored(h.store, file, nil)
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	stop()
	s, err := file.Load()
	if err != nil || s == nil || s.Generation != 1 || s.Revision == 0 || s.Sequence == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	s.Sequence--
	if err := file.Save(s); err != nil {
		t.Fatal(err)
	}
	n2, _ := h.anchored(h.store, file, nil)
	eventually(t, "refused", func() bool { return strings.Contains(refusal(n2), "authentication code is wrong") })
}
