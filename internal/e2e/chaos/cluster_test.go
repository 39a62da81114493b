package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/e2e"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// binary is the real program with the race detector, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sealgate-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "sealgate")
	if out, err := exec.Command("go", "build", "-race", "-tags", "failpoints", "-o", binary, "github.com/sealgate/sealgate/cmd/sealgate").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// line is the way of one node to the storage.
type line interface {
	Stall()
	Flow()
	Cut()
}

// sharedStorage is the storage of a cluster, with faults that a test can cause.
type sharedStorage struct {
	stanza  func(t *testing.T) (string, line) // for one node
	restart func()                            // kill it, and bring it back with its data
}

func onEtcd(t *testing.T) *sharedStorage {
	c := etcdtest.Start(t, etcdtest.Options{Members: 1})
	return &sharedStorage{
		stanza: func(t *testing.T) (string, line) {
			p := etcdtest.NewProxy(t, c.Endpoints[0])
			return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n}\n", p.Endpoint), p
		},
		restart: func() { c.Stop(0); c.Restart(0) },
	}
}

// pgLine gives PostgreSQL's proxy the same words.
type pgLine struct{ *pgtest.Proxy }

func (p pgLine) Flow() { p.Resume() }

func onPostgreSQL(t *testing.T) *sharedStorage {
	s := pgtest.Start(t)
	s.Exec(t, "postgres", "CREATE DATABASE chaos")
	return &sharedStorage{
		stanza: func(t *testing.T) (string, line) {
			p := pgtest.NewProxy(t, s.Addr())
			return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\n", pgtest.URL(p.Addr(), "chaos")), pgLine{p}
		},
		restart: func() { s.Kill(t); s.Restart(t) },
	}
}

// node is a server and its way to the storage.
type node struct {
	*e2e.Server
	line line
}

// testCluster is a cluster of three nodes.
type testCluster struct {
	t       *testing.T
	storage *sharedStorage
	nodes   []*node
	root    string

	epochs    map[string]int // which node led in which epoch
	rotations int            // that were acknowledged
}

func newTestCluster(t *testing.T, d *sharedStorage) *testCluster {
	t.Helper()
	f := &testCluster{t: t, storage: d, epochs: map[string]int{}}
	for range 3 {
		stanza, line := d.stanza(t)
		f.nodes = append(f.nodes, &node{Server: f.server(stanza), line: line})
	}
	for _, n := range f.nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
	}
	first := f.nodes[0]
	f.must(first.UntilUp())
	var out struct {
		RootToken string `json:"root_token"`
	}
	reply := f.call(first, 200, "PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1})
	f.must(json.Unmarshal(reply.Body, &out))
	f.root = out.RootToken
	for _, n := range f.nodes {
		f.must(n.Until(patience, "unsealed", func(h e2e.Health, code int) bool { return h.Initialized && !h.Sealed }))
	}
	f.untilLed()
	f.call(first, 204, "POST", "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	return f
}

// server prepares a node that unseals with a key that all of them have in a file.
func (f *testCluster) server(storage string) *e2e.Server {
	f.t.Helper()
	addr, err := e2e.FreeAddr()
	f.must(err)
	peers, err := e2e.FreeAddr()
	f.must(err)
	s := &e2e.Server{Bin: binary, Dir: f.t.TempDir(), Addr: addr}
	f.must(s.WriteConfig(fmt.Sprintf(`%s
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_disable     = true
}
api_addr     = "http://%[2]s"
cluster_addr = "https://%[3]s"
seal "static" {
  current_key_id = "k1"
  current_key    = "%[4]s"
}
`, storage, addr, peers, strings.Repeat("ab", 32))))
	f.t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			f.t.Errorf("%s: %v", addr, err)
		}
		if strings.Contains(s.Log(), "DATA RACE") {
			f.t.Errorf("%s raced", addr)
		}
		if f.t.Failed() {
			f.t.Logf("the end of the log of %s:\n%s", addr, tail(s.Log(), 12_000))
		}
	})
	return s
}

func tail(text string, most int) string { return text[max(0, len(text)-most):] }

func (f *testCluster) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *testCluster) call(n *node, code int, method, path string, body any) e2e.Reply {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	reply, err := n.Do(ctx, method, path, f.root, body)
	if err != nil || reply.Code != code {
		f.t.Fatalf("%s %s: %d, %v: %s\n%s", method, path, reply.Code, err, reply.Body, tail(n.Log(), 4000))
	}
	return reply
}

var ledIn = regexp.MustCompile(`msg=active .*epoch=(\d+)`)

// leaderships reads from the logs which node led in which epoch, and fails where two nodes led in one. A log starts
// again with its process, so call this before a process ends.
func (f *testCluster) leaderships() {
	f.t.Helper()
	for i, n := range f.nodes {
		for _, m := range ledIn.FindAllStringSubmatch(n.Log(), -1) {
			if other, known := f.epochs[m[1]]; known && other != i {
				f.t.Errorf("nodes %d and %d both led in epoch %s", other, i, m[1])
			}
			f.epochs[m[1]] = i
		}
	}
}

// leader is the node that says that it is active; nil: none does within the time that a question takes.
func (f *testCluster) leader() *node {
	for _, n := range f.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, code, err := n.Health(ctx)
		cancel()
		if err == nil && code == 200 {
			return n
		}
	}
	return nil
}

// patience is how long a cluster may take to be whole again when nothing happens to it any more. It is met within a few seconds.
const patience = 90 * time.Second

// untilLed waits until a node leads.
func (f *testCluster) untilLed() *node {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if n := f.leader(); n != nil {
			return n
		}
		if time.Now().After(end) {
			f.t.Fatalf("no node leads after %s", patience)
		}
	}
}

// untilWhole waits until a write through each node is acknowledged and read through each.
func (f *testCluster) untilWhole() {
	f.t.Helper()
	for i, n := range f.nodes {
		value := fmt.Sprint(i, time.Now().UnixNano())
		for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			reply, err := request(n.Server, f.root, "POST", "kv/data/whole", map[string]any{"data": map[string]string{"v": value}})
			if err == nil && reply.Code == 200 {
				break
			}
			if time.Now().After(end) {
				f.t.Fatalf("node %d takes no write after %s: %d %s %v", i, patience, reply.Code, reply.Body, err)
			}
		}
		for j, other := range f.nodes {
			for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
				reply, err := request(other.Server, f.root, "GET", "kv/data/whole", nil)
				if err == nil && reply.Code == 200 {
					if !strings.Contains(string(reply.Body), value) {
						f.t.Fatalf("node %d does not read what node %d wrote: %s", j, i, reply.Body)
					}
					break
				}
				if time.Now().After(end) {
					f.t.Fatalf("node %d reads nothing after %s: %d %s %v", j, patience, reply.Code, reply.Body, err)
				}
			}
		}
	}
}
