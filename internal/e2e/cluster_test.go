package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// etcdCluster is a cluster on one etcd, to which each node has a way of its own.
func etcdCluster(t *testing.T, count int) (*Cluster, []*etcdtest.Proxy) {
	c := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	var ways []*etcdtest.Proxy
	for range count {
		ways = append(ways, etcdtest.NewProxy(t, c.Direct[0]))
	}
	return NewCluster(t, binary, func(i int) string {
		return OnEtcd(ways[i].Endpoint)
	}, count), ways
}

// etcdClusterWithToken is a cluster of three nodes whose programs find one SoftHSM token.
func etcdClusterWithToken(t *testing.T) *Cluster {
	t.Helper()
	f, _ := etcdCluster(t, 3)
	token, err := softhsm.Init(filepath.Join(t.TempDir(), "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.Nodes {
		s.Env = append(s.Env, token.Environ()...)
	}
	return f
}

// hsmStanza is a seal on that token.
const hsmStanza = "seal \"pkcs11\" \"hsm\" {\n  key_label = \"root\"\n  generate_key = true\n}\n"

func TestClusterOnEtcd(t *testing.T) {
	t.Parallel()
	f, ways := etcdCluster(t, 3)
	f.Begin()
	f.lives(t)
	t.Run("partitioned from the storage", func(t *testing.T) {
		f.testPartition(t, func(i int) (stall, flow func()) { return ways[i].Stall, ways[i].Flow })
	})
}

func TestClusterOnPostgres(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	database := s.Database(t)
	var ways []*pgtest.Proxy
	for range 3 {
		ways = append(ways, pgtest.NewProxy(t, s.Addr()))
	}
	f := NewCluster(t, binary, func(i int) string {
		return OnPostgres(strings.Replace(database, s.Addr(), ways[i].Addr(), 1))
	}, 3)
	f.Begin()
	f.lives(t)
	t.Run("partitioned from the storage", func(t *testing.T) {
		f.testPartition(t, func(i int) (stall, flow func()) { return ways[i].Stall, ways[i].Resume })
	})
}

// lives is what a cluster does on whichever storage.
func (f *Cluster) lives(t *testing.T) {
	t.Run("writes everywhere, reads everywhere", f.testEverywhere)
	t.Run("step-down", f.testStepDown)
	t.Run("kill -9", f.testKill)
	t.Run("ceremony", f.testCeremony)
	t.Run("stopped for a while", f.testPause)
	for run := range rollingRuns(t) {
		t.Run(fmt.Sprint("rolling restart ", run+1), f.testRollingRestart)
	}
	t.Run("commands", f.testCommands)
}

func (f *Cluster) testEverywhere(t *testing.T) {
	ctx := t.Context()
	for i := range f.Nodes {
		for n := range 10 {
			value := fmt.Sprintf("%d-%d", i, n)
			if !f.Put(ctx, i, "shared", value) {
				t.Fatalf("node %d does not take a write", i)
			}
			for j := range f.Nodes {
				if got, code := f.Get(ctx, j, "shared"); got != value {
					t.Fatalf("node %d reads %q (%d) after %q was acknowledged", j, got, code, value)
				}
			}
		}
	}
	before := time.Now()
	f.Must(1, "POST", "sys/rotate", "", nil)
	for i := range f.Nodes {
		if !f.Put(ctx, i, "rotated", "yes") {
			t.Errorf("node %d after a rotation", i)
		}
		if got, _ := f.Get(ctx, i, "rotated"); got != "yes" {
			t.Errorf("node %d reads %q after a rotation", i, got)
		}
	}
	t.Logf("a rotation, and a write and a read at each node after it: %v", time.Since(before))
}

// load writes and reads through some nodes until stop is called, which returns how many requests
// were answered and how many of them failed.
func (f *Cluster) load(nodes func() []int) (stop func() (done, failed int64)) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var ok, bad atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				targets := nodes()
				i := targets[(w+n)%len(targets)]
				method, body := "GET", any(nil)
				if n%2 == 0 {
					method, body = "POST", fmt.Sprintf(`{"data":{"v":"%d"}}`, n)
				}
				r, err := f.Nodes[i].Do(context.Background(), method, fmt.Sprintf("kv/data/load%d", w), f.Root, body)
				if err != nil || r.Code != http.StatusOK {
					bad.Add(1)
					f.t.Logf("%s at node %d: %d %s, %v", method, i, r.Code, r.Body, err)
				}
				ok.Add(1)
			}
		})
	}
	stop = func() (int64, int64) {
		cancel()
		wg.Wait()
		return ok.Load(), bad.Load()
	}
	f.t.Cleanup(func() { stop() }) // also where the test fails before it
	return stop
}

func (f *Cluster) testStepDown(t *testing.T) {
	for range 3 {
		leader := f.Settled()
		stop := f.load(func() []int { return f.Others(leader) })
		begun := time.Now()
		f.Must(f.Others(leader)[0], "PUT", "sys/step-down", "", nil)
		next := f.Leader(leader)
		took := time.Since(begun)
		if !f.Put(t.Context(), next, "after", "x") {
			t.Error("the next leader does not take a write")
		}
		if done, failed := stop(); failed > 0 {
			t.Errorf("%d of %d requests through the standbys failed", failed, done)
		}
		t.Logf("a step-down took %v", took)
	}
}

func (f *Cluster) testKill(t *testing.T) {
	for round := range 3 {
		leader := f.Settled()
		value := fmt.Sprintf("before-%d", round)
		if !f.Put(t.Context(), leader, "kill", value) {
			t.Fatal("no write before")
		}
		begun := time.Now()
		if err := f.Nodes[leader].Kill(); err != nil {
			t.Fatal(err)
		}
		survivor := f.Others(leader)[0]
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		for !f.Put(ctx, survivor, "after", value) && ctx.Err() == nil { //nolint:revive // until it is acknowledged
		}
		cancel()
		t.Logf("kill -9 of the leader to the first acknowledged write: %v", time.Since(begun))
		if got, code := f.Get(t.Context(), survivor, "kill"); got != value {
			t.Errorf("what was acknowledged before the kill: %q (%d)", got, code)
		}
		if err := f.Nodes[leader].Start(); err != nil {
			t.Fatal(err)
		}
		if err := f.Nodes[leader].UntilUp(); err != nil {
			t.Fatal(err)
		}
	}
}

// testPause: a leader that was stopped for longer than its lease is a standby when it resumes, and
// never answers with stale data.
func (f *Cluster) testPause(t *testing.T) {
	leader := f.Settled()
	if !f.Put(t.Context(), leader, "pause", "old") {
		t.Fatal("no write before")
	}
	if err := f.Nodes[leader].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	next := f.Leader(leader)
	if !f.Put(t.Context(), next, "pause", "new") {
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
			got, code := f.Get(ctx, leader, "pause")
			results <- fmt.Sprintf("%s (%d)", got, code)
		})
	}
	written.Wait()
	if err := f.Nodes[leader].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	close(results)
	for r := range results {
		if r != "new (200)" && !strings.HasSuffix(r, "(503)") {
			t.Errorf("a leader that was stopped answers %s", r)
		}
	}
	f.Settled()
	if got, code := f.Get(t.Context(), leader, "pause"); got != "new" {
		t.Errorf("as a standby it reads %q (%d)", got, code)
	}
}

// rollingRuns is how often each storage has its rolling restart: once, or as often as
// SEALGATE_ROLLING_RUNS says, because a request that falls through once in many restarts shows only
// then.
func rollingRuns(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SEALGATE_ROLLING_RUNS")
	if text == "" {
		return 1
	}
	runs, err := strconv.Atoi(text)
	if err != nil || runs < 1 {
		t.Fatalf("SEALGATE_ROLLING_RUNS is %q, not a number from 1", text)
	}
	return runs
}

// testRollingRestart: every node is stopped by SIGTERM and started again, and no request to the
// others fails.
func (f *Cluster) testRollingRestart(t *testing.T) {
	var down atomic.Int64
	down.Store(-1)
	for i := range f.Nodes {
		f.Settled()
		down.Store(int64(i))
		stop := f.load(func() []int { return f.Others(int(down.Load())) })
		begun := time.Now()
		if err := f.Nodes[i].Stop(); err != nil {
			t.Error(err)
		}
		took := time.Since(begun)
		if err := f.Nodes[i].Start(); err != nil {
			t.Fatal(err)
		}
		if err := f.Nodes[i].UntilUp(); err != nil {
			t.Fatal(err)
		}
		f.Settled()
		if done, failed := stop(); failed > 0 {
			t.Errorf("node %d: %d of %d requests to the others failed", i, failed, done)
		}
		t.Logf("node %d stopped in %v", i, took)
	}
}

func (f *Cluster) testCommands(t *testing.T) {
	leader := f.Settled()
	standby := f.Others(leader)[0]
	run := func(i int, want string, args ...string) {
		t.Helper()
		r, err := f.Nodes[i].CLI(t.Context(), f.Root, "", args...)
		if err != nil || r.Code != 0 || !strings.Contains(r.Out, want) {
			t.Errorf("%v at node %d: %v, exit %d, %s%s", args, i, err, r.Code, r.Out, r.Err)
		}
	}
	run(leader, "active", "status")
	run(standby, "standby", "status")
	run(standby, f.Nodes[leader].Addr, "operator", "members")
	run(standby, "Stepped down", "operator", "step-down")
}

// testPartition: a leader whose storage does not answer lets another lead, answers nothing that it
// cannot prove, and rejoins automatically. Where no node has storage, all of them report it and
// recover automatically.
func (f *Cluster) testPartition(t *testing.T, way func(i int) (stall, flow func())) {
	leader := f.Settled()
	if !f.Put(t.Context(), leader, "cut", "old") {
		t.Fatal("no write before")
	}
	stall, flow := way(leader)
	stall()
	next := f.Leader(leader)
	for i := 0; !f.Put(t.Context(), next, "cut", "new"); i++ {
		if i == 10 {
			t.Fatal("the next leader does not take a write")
		}
	}
	if got, code := f.Get(t.Context(), leader, "cut"); code == http.StatusOK && got != "new" {
		t.Errorf("a leader that is cut off answers %q", got)
	}
	flow()
	f.Settled()
	if got, code := f.Get(t.Context(), leader, "cut"); got != "new" {
		t.Errorf("after it is back: %q (%d)", got, code)
	}
	for i := range f.Nodes {
		stall, _ := way(i)
		stall()
	}
	var wg sync.WaitGroup
	for i := range f.Nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r, err := f.Nodes[i].Do(ctx, "GET", "kv/data/cut", f.Root, nil)
			if err != nil || r.Code != http.StatusServiceUnavailable || r.Errors() == "" {
				t.Errorf("node %d without storage: %d %s, %v", i, r.Code, r.Body, err)
			}
		})
	}
	wg.Wait()
	for i := range f.Nodes {
		_, flow := way(i)
		flow()
	}
	f.Settled()
	for i := range f.Nodes {
		if !f.Put(t.Context(), i, "cut", fmt.Sprint(i)) {
			t.Errorf("node %d, after the storage is back", i)
		}
	}
}

// killLeader kills the leader as kill -9 does, starts it again, and waits until the cluster is
// whole.
func (f *Cluster) killLeader(t *testing.T) {
	t.Helper()
	leader := f.Settled()
	if err := f.Nodes[leader].Kill(); err != nil {
		t.Fatal(err)
	}
	f.Leader(leader)
	if err := f.Nodes[leader].Start(); err != nil {
		t.Fatal(err)
	}
	if err := f.Nodes[leader].UntilUp(); err != nil {
		t.Fatal(err)
	}
	f.Settled()
}

// testCeremony: a rekey of the recovery shares, with verification, whose leader is killed after
// each step.
func (f *Cluster) testCeremony(t *testing.T) {
	var st struct {
		Nonce             string   `json:"nonce"`
		Progress          int      `json:"progress"`
		Complete          bool     `json:"complete"`
		Keys              []string `json:"keys"`
		VerificationNonce string   `json:"verification_nonce"`
	}
	at := 0
	next := func() int { at++; return at % len(f.Nodes) }
	f.Settled()
	f.Must(next(), "PUT", "sys/rekey-recovery-key/init", `{"secret_shares":3,"secret_threshold":2,"require_verification":true}`, &st)
	nonce := st.Nonce
	for i, key := range f.Keys[:2] {
		f.killLeader(t)
		f.Must(next(), "PUT", "sys/rekey-recovery-key/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, key, nonce), &st)
		if st.Complete != (i == 1) {
			t.Fatalf("after share %d: %+v", i+1, st)
		}
	}
	made, verification := st.Keys, st.VerificationNonce
	for i, key := range made[:2] {
		f.killLeader(t)
		st.Complete = false
		f.Must(next(), "PUT", "sys/rekey-recovery-key/verify", fmt.Sprintf(`{"key":%q,"nonce":%q}`, key, verification), &st)
		if st.Complete != (i == 1) {
			t.Fatalf("after new share %d: %+v", i+1, st)
		}
	}
	f.killLeader(t)
	r, err := f.Nodes[0].Do(t.Context(), "POST", "sys/recovery/prove", f.Root, fmt.Sprintf(`{"key":%q}`, f.Keys[0]))
	if err != nil || r.Code == http.StatusOK {
		t.Errorf("a share of the previous set counts: %d, %v", r.Code, err)
	}
	f.Keys = made
	f.Must(next(), "POST", "sys/recovery/prove", fmt.Sprintf(`{"key":%q}`, f.Keys[2]), nil)
}
