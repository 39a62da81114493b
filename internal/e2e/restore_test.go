package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// TestWayBackFromALostStorage does what internal/storage/README.md says, under three kinds of
// seals.
func TestWayBackFromALostStorage(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]struct {
		make   func(t *testing.T) *harness
		seal   string // as inspect shows it
		shamir bool
	}{
		"static": {make: newStaticHarness, seal: `static "box", key k1`},
		"pkcs11": {make: func(t *testing.T) *harness { return newHSMHarness(t, "") }, seal: `pkcs11 "hsm", key `},
		"shamir": {make: newShamirHarness, seal: "shamir", shamir: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := kind.make(t)
			r.mustStart()
			var shares []string
			if kind.shamir {
				shares = r.runInit("-key-shares=3", "-key-threshold=2")
				r.unsealBy(shares[:2])
				r.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
			} else {
				r.mustInit()
			}
			r.mustPut("a", "kept")
			file := filepath.Join(t.TempDir(), "last.snap")
			r.run(0, "", "operator", "snapshot", "save", file)
			r.mustStop()
			whole, err := os.ReadFile(r.dataFile())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(r.dataFile(), whole[:20000], 0o600); err != nil {
				t.Fatal(err)
			}
			r.exits("move it away", "sealgate.db.damaged", "operator snapshot restore")

			if err := os.Rename(r.dataFile(), r.dataFile()+".damaged"); err != nil {
				t.Fatal(err)
			}
			if out, _ := r.run(0, "", "operator", "snapshot", "inspect", file); !strings.Contains(out, kind.seal) {
				t.Errorf("inspect does not name the seal %s:\n%s", kind.seal, out)
			}
			r.mustStart()
			if st := r.status(); st.Initialized {
				t.Fatalf("the empty server: %+v", st)
			}
			root := r.root
			r.root = ""
			r.run(0, "", "operator", "snapshot", "restore", file)
			r.root = root
			if kind.shamir {
				r.unsealBy(shares[1:])
			}
			if err := r.UntilUnsealed(); err != nil {
				t.Fatal(err)
			}
			r.mustGet("a", "kept")
			r.mustPut("b", "new")
			reply := r.call("PUT", "sys/storage/raft/snapshot-init", nil)
			if reply.Code != 400 || !strings.Contains(string(reply.Body), "already initialized") {
				t.Errorf("a second time: %d %s", reply.Code, reply.Body)
			}
			if now, err := os.ReadFile(r.dataFile() + ".damaged"); err != nil || !bytes.Equal(now, whole[:20000]) {
				t.Errorf("the damaged file was changed: %v", err)
			}
		})
	}
}

// TestRestoreOfAStrangersSnapshot: an empty server takes no snapshot that its seals do not open,
// and stays empty.
func TestRestoreOfAStrangersSnapshot(t *testing.T) {
	t.Parallel()
	other := newHSMHarness(t, "")
	other.mustStart()
	other.mustInit()
	foreign := filepath.Join(t.TempDir(), "foreign.snap")
	other.run(0, "", "operator", "snapshot", "save", foreign)
	r := newStaticHarness(t)
	r.mustStart()
	_, errs := r.run(2, "", "operator", "snapshot", "restore", foreign)
	if !strings.Contains(errs, "nothing was changed") {
		t.Errorf("restore says %q", errs)
	}
	if st := r.status(); st.Initialized {
		t.Error("a refused snapshot initialised the server")
	}
	r.mustInit()
}

// unsealBy gives shares.
func (r *harness) unsealBy(shares []string) {
	r.t.Helper()
	for _, share := range shares {
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": share})
	}
}

// TestRestoreWrappedByFewerSeals: a snapshot from before the second seal was added is restored. The
// status and the log say at once that this seal would not unseal the server, until it is added.
func TestRestoreWrappedByFewerSeals(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	file := filepath.Join(t.TempDir(), "before.snap")
	r.run(0, "", "operator", "snapshot", "save", file)
	r.addConfig("seal \"static\" \"second\" {\n  current_key_id = \"k2\"\n  current_key = \"" + strings.Repeat("3b", 32) +
		"\"\n}\n")
	r.run(0, "", "operator", "seals", "add", "second")
	warns := func() bool {
		reply := r.call("GET", "sys/seal-status", nil)
		return strings.Contains(string(reply.Body), `not wrapped by the configured seal \"second\" (static)`) &&
			strings.Contains(string(reply.Body), "operator seals add second")
	}
	r.eventually(patience, "no warning after it was added", func() bool { return !warns() })
	before := len(r.Log())
	r.run(0, "", "operator", "snapshot", "restore", file)
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	if !warns() {
		t.Errorf("seal-status: %s", r.call("GET", "sys/seal-status", nil).Body)
	}
	r.eventually(patience, "the log says it", func() bool {
		return strings.Contains(r.Log()[before:], "not wrapped by the configured seal")
	})
	r.run(0, "", "operator", "seals", "add", "second")
	r.eventually(patience, "no warning after it was added again", func() bool { return !warns() })
}

// TestRestoreMeetsTheAnchor: who empties the storage cannot roll it back by a snapshot. The anchor
// refuses the older data, until an operator accepts it.
func TestRestoreMeetsTheAnchor(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.addConfig(fmt.Sprintf("anchor \"file\" {\n  path = %q\n}\n", filepath.Join(t.TempDir(), "anchor.json")))
	r.mustStart()
	r.mustInit()
	r.mustPut("a", "kept")
	file := filepath.Join(t.TempDir(), "older.snap")
	r.run(0, "", "operator", "snapshot", "save", file)
	r.must(204, "PUT", "sys/rotate", nil)
	r.must(204, "PUT", "sys/rotate/root", nil)
	r.mustStop()
	if err := os.Rename(r.dataFile(), r.dataFile()+".damaged"); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.run(0, "", "operator", "snapshot", "restore", file)
	r.acceptsRollback()
	r.mustGet("a", "kept")
}

// acceptsRollback waits until the log names the way past the anchor, and takes it.
func (r *harness) acceptsRollback() {
	r.t.Helper()
	const option = "-accept-rollback="
	r.eventually(patience, "the log names "+option, func() bool { return strings.Contains(r.Log(), option) })
	if h, code, err := r.Health(r.t.Context()); err != nil || code == 200 {
		r.t.Errorf("it is active with data that is older than its anchor: %d %+v, %v", code, h, err)
	}
	for _, path := range []string{"kv/a", "kv/data/a"} {
		if reply := r.call("GET", path, nil); reply.Code != 503 {
			r.t.Errorf("it answers with data that is older than its anchor: %d %s", reply.Code, reply.Body)
		}
	}
	_, rest, _ := strings.Cut(r.Log(), option)
	accept := strings.FieldsFunc(rest, func(c rune) bool { return strings.ContainsRune(" \"'\n\\;", c) })[0]
	r.mustStop()
	if err := r.Start(option + accept); err != nil {
		r.t.Fatal(err)
	}
	if err := r.UntilUnsealed(); err != nil {
		r.t.Fatal(err)
	}
}

// TestLostCommitsUnderARunningServer: the same under a server that runs, and has no anchor: it
// raises the alarm, reads its state again, and serves what is there.
func TestLostCommitsUnderARunningServer(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	database := server.Database(t)
	f := NewCluster(t, binary, func(int) string {
		return OnPostgres(database)
	}, 1)
	f.Begin()
	r := &harness{Server: f.Nodes[0], t: t, root: f.Root}
	const table = "vault_kv_store"
	suffixes := []string{"", "_seat", "_changes"}
	for _, suffix := range suffixes {
		pgtest.Exec(t, database, "CREATE TABLE image"+suffix+" AS TABLE "+table+suffix)
	}
	r.must(200, "POST", "kv/data/b", map[string]any{"data": map[string]string{"v": "acknowledged"}})
	if reply := r.call("GET", "sys/health", nil); strings.Contains(string(reply.Body), "lost_commits") {
		t.Errorf("before: %s", reply.Body)
	}
	var all []string
	for _, suffix := range suffixes {
		all = append(all, "TRUNCATE "+table+suffix, "INSERT INTO "+table+suffix+" SELECT * FROM image"+suffix)
	}
	pgtest.Exec(t, database, "BEGIN; "+strings.Join(all, "; ")+"; COMMIT")
	r.eventually(patience, "the alarm", func() bool {
		return strings.Contains(string(r.call("GET", "sys/health", nil).Body), `"storage_lost_commits":true`)
	})
	r.logs("ALARM: node: the storage lost commits that it had acknowledged")
	r.eventually(patience, "the state of the image", func() bool { return r.call("GET", "kv/data/b", nil).Code == 404 })
}

// TestLostAcknowledgedWrites: the database comes back as it was some acknowledged writes ago, such
// as a restored disk image. A node with an anchor says so and serves nothing.
func TestLostAcknowledgedWrites(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	database := server.Database(t)
	f := NewCluster(t, binary, func(int) string {
		return OnPostgres(database) + fmt.Sprintf("anchor \"file\" {\n  path = %q\n}\n",
			filepath.Join(t.TempDir(), "anchor.json"))
	}, 1)
	f.Begin()
	r := &harness{Server: f.Nodes[0], t: t, root: f.Root}
	r.must(200, "POST", "kv/data/a", map[string]any{"data": map[string]string{"v": "kept"}})
	r.mustStop()
	const table = "vault_kv_store"
	for _, suffix := range []string{"", "_seat", "_changes"} {
		pgtest.Exec(t, database, "CREATE TABLE image"+suffix+" AS TABLE "+table+suffix)
	}
	r.mustStart()
	f.Settled()
	r.must(200, "POST", "kv/data/b", map[string]any{"data": map[string]string{"v": "acknowledged"}})
	r.mustStop()
	r.mustStart() // the anchor is written at the start, and every minute
	f.Settled()
	r.mustStop()
	for _, suffix := range []string{"", "_seat", "_changes"} {
		pgtest.Exec(t, database, "TRUNCATE "+table+suffix, "INSERT INTO "+table+suffix+" SELECT * FROM image"+suffix)
	}
	r.mustStart()
	r.acceptsRollback()
	r.must(404, "GET", "kv/data/b", nil)
	r.must(200, "GET", "kv/data/a", nil)
}
