package adversary

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sealgate/sealgate/internal/e2e"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/seals"
)

// binary is the real program with the race detector, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sealgate-adversary-")
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

const (
	staticSeal = "seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = " +
		"\"5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c\"\n}\n"
	shamirSeal = ""
	prefix     = "/sealgate/data/" // of the store's keys in etcd
)

// target is a server on a real etcd, and what its operator and its attacker hold.
type target struct {
	*e2e.Server
	t      *testing.T
	etcd   *clientv3.Client // the stolen credential
	root   string
	shares []string
}

// newTarget starts a server under a seal and initialises it with three shares, two needed.
func newTarget(t *testing.T, seal, more string) *target {
	t.Helper()
	return newTargetOf(t, seal, more, 3)
}

func newTargetOf(t *testing.T, seal, more string, shares int) *target {
	t.Helper()
	return newTargetBuilt(t, binary, seal, more, shares)
}

// newTargetBuilt takes a program that was built in another way.
func newTargetBuilt(t *testing.T, binary, seal, more string, shares int) *target {
	t.Helper()
	cluster := etcdtest.Start(t, etcdtest.Options{Members: 1})
	addr, err := e2e.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	peers, err := e2e.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	a := &target{
		Server: &e2e.Server{Bin: binary, Dir: t.TempDir(), Addr: addr}, t: t, etcd: cluster.Client(),
	}
	config := e2e.OnEtcd(cluster.Endpoints[0]) + fmt.Sprintf("listener \"tcp\" {\n  address = %q\n"+
		"  tls_disable = true\n}\napi_addr = \"http://%s\"\ncluster_addr = \"https://%s\"\n%s%s",
		addr, addr, peers, seal, more)
	if err := a.WriteConfig(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.Pid() != 0 {
			if err := a.Stop(); err != nil {
				t.Errorf("%v", err)
			}
		}
		if strings.Contains(a.Log(), "WARNING: DATA RACE") {
			t.Errorf("the server raced:\n%s", a.Log())
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", a.Log())
		}
	})
	a.start()
	a.init(seal == shamirSeal, shares)
	return a
}

func (a *target) start() {
	a.t.Helper()
	if err := a.Start(); err != nil {
		a.t.Fatal(err)
	}
	if err := a.UntilUp(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *target) init(shamir bool, shares int) {
	a.t.Helper()
	body := map[string]int{"recovery_shares": shares, "recovery_threshold": min(shares, 2)}
	if shamir {
		body = map[string]int{"secret_shares": 3, "secret_threshold": 2}
	}
	var out struct {
		Keys         []string `json:"keys"`
		RecoveryKeys []string `json:"recovery_keys"`
		RootToken    string   `json:"root_token"`
	}
	a.must(200, "PUT", "sys/init", "", body, &out)
	a.root, a.shares = out.RootToken, append(out.Keys, out.RecoveryKeys...)
	if shamir {
		a.unseal(a.shares...)
	}
	if err := a.UntilUnsealed(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *target) unseal(shares ...string) {
	a.t.Helper()
	for _, s := range shares[:2] {
		a.do("PUT", "sys/unseal", "", map[string]string{"key": s})
	}
}

// do sends a request with a token, "" for none.
func (a *target) do(method, path, token string, body any) e2e.Reply {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 30*time.Second)
	defer cancel()
	r, err := a.Do(ctx, method, path, token, body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

func (a *target) must(code int, method, path, token string, body, into any) {
	a.t.Helper()
	r := a.do(method, path, token, body)
	if r.Code != code {
		a.t.Fatalf("%s %s: %d %s, want %d", method, path, r.Code, r.Body, code)
	}
	if into != nil {
		if err := json.Unmarshal(r.Body, into); err != nil {
			a.t.Fatal(err)
		}
	}
}

// stored reads an entry with the stolen credential.
func (a *target) stored(key string) []byte {
	a.t.Helper()
	r, err := a.etcd.Get(a.t.Context(), prefix+key)
	if err != nil {
		a.t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return nil
	}
	return r.Kvs[0].Value
}

// overwrite writes an entry with the stolen credential.
func (a *target) overwrite(key string, value []byte) {
	a.t.Helper()
	if _, err := a.etcd.Put(a.t.Context(), prefix+key, string(value)); err != nil {
		a.t.Fatal(err)
	}
}

// record reads the sealed record, which is not encrypted.
func (a *target) record() *seals.Record {
	a.t.Helper()
	r, err := seals.UnmarshalRecord(a.stored("core/seal"))
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// forge changes the sealed record.
func (a *target) forge(change func(*seals.Record)) {
	a.t.Helper()
	r := a.record()
	change(r)
	raw, err := r.Marshal()
	if err != nil {
		a.t.Fatal(err)
	}
	a.overwrite("core/seal", raw)
}

func healthy(h e2e.Health, code int) bool { return code == 200 && !h.Sealed }
