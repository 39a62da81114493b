package v1

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/cluster"
	"github.com/sealgate/sealgate/internal/engine/cubbyhole"
	"github.com/sealgate/sealgate/internal/engine/kv"
	"github.com/sealgate/sealgate/internal/engine/transit"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/seals"
)

// federation is a cluster in one process, with real listeners.
type testCluster struct {
	t      testing.TB
	hub    *inmem.Hub
	nodes  []*testNode
	client *http.Client
	root   string
	init   initReply
}

// fellow is one node of it.
type testNode struct {
	f      *testCluster
	name   string
	node   *node.Node
	shared *api.Shared
	url    string
	api    http.Handler
	log    *safeBuffer
	trail  *safeBuffer // what the audit device wrote
}

// federate starts count nodes and initialises them. change may alter the API's configuration of
// each.
func federate(t testing.TB, count int, change ...func(*api.Config)) *testCluster {
	t.Helper()
	hub := inmem.NewHub()
	f := federateOn(t, count, func() storage.Store { return hub.Open() }, change...)
	f.hub = hub
	return f
}

// federateOn is federate on storage of any kind.
func federateOn(t testing.TB, count int, open func() storage.Store, change ...func(*api.Config)) *testCluster {
	t.Helper()
	f := &testCluster{t: t}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	f.client = &http.Client{Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	for range count {
		f.add(open(), change...)
	}
	code, body := f.nodes[0].do("PUT", "sys/init", `{"recovery_shares":3,"recovery_threshold":2}`)
	if code != http.StatusOK {
		t.Fatalf("init: %d %s", code, body)
	}
	if err := json.Unmarshal([]byte(body), &f.init); err != nil {
		t.Fatal(err)
	}
	f.root = f.init.RootToken
	f.settled()
	return f
}

func (f *testCluster) add(store storage.Store, change ...func(*api.Config)) *testNode {
	t := f.t
	t.Helper()
	n := &testNode{f: f, name: fmt.Sprintf("n%d", len(f.nodes)), log: &safeBuffer{}, trail: &safeBuffer{}}
	log := slog.New(slog.NewTextHandler(n.log, nil))
	set, err := seals.NewSet([]seals.Seal{autoSeal(t)}, seals.Options{})
	if err != nil {
		t.Fatal(err)
	}
	trail, err := audit.New(audit.Options{Stdout: n.trail, Log: log, Declared: []audit.Config{
		{Path: "out/", Type: "file", Options: map[string]string{"file_path": "stdout"}, Declared: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var h http.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	n.url = front.URL
	n.node, err = node.New(node.Config{
		Store: store, StorageType: "inmem", Seals: set, Log: log, Trail: trail, AuthMethods: authMethodsOf(time.Now),
		Engines: map[string]mount.Factory{
			"kv": kv.Factory(kv.Options{}), "cubbyhole": cubbyhole.New, "transit": transit.New,
		},
		Mounts: []mount.Entry{mount.DevMount("2")},
		Cluster: &ha.Member{ID: n.name, Hostname: n.name, Version: "1.2.3", APIAddr: n.url,
			ClusterAddr: "https://" + listener.Addr().String()},
		Timing: node.Timing{
			Probe: time.Hour, RetryMin: 2 * time.Millisecond, RetryMax: 20 * time.Millisecond, Stagger: time.Millisecond,
			Pause: 50 * time.Millisecond, Echo: 10 * time.Millisecond,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.shared = api.NewShared(nil, log)
	c := api.Config{Node: n.node, Version: "1.2.3", Log: log, Trail: trail, Shared: n.shared}
	for _, do := range change {
		do(&c)
	}
	h = New(c)
	n.api = h
	peers := cluster.NewServer(listener, n.node.Cluster().ClusterIdentity, NewPeer(c), log)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.node.Run(ctx) })
	wg.Go(func() {
		if err := peers.Serve(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		front.Close()
		cancel()
		end, done := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer done()
		_ = peers.Shutdown(end) // others may still hold connections
		wg.Wait()
		if err := trail.Close(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	f.nodes = append(f.nodes, n)
	return n
}

// leader waits for the node that leads.
func (f *testCluster) leader() *testNode {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, n := range f.nodes {
			if l := n.node.Cluster().Leader(); l != nil && l.Self {
				if a, err := n.node.Role(); err == nil && !a.Standby() && a.Held() == nil {
					return n
				}
			}
		}
	}
	f.t.Fatal("no leader")
	return nil
}

// settled waits until all others follow the leader and know where it is, and gives leader and
// standbys.
func (f *testCluster) settled() (leader *testNode, standbys []*testNode) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		leader, standbys = f.leader(), nil
		for _, n := range f.nodes {
			l := n.node.Cluster().Leader()
			if a, err := n.node.Role(); n != leader && err == nil && a.Standby() && l != nil && l.ID == leader.name &&
				a.Current(f.t.Context()) == nil {
				standbys = append(standbys, n)
			}
		}
		if len(standbys) == len(f.nodes)-1 {
			return leader, standbys
		}
	}
	f.t.Fatal("the cluster does not settle")
	return nil, nil
}

// do sends a request to this node with the root token; header is pairs.
func (n *testNode) do(method, path, body string, header ...string) (int, string) {
	n.f.t.Helper()
	a, err := n.send(method, path, body, header...)
	if err != nil {
		n.f.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		n.f.t.Fatal(err)
	}
	return a.StatusCode, string(bytes.TrimSpace(b))
}

func (n *testNode) send(method, path, body string, header ...string) (*http.Response, error) {
	r, err := http.NewRequest(method, n.url+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if n.f.root != "" {
		r.Header.Set("X-Vault-Token", n.f.root)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return n.f.client.Do(r)
}

// answer sends a request and decodes what comes, which must be a success.
func (n *testNode) answer(method, path, body string, header ...string) map[string]any {
	n.f.t.Helper()
	code, text := n.do(method, path, body, header...)
	if code/100 != 2 {
		n.f.t.Fatalf("%s %s at %s: %d %s", method, path, n.name, code, text)
	}
	var out map[string]any
	if text != "" {
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			n.f.t.Fatalf("%v in %s", err, text)
		}
	}
	return out
}

// audited reports whether this node has an entry about a path.
func (n *testNode) audited(path string) bool {
	return strings.Contains(n.trail.String(), `"path":"`+path+`"`)
}

func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}} }
