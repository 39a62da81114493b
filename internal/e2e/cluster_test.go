package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// etcdCluster is a cluster on one etcd, to which each node has a way of its own.
func etcdCluster(t *testing.T, count int) (*testCluster, []*etcdtest.Proxy) {
	c := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	var ways []*etcdtest.Proxy
	for range count {
		ways = append(ways, etcdtest.NewProxy(t, c.Direct[0]))
	}
	return newTestCluster(t, func(i int) string { return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n}\n", ways[i].Endpoint) }, count), ways
}

func TestClusterOnEtcd(t *testing.T) {
	f, ways := etcdCluster(t, 3)
	f.begin()
	f.lives(t)
	t.Run("partitioned from the storage", func(t *testing.T) {
		f.testPartition(t, func(i int) (stall, flow func()) { return ways[i].Stall, ways[i].Flow })
	})
}

func TestClusterOnPostgres(t *testing.T) {
	s := pgtest.Start(t)
	database := s.Database(t)
	var ways []*pgtest.Proxy
	for range 3 {
		ways = append(ways, pgtest.NewProxy(t, s.Addr()))
	}
	f := newTestCluster(t, func(i int) string {
		return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\n", strings.Replace(database, s.Addr(), ways[i].Addr(), 1))
	}, 3)
	f.begin()
	f.lives(t)
	t.Run("partitioned from the storage", func(t *testing.T) {
		f.testPartition(t, func(i int) (stall, flow func()) { return ways[i].Stall, ways[i].Resume })
	})
}

// lives is what a cluster does on whichever storage.
func (f *testCluster) lives(t *testing.T) {
	t.Run("writes everywhere, reads everywhere", f.testEverywhere)
	t.Run("step-down", f.testStepDown)
	t.Run("kill -9", f.testKill)
	t.Run("ceremony", f.testCeremony)
	t.Run("stopped for a while", f.testPause)
	t.Run("rolling restart", f.testRollingRestart)
	t.Run("commands", f.testCommands)
}

func (f *testCluster) testEverywhere(t *testing.T) {
	ctx := t.Context()
	for i := range f.nodes {
		for n := range 10 {
			value := fmt.Sprintf("%d-%d", i, n)
			if !f.put(ctx, i, "shared", value) {
				t.Fatalf("node %d does not take a write", i)
			}
			for j := range f.nodes {
				if got, code := f.get(ctx, j, "shared"); got != value {
					t.Fatalf("node %d reads %q (%d) after %q was acknowledged", j, got, code, value)
				}
			}
		}
	}
	before := time.Now()
	f.must(1, "POST", "sys/rotate", "", nil)
	for i := range f.nodes {
		if !f.put(ctx, i, "rotated", "yes") {
			t.Errorf("node %d after a rotation", i)
		}
		if got, _ := f.get(ctx, i, "rotated"); got != "yes" {
			t.Errorf("node %d reads %q after a rotation", i, got)
		}
	}
	t.Logf("a rotation, and a write and a read at each node after it: %v", time.Since(before))
}

// load writes and reads through some nodes until stop is called, which returns how many requests were answered and how many of them failed.
func (f *testCluster) load(nodes func() []int) (stop func() (done, failed int64)) {
	ctx, cancel := context.WithCancel(context.Background())
	var ok, bad atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				targets := nodes()
				i := targets[(w+n)%len(targets)]
				var good bool
				key := fmt.Sprintf("load%d", w)
				if n%2 == 0 {
					good = f.put(context.Background(), i, key, fmt.Sprint(n))
				} else {
					_, code := f.get(context.Background(), i, key)
					good = code == http.StatusOK
				}
				if !good {
					bad.Add(1)
				}
				ok.Add(1)
			}
		})
	}
	return func() (int64, int64) {
		cancel()
		wg.Wait()
		return ok.Load(), bad.Load()
	}
}

func (f *testCluster) testStepDown(t *testing.T) {
	for range 3 {
		leader := f.settled()
		stop := f.load(func() []int { return f.others(leader) })
		begun := time.Now()
		f.must(f.others(leader)[0], "PUT", "sys/step-down", "", nil)
		next := f.leader(leader)
		took := time.Since(begun)
		if !f.put(t.Context(), next, "after", "x") {
			t.Error("the next leader does not take a write")
		}
		if done, failed := stop(); failed > 0 {
			t.Errorf("%d of %d requests through the standbys failed", failed, done)
		}
		t.Logf("a step-down took %v", took)
	}
}

func (f *testCluster) testKill(t *testing.T) {
	for round := range 3 {
		leader := f.settled()
		value := fmt.Sprintf("before-%d", round)
		if !f.put(t.Context(), leader, "kill", value) {
			t.Fatal("no write before")
		}
		begun := time.Now()
		if err := f.nodes[leader].Kill(); err != nil {
			t.Fatal(err)
		}
		survivor := f.others(leader)[0]
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		for !f.put(ctx, survivor, "after", value) && ctx.Err() == nil { //nolint:revive // until it is acknowledged
		}
		cancel()
		t.Logf("kill -9 of the leader to the first acknowledged write: %v", time.Since(begun))
		if got, code := f.get(t.Context(), survivor, "kill"); got != value {
			t.Errorf("what was acknowledged before the kill: %q (%d)", got, code)
		}
		if err := f.nodes[leader].Start(); err != nil {
			t.Fatal(err)
		}
		if err := f.nodes[leader].UntilUp(); err != nil {
			t.Fatal(err)
		}
	}
}

// testPause: a leader that was stopped for longer than its lease is a standby when it resumes, and never answers with stale data.
func (f *testCluster) testPause(t *testing.T) {
	leader := f.settled()
	if !f.put(t.Context(), leader, "pause", "old") {
		t.Fatal("no write before")
	}
	if err := f.nodes[leader].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	next := f.leader(leader)
	if !f.put(t.Context(), next, "pause", "new") {
		t.Error("the next leader does not take a write")
	}
	results := make(chan string, 8)
	var wg, written sync.WaitGroup
	for range cap(results) { // these wait in the stopped leader's socket, so it reads them first
		written.Add(1)
		wrote := sync.OnceFunc(written.Done)
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { wrote() },
		})
		wg.Go(func() {
			got, code := f.get(ctx, leader, "pause")
			results <- fmt.Sprintf("%s (%d)", got, code)
		})
	}
	written.Wait()
	if err := f.nodes[leader].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	close(results)
	for r := range results {
		if r != "new (200)" && !strings.HasSuffix(r, "(503)") {
			t.Errorf("a leader that was stopped answers %s", r)
		}
	}
	f.settled()
	if got, code := f.get(t.Context(), leader, "pause"); got != "new" {
		t.Errorf("as a standby it reads %q (%d)", got, code)
	}
}

// testRollingRestart: every node is stopped by SIGTERM and started again, and no request to the others fails.
func (f *testCluster) testRollingRestart(t *testing.T) {
	var down atomic.Int64
	down.Store(-1)
	for i := range f.nodes {
		f.settled()
		down.Store(int64(i))
		stop := f.load(func() []int { return f.others(int(down.Load())) })
		begun := time.Now()
		if err := f.nodes[i].Stop(); err != nil {
			t.Error(err)
		}
		took := time.Since(begun)
		if err := f.nodes[i].Start(); err != nil {
			t.Fatal(err)
		}
		if err := f.nodes[i].UntilUp(); err != nil {
			t.Fatal(err)
		}
		f.settled()
		if done, failed := stop(); failed > 0 {
			t.Errorf("node %d: %d of %d requests to the others failed", i, failed, done)
		}
		t.Logf("node %d stopped in %v", i, took)
	}
}

func (f *testCluster) testCommands(t *testing.T) {
	leader := f.settled()
	standby := f.others(leader)[0]
	run := func(i int, want string, args ...string) {
		t.Helper()
		r, err := f.nodes[i].CLI(t.Context(), f.root, "", args...)
		if err != nil || r.Code != 0 || !strings.Contains(r.Out, want) {
			t.Errorf("%v at node %d: %v, exit %d, %s%s", args, i, err, r.Code, r.Out, r.Err)
		}
	}
	run(leader, "active", "status")
	run(standby, "standby", "status")
	run(standby, f.nodes[leader].Addr, "operator", "members")
	run(standby, "Stepped down", "operator", "step-down")
}

// testPartition: a leader whose storage does not answer lets another lead, answers nothing that it cannot prove, and rejoins automatically. Where no
// node has storage, all of them report it and recover automatically.
func (f *testCluster) testPartition(t *testing.T, way func(i int) (stall, flow func())) {
	leader := f.settled()
	if !f.put(t.Context(), leader, "cut", "old") {
		t.Fatal("no write before")
	}
	stall, flow := way(leader)
	stall()
	next := f.leader(leader)
	for i := 0; !f.put(t.Context(), next, "cut", "new"); i++ {
		if i == 10 {
			t.Fatal("the next leader does not take a write")
		}
	}
	if got, code := f.get(t.Context(), leader, "cut"); code == http.StatusOK && got != "new" {
		t.Errorf("a leader that is cut off answers %q", got)
	}
	flow()
	f.settled()
	if got, code := f.get(t.Context(), leader, "cut"); got != "new" {
		t.Errorf("after it is back: %q (%d)", got, code)
	}
	for i := range f.nodes {
		stall, _ := way(i)
		stall()
	}
	var wg sync.WaitGroup
	for i := range f.nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			r, err := f.nodes[i].Do(ctx, "GET", "kv/data/cut", f.root, nil)
			if err != nil || r.Code != http.StatusServiceUnavailable || r.Errors() == "" {
				t.Errorf("node %d without storage: %d %s, %v", i, r.Code, r.Body, err)
			}
		})
	}
	wg.Wait()
	for i := range f.nodes {
		_, flow := way(i)
		flow()
	}
	f.settled()
	for i := range f.nodes {
		if !f.put(t.Context(), i, "cut", fmt.Sprint(i)) {
			t.Errorf("node %d, after the storage is back", i)
		}
	}
}

// killLeader kills the leader as kill -9 does, starts it again, and waits until the cluster is whole.
func (f *testCluster) killLeader(t *testing.T) {
	t.Helper()
	leader := f.settled()
	if err := f.nodes[leader].Kill(); err != nil {
		t.Fatal(err)
	}
	f.leader(leader)
	if err := f.nodes[leader].Start(); err != nil {
		t.Fatal(err)
	}
	if err := f.nodes[leader].UntilUp(); err != nil {
		t.Fatal(err)
	}
	f.settled()
}

// testCeremony: a rekey of the recovery shares, with verification, whose leader is killed after each step.
func (f *testCluster) testCeremony(t *testing.T) {
	var st struct {
		Nonce             string   `json:"nonce"`
		Progress          int      `json:"progress"`
		Complete          bool     `json:"complete"`
		Keys              []string `json:"keys"`
		VerificationNonce string   `json:"verification_nonce"`
	}
	at := 0
	next := func() int { at++; return at % len(f.nodes) }
	f.settled()
	f.must(next(), "PUT", "sys/rekey-recovery-key/init", `{"secret_shares":3,"secret_threshold":2,"require_verification":true}`, &st)
	nonce := st.Nonce
	for i, key := range f.keys[:2] {
		f.killLeader(t)
		f.must(next(), "PUT", "sys/rekey-recovery-key/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, key, nonce), &st)
		if st.Complete != (i == 1) {
			t.Fatalf("after share %d: %+v", i+1, st)
		}
	}
	made, verification := st.Keys, st.VerificationNonce
	for i, key := range made[:2] {
		f.killLeader(t)
		st.Complete = false
		f.must(next(), "PUT", "sys/rekey-recovery-key/verify", fmt.Sprintf(`{"key":%q,"nonce":%q}`, key, verification), &st)
		if st.Complete != (i == 1) {
			t.Fatalf("after new share %d: %+v", i+1, st)
		}
	}
	f.killLeader(t)
	r, err := f.nodes[0].Do(t.Context(), "POST", "sys/recovery/prove", f.root, fmt.Sprintf(`{"key":%q}`, f.keys[0]))
	if err != nil || r.Code == http.StatusOK {
		t.Errorf("a share of the previous set counts: %d, %v", r.Code, err)
	}
	f.keys = made
	f.must(next(), "POST", "sys/recovery/prove", fmt.Sprintf(`{"key":%q}`, f.keys[2]), nil)
}
