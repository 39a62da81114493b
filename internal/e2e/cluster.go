package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Cluster is a cluster of real servers on one storage. Nodes are numbered from 0.
type Cluster struct {
	Nodes []*Server
	Root  string   // the root token, after Begin
	Keys  []string // recovery shares in hex, after Begin; under shares, unseal shares

	t       testing.TB
	bin     string
	shares  bool // no machine unseals
	storage func(i int) string
}

// lease is longer than the default, which nodes lose on a machine that many tests share.
const lease = "  lease_ttl = \"6s\"\n"

// OnEtcd returns the storage stanza of etcd with these members.
func OnEtcd(endpoints ...string) string {
	return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n%s}\n", strings.Join(endpoints, ","), lease)
}

// OnPostgres returns the storage stanza of a PostgreSQL database.
func OnPostgres(url string) string {
	return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n%s}\n", url, lease)
}

// patience bounds what takes a moment on a machine where nothing else runs.
const patience = 90 * time.Second

// NewCluster prepares, and does not start, count servers of a program. storage returns the storage
// stanza of a node, such as `storage "etcd" { ... }`. Each node has the static seal, an address for
// the API and one for its peers.
func NewCluster(t testing.TB, bin string, storage func(i int) string, count int) *Cluster {
	t.Helper()
	return newCluster(t, &Cluster{t: t, bin: bin, storage: storage}, count)
}

// NewShamirCluster is NewCluster with a Shamir seal: two of three shares unseal each node.
func NewShamirCluster(t testing.TB, bin string, storage func(i int) string, count int) *Cluster {
	t.Helper()
	return newCluster(t, &Cluster{t: t, bin: bin, storage: storage, shares: true}, count)
}

func newCluster(t testing.TB, f *Cluster, count int) *Cluster {
	t.Helper()
	for range count {
		f.Add()
	}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for i, s := range f.Nodes {
			wg.Go(func() {
				if err := s.Kill(); err != nil && s.Pid() != 0 {
					t.Errorf("node %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		for i, s := range f.Nodes {
			if strings.Contains(s.Log(), "WARNING: DATA RACE") {
				t.Errorf("node %d raced:\n%s", i, s.Log())
			}
			if t.Failed() {
				t.Logf("the log of node %d:\n%s", i, tail(s.Log()))
			}
		}
	})
	return f
}

// tail returns the end of a log: a cluster that ran for minutes prints more than anyone reads.
func tail(log string) string { return log[max(0, len(log)-100_000):] }

// Add prepares one more server.
func (f *Cluster) Add() *Server {
	f.t.Helper()
	var addrs [2]string
	for i := range addrs {
		var err error
		if addrs[i], err = FreeAddr(); err != nil {
			f.t.Fatal(err)
		}
	}
	s := &Server{Bin: f.bin, Dir: f.t.TempDir(), Addr: addrs[0]}
	seal := fmt.Sprintf("seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = %q\n}\n",
		strings.Repeat("5c", 32))
	if f.shares {
		seal = ""
	}
	config := fmt.Sprintf("%s\napi_addr = \"http://%s\"\ncluster_addr = \"https://%s\"\nlistener \"tcp\" {\n  address = "+
		"%q\n  cluster_address = %q\n"+
		"  tls_disable = true\n}\n%s",
		f.storage(len(f.Nodes)), addrs[0], addrs[1], addrs[0], addrs[1], seal)
	if err := s.WriteConfig(config); err != nil {
		f.t.Fatal(err)
	}
	f.Nodes = append(f.Nodes, s)
	return s
}

// Begin starts all servers, initialises the first, mounts kv version 2 at "kv/", and waits until
// the cluster is settled.
func (f *Cluster) Begin() {
	f.t.Helper()
	for _, s := range f.Nodes {
		if err := s.Start(); err != nil {
			f.t.Fatal(err)
		}
	}
	for _, s := range f.Nodes {
		if err := s.UntilUp(); err != nil {
			f.t.Fatal(err)
		}
	}
	err := f.Nodes[0].Until(patience, "able to read the storage", func(h Health, code int) bool {
		return code == http.StatusNotImplemented && h.StorageFailure == ""
	})
	if err != nil {
		f.t.Fatal(err)
	}
	var r struct {
		RootToken    string   `json:"root_token"`
		RecoveryKeys []string `json:"recovery_keys"`
		Keys         []string `json:"keys"`
	}
	body := `{"recovery_shares":3,"recovery_threshold":2}`
	if f.shares {
		body = `{"secret_shares":3,"secret_threshold":2}`
	}
	f.Must(0, "PUT", "sys/init", body, &r)
	f.Root, f.Keys = r.RootToken, slices.Concat(r.RecoveryKeys, r.Keys)
	if f.shares {
		for i := range f.Nodes {
			f.Unseal(i)
		}
	}
	f.Settled()
	f.Must(0, "POST", "sys/mounts/kv", `{"type":"kv","options":{"version":"2"}}`, nil)
}

// Unseal gives a node two shares.
func (f *Cluster) Unseal(i int) {
	f.t.Helper()
	for _, key := range f.Keys[:2] {
		f.Must(i, "PUT", "sys/unseal", fmt.Sprintf(`{"key":%q}`, key), nil)
	}
}

// Must sends a request that must succeed.
func (f *Cluster) Must(i int, method, path, body string, into any) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var in any
	if body != "" {
		in = body
	}
	r, err := f.Nodes[i].Do(ctx, method, path, f.Root, in)
	if err != nil || r.Code/100 != 2 {
		f.t.Fatalf("%s %s at node %d: %d %s, %v", method, path, i, r.Code, r.Body, err)
	}
	if into != nil {
		if err := json.Unmarshal(r.Body, into); err != nil {
			f.t.Fatal(err)
		}
	}
}

// Role asks a node's sys/health: 200 is the leader, 429 a standby, 0 no answer.
func (f *Cluster) Role(i int) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, code, err := f.Nodes[i].Health(ctx)
	if err != nil {
		return 0
	}
	return code
}

// Leader waits for the node that leads, among those that answer, and returns its number. except is
// one that does not count, or -1.
func (f *Cluster) Leader(except int) int {
	f.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for i := range f.Nodes {
			if i != except && f.Role(i) == http.StatusOK {
				return i
			}
		}
	}
	f.t.Fatal("no node leads")
	return -1
}

// Settled waits until one node leads and the other running ones are standbys, and returns the
// leader's number.
func (f *Cluster) Settled() int {
	f.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		leaders, standbys, running, last := 0, 0, 0, -1
		for i, s := range f.Nodes {
			if s.Pid() == 0 {
				continue
			}
			running++
			switch f.Role(i) {
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

// Put writes a value through a node and reports whether that was acknowledged.
func (f *Cluster) Put(ctx context.Context, i int, key, value string) bool {
	r, err := f.Nodes[i].Do(ctx, "POST", "kv/data/"+key, f.Root, fmt.Sprintf(`{"data":{"v":%q}}`, value))
	return err == nil && r.Code == http.StatusOK
}

// Get reads a value through a node.
func (f *Cluster) Get(ctx context.Context, i int, key string) (value string, code int) {
	r, err := f.Nodes[i].Do(ctx, "GET", "kv/data/"+key, f.Root, nil)
	if err != nil {
		return "", 0
	}
	var out struct {
		Data struct{ Data struct{ V string } }
	}
	_ = r.Decode(&out)
	return out.Data.Data.V, r.Code
}

// Others are the running nodes but one.
func (f *Cluster) Others(than int) []int {
	var out []int
	for i, s := range f.Nodes {
		if i != than && s.Pid() != 0 {
			out = append(out, i)
		}
	}
	return out
}
