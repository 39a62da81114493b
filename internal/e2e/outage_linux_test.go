package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

func init() { etcdtest.Serve() }

// sockets returns a storage stanza with a listener on a unix socket for each node, and the path of
// each.
func sockets(t *testing.T, count int, stanza func(i int) string) (func(i int) string, []string) {
	var paths []string
	for i := range count {
		paths = append(paths, filepath.Join(t.TempDir(), fmt.Sprint(i)))
	}
	return func(i int) string {
		return stanza(i) + fmt.Sprintf("listener \"unix\" {\n  address = %q\n}\n", paths[i])
	}, paths
}

// storageState is what a node says of its storage.
type storageState struct {
	Sealed  bool `json:"sealed"`
	Failure struct {
		Class  string `json:"class"`
		Remedy string `json:"remedy"`
		Cause  string `json:"cause"`
	} `json:"storage_failure"`
}

// bySocket asks a node's sys/seal-status on its unix socket.
func bySocket(ctx context.Context, path string) (st storageState, err error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://socket/v1/sys/seal-status", nil)
	if err != nil {
		return st, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(body, &st)
}

// reports checks that every node reports an outage by class, and to a client on its unix socket
// with the cause, and that requests are refused with the class soon.
func (f *Cluster) reports(t *testing.T, sockets []string, class, cause, address string) {
	t.Helper()
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range f.Nodes {
		wg.Go(func() {
			// A call that meets a deadline on a busy machine is unresponsive until the next one fails.
			for wrong := "?"; wrong != ""; time.Sleep(20 * time.Millisecond) {
				if wrong = f.misreports(t, i, sockets[i], class, cause, address); time.Since(begun) > patience {
					t.Errorf("node %d: %s", i, wrong)
					return
				}
			}
			promised(t, fmt.Sprintf("node %d reports %q", i, class), time.Since(begun), 5*time.Second)
			for _, method := range []string{"GET", "POST"} {
				for begun := time.Now(); !f.refuses(t, i, method, class, address); time.Sleep(20 * time.Millisecond) {
					if time.Since(begun) > patience {
						t.Errorf("node %d: no refusal of a %s names %q", i, method, class)
						break
					}
				}
			}
		})
	}
	wg.Wait()
}

// misreports returns what a node does not report of an outage, or reports otherwise.
func (f *Cluster) misreports(t *testing.T, i int, socket, class, cause, address string) string {
	t.Helper()
	h, _, err := f.Nodes[i].Health(t.Context())
	if err != nil || h.StorageFailure != class {
		return fmt.Sprintf("health says %q, %v; want %q", h.StorageFailure, err, class)
	}
	var st storageState
	r, err := f.Nodes[i].Do(t.Context(), "GET", "sys/seal-status", "", nil)
	if address != "" && strings.Contains(string(r.Body), address) {
		t.Errorf("node %d: seal-status shows the address to a stranger: %s", i, r.Body)
	}
	if err != nil || json.Unmarshal(r.Body, &st) != nil || st.Failure.Class != class || st.Failure.Remedy == "" {
		return fmt.Sprintf("seal-status for a stranger: %d %s, %v", r.Code, r.Body, err)
	}
	if st, err = bySocket(t.Context(), socket); err != nil || st.Failure.Class != class ||
		!strings.Contains(st.Failure.Cause, cause) || !strings.Contains(st.Failure.Cause, address) {
		return fmt.Sprintf("seal-status on the unix socket: %+v, %v; want %q", st, err, cause)
	}
	return ""
}

// refuses sends a request, which must be refused, and returns whether the refusal names the class.
func (f *Cluster) refuses(t *testing.T, i int, method, class, address string) bool {
	t.Helper()
	var body any
	if method == "POST" {
		body = `{"data":{"v":"x"}}`
	}
	begun := time.Now()
	r, err := f.Nodes[i].Do(t.Context(), method, "kv/data/outage", f.Root, body)
	took := time.Since(begun)
	if method == "GET" && err == nil && r.Code == http.StatusOK {
		return true // a full storage answers reads while a leader holds its lease
	}
	says := string(r.Body)
	if err != nil || r.Code != http.StatusServiceUnavailable || address != "" && strings.Contains(says, address) {
		t.Errorf("node %d: %s: %d %s, %v; want 503 with %q", i, method, r.Code, r.Body, err, class)
	}
	promised(t, fmt.Sprintf("node %d refuses a %s", i, method), took, 3*time.Second)
	return strings.Contains(says, class) || strings.Contains(says, "no space is left in storage")
}

// recovers waits until no node reports an outage, and checks that every node takes a write.
func (f *Cluster) recovers(t *testing.T) {
	t.Helper()
	f.Settled()
	for i, node := range f.Nodes {
		// PgBouncer refuses for 15 s after a server that it could not reach.
		if err := node.Until(patience, "without an outage", func(h Health, _ int) bool {
			return h.StorageFailure == ""
		}); err != nil {
			t.Error(err)
		}
		r, err := node.Do(t.Context(), "POST", "kv/data/outage", f.Root, `{"data":{"v":"x"}}`)
		if err != nil || r.Code != http.StatusOK {
			t.Errorf("node %d, after the storage works again: %d %s, %v", i, r.Code, r.Body, err)
		}
	}
}

// TestOutageOfEtcd: three etcd members reach their quota, require a user, and end. Every node says
// which it is, and serves again when it is over.
func TestOutageOfEtcd(t *testing.T) {
	t.Parallel()
	members := etcdtest.StartProcesses(t)
	stanza, paths := sockets(t, 3, func(int) string {
		return OnEtcd(members.Endpoints...)
	})
	f := NewCluster(t, binary, stanza, 3)
	f.Begin()
	f.recovers(t)
	address := strings.TrimPrefix(members.Endpoints[0], "http://")

	members.Full(true)
	f.reports(t, paths, "full", "alarm disarm", address)
	members.Full(false)
	f.recovers(t)

	client := members.Client()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, step := range []func() error{
		func() error { _, err := client.UserAdd(ctx, "root", etcdtest.RootPassword); return err },
		func() error { _, err := client.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := client.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	f.reports(t, paths, "denied", "set username and password", "")
	members.AuthDisable()
	f.recovers(t)

	for i := range members.Endpoints {
		members.Kill(i)
	}
	f.reports(t, paths, "unreachable", "connection refused", address)
	for i := range members.Endpoints {
		members.Start(i)
	}
	f.recovers(t)
}

// TestOutageByCertificate: etcd has a certificate of an unknown CA from one moment on.
func TestOutageByCertificate(t *testing.T) {
	t.Parallel()
	server := etcdtest.Start(t, etcdtest.Options{TLS: true, NoSync: true})
	stanza, paths := sockets(t, 2, func(int) string {
		return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n"+lease+"  tls_ca_file = %q\n  tls_cert_file = %q\n"+
			"  tls_key_file = %q\n}\n", server.Endpoints[0], server.CAFile, server.CertFile, server.KeyFile)
	})
	f := NewCluster(t, binary, stanza, 2)
	f.Begin()
	server.ReplaceCertificate()
	server.Proxy(0).Cut()
	f.reports(t, paths, "certificate", "set tls_ca_file", strings.TrimPrefix(server.Endpoints[0], "https://"))
}

// TestOutageOfPostgres: the database ends, takes no writes, and refuses the user. Two nodes are
// connected directly, one by PgBouncer.
func TestOutageOfPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	database := server.Database(t)
	stanza, paths := sockets(t, 3, func(i int) string {
		url := database
		if i == 2 {
			url = pgtest.Bouncer(t, database)
		}
		return OnPostgres(url)
	})
	f := NewCluster(t, binary, stanza, 3)
	f.Begin()
	f.recovers(t)

	server.Exec(t, "postgres", "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
	f.reports(t, paths, "read-only", "takes no writes", "")
	server.Exec(t, "postgres", "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
	f.recovers(t)

	server.Kill(t)
	f.reports(t, paths, "unreachable", "", "")
	server.Restart(t)
	f.recovers(t)
}

// TestFrozenEtcdMember: one etcd member of three is stopped by SIGSTOP, which keeps its
// connections. No request fails. While a follower is frozen the leadership stays where it is; while
// etcd's leader is, etcd elects another one first.
func TestFrozenEtcdMember(t *testing.T) {
	t.Parallel()
	members := etcdtest.StartProcesses(t)
	f := NewCluster(t, binary, func(int) string {
		return OnEtcd(members.Endpoints...)
	}, 3)
	f.Begin()
	f.recovers(t)
	everywhere := func() []int { return f.Others(-1) }
	for i := range members.Endpoints {
		leader, leading := f.Settled(), members.Leader()
		stop := f.gaps(everywhere)
		members.Freeze(i)
		time.Sleep(6 * time.Second) // longer than every timeout of the lease and of etcd's election
		members.Thaw(i)
		gap, failed := stop()
		kind, most := "a follower", 1500*time.Millisecond
		if i == leading {
			kind, most = "the leader", 8*time.Second
		} else if now := f.Settled(); now != leader {
			t.Errorf("the leadership moved from node %d to %d", leader, now)
		}
		promised(t, "the slowest request while "+kind+" of etcd is frozen", gap, most)
		if failed > 0 {
			t.Errorf("%s of etcd was frozen: %d requests failed", kind, failed)
		}
		f.Settled()
	}
}

// gaps sends reads and writes through nodes until stop is called, which returns the time of the
// slowest request and how many failed.
func (f *Cluster) gaps(nodes func() []int) (stop func() (slowest time.Duration, failed int)) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var slowest time.Duration
	var failed int
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
				begun := time.Now()
				r, err := f.Nodes[i].Do(context.Background(), method, fmt.Sprintf("kv/data/load%d", w), f.Root, body)
				took := time.Since(begun)
				mu.Lock()
				slowest = max(slowest, took)
				if err != nil || r.Code != http.StatusOK {
					failed++
					f.t.Logf("%s at node %d: %d %s, %v", method, i, r.Code, r.Body, err)
				}
				mu.Unlock()
			}
		})
	}
	return func() (time.Duration, int) {
		cancel()
		wg.Wait()
		return slowest, failed
	}
}
