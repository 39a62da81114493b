package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// testCluster is a cluster of real servers on one storage. Nodes are numbered from 0.
type testCluster struct {
	t       *testing.T
	nodes   []*Server
	root    string
	keys    []string // recovery shares, in hex
	storage func(i int) string
}

// newTestCluster prepares, and does not start, count servers on the storage of a stanza, such as `storage "etcd" { ... }`, which may have a way of its own
// to it for each node. Each has the static
// seal, an address of its own for the API and one for the other nodes.
func newTestCluster(t *testing.T, storage func(i int) string, count int) *testCluster {
	t.Helper()
	f := &testCluster{t: t, storage: storage}
	for range count {
		f.add()
	}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for i, s := range f.nodes {
			wg.Go(func() {
				if err := s.Kill(); err != nil && s.Pid() != 0 {
					t.Errorf("node %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for i, s := range f.nodes {
			if strings.Contains(s.Log(), "WARNING: DATA RACE") {
				t.Errorf("node %d raced:\n%s", i, s.Log())
			}
			if t.Failed() {
				t.Logf("the log of node %d:\n%s", i, s.Log())
			}
		}
	})
	return f
}

// add prepares one more server.
func (f *testCluster) add() *Server {
	f.t.Helper()
	var addrs [2]string
	for i := range addrs {
		var err error
		if addrs[i], err = FreeAddr(); err != nil {
			f.t.Fatal(err)
		}
	}
	s := &Server{Bin: binary, Dir: f.t.TempDir(), Addr: addrs[0]}
	config := fmt.Sprintf("%s\napi_addr = \"http://%s\"\ncluster_addr = \"https://%s\"\nlistener \"tcp\" {\n  address = %q\n  cluster_address = %q\n"+
		"  tls_disable = true\n}\nseal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = %q\n}\n",
		f.storage(len(f.nodes)), addrs[0], addrs[1], addrs[0], addrs[1], strings.Repeat("5c", 32))
	if err := s.WriteConfig(config); err != nil {
		f.t.Fatal(err)
	}
	f.nodes = append(f.nodes, s)
	return s
}

// begin starts all servers, initialises the first, mounts kv version 2 at "kv/", and waits until the cluster is settled.
func (f *testCluster) begin() {
	f.t.Helper()
	for _, s := range f.nodes {
		if err := s.Start(); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, s := range f.nodes {
		if err := s.UntilUp(); err != nil {
			f.t.Fatal(err)
		}
	}
	var r struct {
		RootToken    string   `json:"root_token"`
		RecoveryKeys []string `json:"recovery_keys"`
	}
	f.must(0, "PUT", "sys/init", `{"recovery_shares":3,"recovery_threshold":2}`, &r)
	f.root, f.keys = r.RootToken, r.RecoveryKeys
	f.settled()
	f.must(0, "POST", "sys/mounts/kv", `{"type":"kv","options":{"version":"2"}}`, nil)
}

// must sends a request that must succeed.
func (f *testCluster) must(i int, method, path, body string, into any) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var in any
	if body != "" {
		in = body
	}
	r, err := f.nodes[i].Do(ctx, method, path, f.root, in)
	if err != nil || r.Code/100 != 2 {
		f.t.Fatalf("%s %s at node %d: %d %s, %v", method, path, i, r.Code, r.Body, err)
	}
	if into != nil {
		if err := json.Unmarshal(r.Body, into); err != nil {
			f.t.Fatal(err)
		}
	}
}

// role asks a node's sys/health: 200 is the leader, 429 a standby, 0 no answer.
func (f *testCluster) role(i int) int {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, code, err := f.nodes[i].Health(ctx)
	if err != nil {
		return 0
	}
	return code
}

// leader waits for the node that leads, among those that answer, and returns its number. except is one that does not count, or -1.
func (f *testCluster) leader(except int) int {
	f.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for i := range f.nodes {
			if i != except && f.role(i) == http.StatusOK {
				return i
			}
		}
	}
	f.t.Fatal("no node leads")
	return -1
}

// settled waits until one node leads and the other running ones are standbys, and returns the leader's number.
func (f *testCluster) settled() int {
	f.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		leaders, standbys, running, last := 0, 0, 0, -1
		for i, s := range f.nodes {
			if s.Pid() == 0 {
				continue
			}
			running++
			switch f.role(i) {
			case http.StatusOK:
				leaders, last = leaders+1, i
			case http.StatusTooManyRequests:
				standbys++
			}
		}
		if leaders == 1 && leaders+standbys == running {
			return last
		}
	}
	f.t.Fatal("the cluster does not settle")
	return -1
}

// put writes a value through a node and reports whether that was acknowledged.
func (f *testCluster) put(ctx context.Context, i int, key, value string) bool {
	r, err := f.nodes[i].Do(ctx, "POST", "kv/data/"+key, f.root, fmt.Sprintf(`{"data":{"v":%q}}`, value))
	return err == nil && r.Code == http.StatusOK
}

// get reads a value through a node.
func (f *testCluster) get(ctx context.Context, i int, key string) (value string, code int) {
	r, err := f.nodes[i].Do(ctx, "GET", "kv/data/"+key, f.root, nil)
	if err != nil {
		return "", 0
	}
	var out struct {
		Data struct{ Data struct{ V string } }
	}
	_ = r.Decode(&out)
	return out.Data.Data.V, r.Code
}

// others are the running nodes but one.
func (f *testCluster) others(than int) []int {
	var out []int
	for i, s := range f.nodes {
		if i != than && s.Pid() != 0 {
			out = append(out, i)
		}
	}
	return out
}
