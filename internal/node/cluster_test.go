package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/engine/kv"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/seals"
)

// testCluster is a cluster in one process: nodes on one hub.
type testCluster struct {
	*harness
	hub   *inmem.Hub
	nodes []*Node
	stops []func()
	made  int
}

// newTestCluster starts count nodes and initialises the first. custodians: under a Shamir seal,
// still sealed.
func newTestCluster(t *testing.T, count int, custodians bool) (*testCluster, *InitResult) {
	t.Helper()
	e := &testCluster{harness: newHarness(t), hub: inmem.NewHub()}
	for range count {
		e.add(custodians)
	}
	req := InitRequest{RecoveryShares: 3, RecoveryThreshold: 2}
	if custodians {
		req = InitRequest{SecretShares: 3, SecretThreshold: 2}
	}
	r, err := e.nodes[0].Init(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return e, r
}

func (e *testCluster) add(custodians bool) *Node { return e.addOn(e.hub.Open(), custodians) }

func (e *testCluster) addOn(store storage.Store, custodians bool) *Node {
	e.t.Helper()
	if custodians {
		return e.addWith(store, e.shamirSeals(), nil)
	}
	return e.addWith(store, e.autoSeals(), nil)
}

func (e *testCluster) addWith(store storage.Store, set, from *seals.Set) *Node {
	e.t.Helper()
	name := fmt.Sprintf("n%d", e.made)
	e.made++
	n, err := New(Config{
		Store: store, StorageType: "inmem", Seals: set, MigrateFrom: from, BreakGlass: e.glass,
		Engines: map[string]mount.Factory{"kv": kv.New}, Now: e.clock,
		Log:     slog.New(slog.NewTextHandler(e.t.Output(), nil)).With("node", name),
		Cluster: &ha.Member{ID: name, Hostname: name, ClusterAddr: "https://127.0.0.1:1"},
		Timing: Timing{
			Probe: time.Hour, RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond, Stagger: time.Millisecond,
			Pause: 2 * time.Second, // a loaded machine has time to elect another node
			Drain: time.Second, Maintain: 5 * time.Millisecond, Echo: time.Hour,
			Trial: time.Second,
		},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
		if err := store.Close(); err != nil {
			e.t.Error(err)
		}
	})
	e.t.Cleanup(stop)
	e.nodes, e.stops = append(e.nodes, n), append(e.stops, stop)
	return n
}

// leader waits for the one node that writes.
func (e *testCluster) leader() (*Node, *RoleState) {
	e.t.Helper()
	var n *Node
	var a *RoleState
	eventually(e.t, "a leader", func() bool {
		for _, n = range e.nodes {
			if a = n.role.Load(); a != nil && a.leadership != nil && a.Held() == nil {
				return true
			}
		}
		return false
	})
	return n, a
}

// settled waits until one node leads and the others follow it.
func (e *testCluster) settled() (*Node, *RoleState) {
	e.t.Helper()
	n, a := e.leader()
	for _, other := range e.nodes {
		if other == n {
			continue
		}
		if err := n.replica.Echo(other.replica.Self); err != nil { // the nodes of a test have no listener
			e.t.Fatal(err)
		}
		eventually(e.t, "standbys", func() bool {
			s := other.role.Load()
			l := other.replica.Leader()
			return s != nil && s.Standby() && s.Current(e.t.Context()) == nil && l != nil && l.ID == n.cfg.Cluster.ID
		})
	}
	return n, a
}

// standbys are all but the leader.
func (e *testCluster) standbys(leader *Node) []*Node {
	var out []*Node
	for _, n := range e.nodes {
		if n != leader {
			out = append(out, n)
		}
	}
	return out
}

func (e *testCluster) put(a *RoleState, key, value string) error {
	return a.barrier.Commit(e.t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, []byte(value))}})
}

// reads reports that a standby, by itself, sees what was acknowledged before.
func (e *testCluster) reads(n *Node, key, want string) {
	e.t.Helper()
	a := n.role.Load()
	if a == nil {
		e.t.Fatalf("%s has no role", n.cfg.Cluster.ID)
	}
	if err := a.Current(e.t.Context()); err != nil {
		e.t.Fatalf("%s: %v", n.cfg.Cluster.ID, err)
	}
	got, err := a.barrier.Get(e.t.Context(), key)
	if err != nil || string(got) != want {
		e.t.Errorf("%s reads %q, %v; want %q", n.cfg.Cluster.ID, got, err, want)
	}
}

// TestFirstWait: while a node leads, one that starts may wait for long; where none does, clients
// wait for it.
func TestFirstWait(t *testing.T) {
	t.Parallel()
	timing := Timing{Stagger: time.Second}
	var led, unled time.Duration
	for range 100 {
		led, unled = max(led, timing.firstWait(true, true)), max(unled, timing.firstWait(true, false))
	}
	if alone := timing.firstWait(false, false); alone != 0 || unled > 40*time.Millisecond || led <= 40*time.Millisecond {
		t.Errorf("waits of %s alone, %s without a leader, %s with one", alone, unled, led)
	}
	e, _ := newTestCluster(t, 2, false)
	if e.settled(); !e.nodes[0].replica.Led(t.Context()) || !e.nodes[1].replica.Led(t.Context()) {
		t.Error("a node leads, and another that starts would not know it")
	}
}

func TestElectionAndTakeOver(t *testing.T) {
	t.Parallel()
	e, _ := newTestCluster(t, 3, false)
	n, a := e.settled()
	if err := e.put(a, "x/1", "one"); err != nil {
		t.Fatal(err)
	}
	for _, s := range e.standbys(n) {
		e.reads(s, "x/1", "one")
		if err := e.put(s.role.Load(), "x/2", "two"); !errors.Is(err, ha.ErrStandby) {
			t.Errorf("a standby wrote: %v", err)
		}
		if h := s.Health(); h.Sealed || !h.Standby {
			t.Errorf("health of a standby: %+v", h)
		}
	}
	before := a.leadership.Epoch()
	e.hub.Depose()
	if err := e.put(a, "x/3", "late"); err == nil {
		t.Error("a deposed leader wrote")
	}
	if a.Held() == nil {
		t.Error("a deposed leader is sure of its lease")
	}
	_, b := e.settled()
	if b.leadership.Epoch() <= before {
		t.Errorf("epoch %d after %d", b.leadership.Epoch(), before)
	}
	if _, err := b.barrier.Get(t.Context(), "x/3"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("what the deposed leader wrote is there: %v", err)
	}
	if h := n.Health(); h.Sealed {
		t.Error("a deposed leader is sealed")
	}
}

func TestStepDown(t *testing.T) {
	t.Parallel()
	e, _ := newTestCluster(t, 2, false)
	n, a := e.settled()
	if err := e.put(a, "x/1", "one"); err != nil {
		t.Fatal(err)
	}
	counted := a.barrier.KeyStatus().Encryptions
	if err := n.replica.StepDown(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, b := e.settled()
	if m == n {
		t.Error("the node that stepped down was elected at once")
	}
	if got := b.barrier.KeyStatus().Encryptions; got < counted || got > counted+100 {
		t.Errorf("%d encryptions after an orderly change, %d before", got, counted)
	}
	if err := m.replica.StepDown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l, _ := e.settled(); l != n {
		t.Error("no node leads again")
	}
}

func TestCountsAreNeverBelowTheTruth(t *testing.T) {
	t.Parallel()
	e, _ := newTestCluster(t, 3, false)
	made := uint64(0)
	for range 10 {
		_, a := e.settled()
		for i := range 50 {
			if err := e.put(a, fmt.Sprintf("x/%d", i), "v"); err != nil {
				t.Fatal(err)
			}
			made++
		}
		if got := a.barrier.KeyStatus().Encryptions; got < made {
			t.Fatalf("%d encryptions are counted, %d were made", got, made)
		}
		e.hub.Depose()
	}
}

// TestFollow: what is acknowledged by the leader counts on a standby at once.
func TestFollow(t *testing.T) {
	t.Parallel()
	e, r := newTestCluster(t, 2, false)
	n, a := e.settled()
	s := e.standbys(n)[0]
	ctx := t.Context()
	current := func() *RoleState {
		t.Helper()
		sa := s.role.Load()
		if err := sa.Current(ctx); err != nil {
			t.Fatal(err)
		}
		return sa
	}
	if _, err := current().tokens.Identify(ctx, r.RootToken); err != nil {
		t.Fatal(err)
	}
	root, err := a.tokens.Identify(ctx, r.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		made, err := a.tokens.CreateToken(ctx, root, token.CreateRequest{Path: "auth/token/create", Policies: []string{"p"}})
		if err != nil {
			t.Fatal(err)
		}
		who, err := current().tokens.Identify(ctx, made.Text)
		if err != nil {
			t.Fatal(err)
		}
		need := token.Need{Path: "secret/a", Capability: policy.Read}
		if ok, err := current().tokens.Allows(ctx, who, need); ok || err != nil {
			t.Fatalf("allowed by no policy: %v, %v", ok, err)
		}
		if err := a.tokens.WritePolicy(ctx,
			token.PolicyWrite{Name: "p", Text: `path "secret/*" { capabilities = ["read"] }`}); err != nil {
			t.Fatal(err)
		}
		if ok, err := current().tokens.Allows(ctx, who, need); !ok || err != nil {
			t.Fatalf("a new policy does not count: %v, %v", ok, err)
		}
		if err := a.tokens.DeletePolicy(ctx, "p"); err != nil {
			t.Fatal(err)
		}
		if ok, err := current().tokens.Allows(ctx, who, need); ok || err != nil {
			t.Fatalf("a deleted policy counts: %v, %v", ok, err)
		}
		if err := a.tokens.Revoke(ctx, made.Text); err != nil {
			t.Fatal(err)
		}
		if _, err := current().tokens.Identify(ctx, made.Text); err == nil {
			t.Fatal("a revoked token counts")
		}
	}
	if err := a.mounts.Mount(ctx, mount.Entry{Path: "team/", Type: "kv"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := current().mounts.Get("team/"); !ok {
		t.Error("a mount is not followed")
	}
	if err := n.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	if got := current().barrier.KeyStatus().Term; got != 2 {
		t.Errorf("term %d after a rotation", got)
	}
	if err := n.RotateRoot(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new root key", func() bool {
		sa := s.role.Load()
		return sa != nil && sa.Current(ctx) == nil && sa.barrier.RootGeneration() == 2
	})
	if err := e.put(a, "x/9", "nine"); err != nil {
		t.Fatal(err)
	}
	e.reads(s, "x/9", "nine")
}

// TestShamir: under a Shamir seal every node needs shares once; then it follows even a rekey,
// without any.
func TestShamir(t *testing.T) {
	t.Parallel()
	e, r := newTestCluster(t, 3, true)
	for _, n := range e.nodes {
		eventually(t, "the initialisation", func() bool { ok, err := n.Initialized(t.Context()); return ok && err == nil })
		for _, share := range r.Keys[:2] {
			if err := n.Unseal(t.Context(), share.Clone(), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	n, a := e.settled()
	for generation := uint64(2); generation < 5; generation++ {
		if err := n.RotateRoot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range e.standbys(n) {
			eventually(t, "the new root key on a standby", func() bool {
				sa := s.role.Load()
				return sa != nil && sa.Current(t.Context()) == nil && sa.barrier.RootGeneration() == generation
			})
		}
	}
	if err := e.put(a, "x/1", "one"); err != nil {
		t.Fatal(err)
	}
	e.hub.Depose()
	_, b := e.settled()
	if got, err := b.barrier.Get(t.Context(), "x/1"); err != nil || string(got) != "one" {
		t.Errorf("%q, %v", got, err)
	}
	e.wait(time.Hour)
	eventually(t, "the end of the hand-over", func() bool {
		names, err := e.hub.Open().List(t.Context(), "core/root-handover/", "", 0)
		return err == nil && len(names) == 0
	})
}

// TestRotationsUnderDeposition: terms are consecutive, and every node reads everything.
func TestRotationsUnderDeposition(t *testing.T) {
	t.Parallel()
	e, _ := newTestCluster(t, 3, false)
	const rotations = 100
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(1+i%7) * time.Millisecond):
				e.hub.Depose()
			}
		}
	})
	values := map[string]string{}
	for i := 0; i < rotations; {
		n, a := e.leader()
		if err := n.Rotate(t.Context()); err != nil {
			continue
		}
		i++
		key := fmt.Sprintf("x/%d", i)
		if err := e.put(a, key, key); err == nil {
			values[key] = key
		}
	}
	close(done)
	wg.Wait()
	n, a := e.settled()
	term := a.barrier.KeyStatus().Term
	if term < rotations+1 {
		t.Errorf("term %d after %d rotations that were acknowledged", term, rotations)
	}
	for _, s := range e.standbys(n) {
		for key, want := range values {
			e.reads(s, key, want)
		}
		if got := s.role.Load().barrier.KeyStatus().Term; got != term {
			t.Errorf("%s knows term %d, not %d", s.cfg.Cluster.ID, got, term)
		}
	}
	t.Logf("%d terms, %d values", term, len(values))
}

func TestAClusterNeedsASharedStore(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	_, err := New(Config{Store: struct{ storage.Store }{h.store}, Seals: h.autoSeals(), Cluster: &ha.Member{}})
	if err == nil || !strings.Contains(err.Error(), "share") {
		t.Error(err)
	}
}
