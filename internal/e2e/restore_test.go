package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
	r.eventually(20*time.Second, "no warning after it was added", func() bool { return !warns() })
	before := len(r.Log())
	r.run(0, "", "operator", "snapshot", "restore", file)
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	if !warns() {
		t.Errorf("seal-status: %s", r.call("GET", "sys/seal-status", nil).Body)
	}
	r.eventually(10*time.Second, "the log says it", func() bool {
		return strings.Contains(r.Log()[before:], "not wrapped by the configured seal")
	})
	r.run(0, "", "operator", "seals", "add", "second")
	r.eventually(20*time.Second, "no warning after it was added again", func() bool { return !warns() })
}
