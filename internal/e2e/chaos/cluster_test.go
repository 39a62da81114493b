package chaos

import (
	"context"
	"fmt"
	"os"
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
	if binary, err = e2e.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// link is the connection of one node to the storage, with faults.
type link interface {
	Stall()
	Flow()
	Cut()
}

// sharedStorage is the storage of a cluster, with faults that a test can cause.
type sharedStorage struct {
	stanza  func(t *testing.T) (string, link) // for one node
	restart func()                            // kill it, and bring it back with its data
}

func onEtcd(t *testing.T) *sharedStorage {
	c := etcdtest.Start(t, etcdtest.Options{Members: 1})
	return &sharedStorage{
		stanza: func(t *testing.T) (string, link) {
			p := etcdtest.NewProxy(t, c.Endpoints[0])
			return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n}\n", p.Endpoint), p
		},
		restart: func() { c.Stop(0); c.Restart(0) },
	}
}

// pgLink names the methods of PostgreSQL's proxy as etcd's.
type pgLink struct{ *pgtest.Proxy }

func (p pgLink) Flow() { p.Resume() }

func onPostgreSQL(t *testing.T) *sharedStorage {
	s := pgtest.Start(t)
	s.Exec(t, "postgres", "CREATE DATABASE chaos")
	return &sharedStorage{
		stanza: func(t *testing.T) (string, link) {
			p := pgtest.NewProxy(t, s.Addr())
			return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\n", pgtest.URL(p.Addr(), "chaos")), pgLink{p}
		},
		restart: func() { s.Kill(t); s.Restart(t) },
	}
}

// node is a server and its connection to the storage.
type node struct {
	*e2e.Server
	link link
}

// testCluster is a cluster of three nodes, each with a link of its own to the storage.
type testCluster struct {
	*e2e.Cluster
	t       *testing.T
	storage *sharedStorage
	nodes   []*node

	epochs    map[string]int // which node led in which epoch
	rotations int            // that were acknowledged
}

func newTestCluster(t *testing.T, d *sharedStorage) *testCluster {
	t.Helper()
	f := &testCluster{t: t, storage: d, epochs: map[string]int{}}
	var links []link
	f.Cluster = e2e.NewCluster(t, binary, func(int) string {
		stanza, l := d.stanza(t)
		links = append(links, l)
		return stanza
	}, 3)
	for i, s := range f.Nodes {
		f.nodes = append(f.nodes, &node{Server: s, link: links[i]})
	}
	f.Begin()
	return f
}

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
	reply, err := n.Do(ctx, method, path, f.Root, body)
	if err != nil || reply.Code != code {
		f.t.Fatalf("%s %s: %d, %v: %s", method, path, reply.Code, err, reply.Body)
	}
	return reply
}

var ledIn = regexp.MustCompile(`msg=active .*epoch=(\d+)`)

// leaderships reads from the logs which node led in which epoch, and fails where two nodes led in
// one. A log starts again with its process, so call this before a process ends.
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

// leading returns the node that reports that it is active, nil where none does within a second.
func (f *testCluster) leading() *node {
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

// patience is how long a cluster may take to be whole again when nothing happens to it any more. It
// is met within a few seconds.
const patience = 90 * time.Second

// untilLed waits until a node leads.
func (f *testCluster) untilLed() *node {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		if n := f.leading(); n != nil {
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
			reply, err := request(n.Server, f.Root, "POST", "kv/data/whole",
				map[string]any{"data": map[string]string{"v": value}})
			if err == nil && reply.Code == 200 {
				break
			}
			if time.Now().After(end) {
				f.t.Fatalf("node %d takes no write after %s: %d %s %v", i, patience, reply.Code, reply.Body, err)
			}
		}
		for j, other := range f.nodes {
			for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
				reply, err := request(other.Server, f.Root, "GET", "kv/data/whole", nil)
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
