package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// diagnosis is what doctor prints with -format=json.
type diagnosis struct {
	Result   string `json:"result"`
	Findings []struct {
		Area, About, Level, Place, Text, Class, Remedy string
	} `json:"findings"`
}

// doctor checks the harness's configuration, and compares the exit code with the findings.
func (r *harness) doctor(extra ...string) diagnosis {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	res, err := r.CLI(ctx, "", "", append([]string{"doctor", "-config=sealgate.hcl", "-format=json"}, extra...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.known.mu.Lock()
	for text, what := range r.known.all {
		if strings.Contains(res.Out+res.Err, text) {
			r.t.Errorf("doctor prints %s", what)
		}
	}
	r.known.mu.Unlock()
	var d diagnosis
	if err := json.Unmarshal([]byte(res.Out), &d); err != nil {
		r.t.Fatalf("%v: %s %s", err, res.Out, res.Err)
	}
	worst := 0
	for _, f := range d.Findings {
		worst = max(worst, map[string]int{"warning": 1, "error": 2}[f.Level])
		if f.Level != "ok" && f.Remedy == "" {
			r.t.Errorf("no remedy: %+v", f)
		}
	}
	if res.Code != worst {
		r.t.Errorf("exit code %d with findings up to %d", res.Code, worst)
	}
	return d
}

// has fails where no finding of an area says something.
func (d diagnosis) has(t *testing.T, level, area, text string) {
	t.Helper()
	for _, f := range d.Findings {
		if f.Level == level && f.Area == area && strings.Contains(f.Class+" "+f.Text, text) {
			return
		}
	}
	t.Errorf("no %s of %s says %q: %+v", level, area, text, d.Findings)
}

// sound fails for what is wrong, but for the machine's own limits.
func (d diagnosis) sound(t *testing.T) {
	t.Helper()
	for _, f := range d.Findings {
		if f.Level != "ok" && f.Area != "process" && !strings.Contains(f.Text, "MiB are free") {
			t.Errorf("%+v", f)
		}
	}
}

// inventory lists a folder: names, modes, sizes and times.
func inventory(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDoctor: before the first start, while the server runs, and after it was killed, doctor finds
// what there is and changes nothing.
func TestDoctor(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	tokens := filepath.Join(r.token.Dir, "tokens")
	objects := func() string {
		// SoftHSM's own files beside them change when it looks
		found, err := filepath.Glob(filepath.Join(tokens, "*", "*.object"))
		if err != nil || len(found) == 0 {
			t.Fatal(found, err)
		}
		return strings.Join(found, "\n")
	}
	before := objects()
	d := r.doctor()
	d.sound(t)
	d.has(t, "ok", "listener", "the address is free")
	d.has(t, "ok", "storage", "does not exist yet")
	d.has(t, "ok", "seal", "the server will generate it")
	if objects() != before {
		t.Error("an object was made on the token")
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "data")); err == nil {
		t.Error("a data folder was made")
	}

	r.mustStart()
	r.mustInit()
	r.eventually(patience, "sure of its seal", func() bool { return r.status().Seals[0].WouldUnseal })
	d = r.doctor()
	d.sound(t)
	d.has(t, "ok", "listener", "a Sealgate server")
	d.has(t, "ok", "storage", "the running server has it open")
	d.has(t, "ok", "seal", "the running server decrypted the stored root key with it")

	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(r.Dir, "data")
	before = inventory(t, data)
	d = r.doctor()
	d.sound(t)
	d.has(t, "ok", "seal", "refuses other additional data")
	d.has(t, "ok", "seal", "it decrypts the stored root key")
	if inventory(t, data) != before {
		t.Error("the storage changed")
	}
	if err := r.token.Away(); err != nil {
		t.Fatal(err)
	}
	d = r.doctor()
	d.has(t, "error", "seal", "its token cannot be found")
	d.has(t, "error", "seal", "0 seals decrypt the stored root key, and 1 are needed")
	if err := r.token.Back(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
}

// TestDoctorAndPINs: a wrong PIN is sent once; that it was sent is seen before the next one is.
func TestDoctorAndPINs(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	onToken(t, r.token, "make", "aes", "root")
	right := map[string]string{"lib": r.token.Lib, "token_label": r.token.Label, "pin": r.token.PIN, "key_label": "root"}
	r.Env = []string{"SOFTHSM2_CONF=" + r.token.ConfigPath}
	const wrong = "919191919191"
	r.known.add("the wrong PIN", wrong)
	r.configure(stanza(with(right, "pin", wrong)))
	d := r.doctor()
	d.has(t, "ok", "seal", "all of its tries")
	d.has(t, "error", "seal", "denied its key cannot be found")
	d.has(t, "warning", "files", "pin is unencrypted")
	r.configure(stanza(right))
	d = r.doctor()
	d.has(t, "warning", "seal", "CKF_USER_PIN_COUNT_LOW")
	d.has(t, "ok", "seal", "it wraps")
	r.doctor().has(t, "ok", "seal", "all of its tries")
}

// TestDoctorOnBrokenConfigurations: the real program on configurations that are broken, one after
// the other.
func TestDoctorOnBrokenConfigurations(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() }) // the subtests are parallel
	const box = "seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = \"file://key\"\n}\n"
	for _, c := range []struct {
		name, text        string
		level, area, says string
	}{
		{"misspelt", "storage \"bbolt\" { path = \"data\" }\nlistener \"tcp\" { adress = \"127.0.0.1:0\" }\n", "error",
			"configuration", `did you mean "address"?`},
		{"taken", Config(taken.Addr().String(), box), "error", "listener", "a program that is not a Sealgate server"},
		{"no certificate", "storage \"bbolt\" { path = \"data\" }\nlistener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  " +
			"tls_cert_file = \"none.crt\"\n  tls_key_file = \"none.key\"\n}\n" + box,
			"error", "tls", "no such file"},
		{"no key", Config("127.0.0.1:0", strings.Replace(box, "file://key", "file://none", 1)), "error", "seal",
			"misconfigured it cannot be configured"},
		{"no library",
			Config("127.0.0.1:0", stanza(map[string]string{"lib": "/nowhere/lib.so", "token_label": "t", "pin": "env://NO_PIN",
				"key_label": "k"})),
			"error", "seal", "NO_PIN"},
		{"no audit folder",
			Config("127.0.0.1:0", box+"audit \"file\" \"a\" {\n options { file_path = \"none/audit.log\" }\n}\n"), "error",
			"audit", "does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newHarness(t, t.TempDir(), "")
			if err := os.WriteFile(filepath.Join(r.Dir, "key"), []byte(strings.Repeat("5c", 32)), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := r.WriteConfig(c.text); err != nil {
				t.Fatal(err)
			}
			r.doctor("-timeout=2s").has(t, c.level, c.area, c.says)
		})
	}
	r := newHarness(t, t.TempDir(), "")
	for _, args := range [][]string{{"doctor"}, {"doctor", "-config=x", "y"}, {"doctor", "-config=x", "-format=xml"},
		{"doctor", "-bogus"}} {
		if res, err := r.CLI(t.Context(), "", "", args...); err != nil || res.Code != 2 || res.Err == "" {
			t.Errorf("%q: %d %q %v", args, res.Code, res.Err, err)
		}
	}
}

// TestRewrapOfARotatedKey: a static key that was replaced is needed no more as soon as the server
// has started with both, without a request; then it starts with the new one alone.
func TestRewrapOfARotatedKey(t *testing.T) {
	t.Parallel()
	first, second := strings.Repeat("5c", 32), strings.Repeat("6d", 32)
	r := newHarness(t, t.TempDir(), "seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = "+
		"\""+first+"\"\n}\n")
	r.mustStart()
	r.mustInit()
	r.mustPut("a", "kept")
	restart := func(seal string) {
		t.Helper()
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteConfig(Config(r.Addr, seal)); err != nil {
			t.Fatal(err)
		}
		r.mustStart()
		if err := r.UntilUnsealed(); err != nil {
			t.Fatal(err)
		}
		r.mustGet("a", "kept")
	}
	seals := func() string {
		t.Helper()
		res, err := r.CLI(t.Context(), r.root, "", "operator", "seal-status")
		if err != nil || res.Code == 1 {
			t.Fatalf("%d %s %v", res.Code, res.Err, err)
		}
		return res.Out
	}
	both := "seal \"static\" \"box\" {\n  current_key_id = \"k2\"\n  current_key = \"" + second +
		"\"\n  previous_key_id = \"k1\"\n  previous_key = \"" + first + "\"\n}\n"
	restart(both)
	r.eventually(patience, "wrapped by the new key", func() bool {
		out := seals()
		return strings.Contains(out, " k2 ") && !strings.Contains(out, " k1 ")
	})
	if n := strings.Count(r.Log(), "new_key=k2"); n != 1 || !strings.Contains(r.Log(), "old_key=k1") {
		t.Errorf("the log reports it %d times", n)
	}
	restart("seal \"static\" \"box\" {\n  current_key_id = \"k2\"\n  current_key = \"" + second + "\"\n}\n")
}

// TestDoctorDeep names every damaged entry of a stopped server, and says when it could not scan.
func TestDoctorDeep(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	for _, key := range []string{"first", "victim-entry", "other-victim", "last"} {
		r.mustPut(key, "value of "+key)
	}
	r.doctor("-deep").has(t, "warning", "storage", "were not scanned")
	r.mustStop()
	r.doctor("-deep").has(t, "ok", "storage", "entries match their checksums")
	whole, err := os.ReadFile(r.dataFile())
	if err != nil {
		t.Fatal(err)
	}
	r.damage(whole, "victim-entry", "other-victim")
	d := r.doctor("-deep")
	d.has(t, "error", "storage", "2 of ")
	d.has(t, "error", "storage", "victim-entry")
	d.has(t, "error", "storage", "other-victim")
	if err := os.WriteFile(r.dataFile(), whole[:20000], 0o600); err != nil {
		t.Fatal(err)
	}
	r.doctor().has(t, "error", "storage", "sealgate.db.damaged")
	if err := os.WriteFile(r.dataFile(), whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDoctorDeepOnDatabases: with the seals of the configuration doctor decrypts every entry of a
// database that keeps no checksums, beside the server that runs on it, and names those that
// somebody has changed there.
func TestDoctorDeepOnDatabases(t *testing.T) {
	t.Parallel()
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		c := etcdtest.Start(t, etcdtest.Options{NoSync: true})
		f := NewCluster(t, binary, func(int) string {
			return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n}\n", c.Direct[0])
		}, 1)
		checkDeep(t, f, func() {
			client := c.Client()
			all, err := client.Get(t.Context(), "", clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range all.Kvs {
				if bytes.HasSuffix(kv.Key, []byte("victim-entry")) {
					kv.Value[len(kv.Value)-1] ^= 1
					if _, err := client.Put(t.Context(), string(kv.Key), string(kv.Value)); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	})
	t.Run("postgresql", func(t *testing.T) {
		t.Parallel()
		url := pgtest.Database(t)
		f := NewCluster(t, binary, func(int) string {
			return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\n", url)
		}, 1)
		checkDeep(t, f, func() {
			pgtest.Exec(t, url, "UPDATE "+postgres.DefaultTable+" SET value = set_byte(value, length(value)-1, "+
				"get_byte(value, length(value)-1) # 1) WHERE key LIKE '%victim-entry'")
		})
	})
}

func checkDeep(t *testing.T, f *Cluster, damage func()) {
	t.Helper()
	f.Begin()
	r := &harness{Server: f.Nodes[0], t: t}
	f.Must(0, "POST", "sys/mounts/plain", `{"type":"kv"}`, nil)
	for _, name := range []string{"first", "victim-entry", "last"} {
		f.Must(0, "PUT", "plain/"+name, `{"a":"b"}`, nil)
	}
	r.doctor("-deep").has(t, "ok", "storage", "entries decrypt")
	damage()
	d := r.doctor("-deep")
	d.has(t, "error", "storage", "1 of ")
	d.has(t, "error", "storage", "victim-entry")
}

// TestDoctorOnOutages: doctor names the class of an outage and a connection pooler.
func TestDoctorOnOutages(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	database := server.Database(t)
	f := NewCluster(t, binary, func(int) string {
		return OnPostgres(pgtest.Bouncer(t, database))
	}, 1)
	f.Begin()
	r := &harness{Server: f.Nodes[0], t: t}
	r.doctor().has(t, "warning", "storage", "connection pooler")
	server.Kill(t)
	failing := func(h Health, _ int) bool { return h.StorageFailure != "" }
	if err := r.Until(patience, "in an outage", failing); err != nil {
		t.Fatal(err)
	}
	r.doctor("-timeout=3s").has(t, "error", "storage", "the running server's calls of it fail: unreachable")
}
