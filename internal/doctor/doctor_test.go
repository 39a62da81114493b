package doctor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
	"github.com/sealgate/sealgate/seals/static"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// planted stand in configurations and must show nowhere.
var planted = []string{strings.Repeat("5e", 32), "PIN-that-never-shows"}

// room is a folder with a configuration in it.
type room struct {
	t   *testing.T
	dir string
	Tools
}

func newRoom(t *testing.T) *room {
	t.Helper()
	return &room{t, t.TempDir(), Tools{
		Factories: map[string]seals.Factory{"static": static.New, "shamir": shamir.New},
		Open: func(ctx context.Context, s *config.Storage) (Reader, error) {
			if s.Type == "inmem" {
				return nil, nil
			}
			return bbolt.Peek(ctx, s.Path)
		},
		Deadline: 2 * time.Second,
	}}
}

// file writes one, and returns its path.
func (r *room) file(name, text string, mode fs.FileMode) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// run examines a configuration in which DIR is the folder; it fails the test where a secret shows
// or something changed.
func (r *room) run(text string) *Report {
	r.t.Helper()
	name := r.file("sealgate.hcl", strings.ReplaceAll(text, "DIR", r.dir), 0o600)
	return r.examine(name)
}

func (r *room) examine(paths ...string) *Report {
	r.t.Helper()
	before := snapshot(r.t, r.dir)
	report := Run(r.t.Context(), paths, r.Tools)
	if after := snapshot(r.t, r.dir); len(after) != len(before) {
		r.t.Errorf("files were made or removed: %d, now %d", len(before), len(after))
	} else {
		for name, sum := range before {
			if after[name] != sum {
				r.t.Errorf("%s changed", name)
			}
		}
	}
	shown, err := json.Marshal(report)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range planted {
		if strings.Contains(string(shown), s) {
			r.t.Error("a secret shows")
		}
	}
	for _, f := range report.Findings {
		if f.Text == "" || f.Level != OK && f.Remedy == "" {
			r.t.Errorf("a finding without text or remedy: %+v", f)
		}
	}
	return report
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		sums[path] = info.Mode().String() + info.ModTime().String()
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(b)
			sums[path] += string(sum[:])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

// want checks for a finding and for the exit code that follows from it.
func want(t *testing.T, r *Report, level Level, area, text string) Finding {
	t.Helper()
	for _, f := range r.Findings {
		if f.Level == level && f.Area == area && strings.Contains(f.Text, text) {
			if worst := map[Level]int{OK: 0, Warning: 1, Error: 2}[level]; r.ExitCode() < worst {
				t.Errorf("exit code %d with %+v", r.ExitCode(), f)
			}
			return f
		}
	}
	t.Errorf("no %s of %s says %q; there are:", level, area, text)
	for _, f := range r.Findings {
		t.Logf("%s %s %s: %s", f.Level, f.Area, f.About, f.Text)
	}
	return Finding{}
}

// none fails for warnings and errors, except those about the machine that runs the test.
func none(t *testing.T, r *Report) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Level != OK && f.Area != "process" && !strings.Contains(f.Text, "MiB are free") {
			t.Errorf("%+v", f)
		}
	}
}

const (
	quiet  = "listener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  tls_disable = true\n}\n"
	memory = "storage \"inmem\" {}\n"
	disk   = "storage \"bbolt\" { path = \"DIR/data\" }\n"
	box    = "seal \"static\" \"box\" {\n  current_key = \"file://DIR/key\"\n  current_key_id = \"k1\"\n}\n"
)

func (r *room) key(digits string) { r.file("key", strings.Repeat(digits, 32), 0o600) }

// TestNoFindings checks that a valid configuration has no warning or error, before and after the
// first start.
func TestNoFindings(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.key("5e")
	first := r.run(disk + quiet + box)
	none(t, first)
	want(t, first, OK, "storage", "does not exist yet")
	want(t, first, OK, "seal", "it wraps")
	want(t, first, OK, "seal", "refuses other additional data")
	r.initialise("k1", "5e")
	second := r.run(disk + quiet + box)
	none(t, second)
	want(t, second, OK, "seal", "it decrypts the stored root key")
	want(t, second, OK, "seal", "1 seals decrypt the stored root key; needed: 1")
}

// initialise stores a root key that a static seal wrapped.
func (r *room) initialise(id, digits string, more ...seals.Seal) {
	r.t.Helper()
	w, err := static.New(seals.Config{Name: "box", Type: "static",
		Params: map[string]string{"current_key": strings.Repeat(digits, 32), "current_key_id": id}})
	if err != nil {
		r.t.Fatal(err)
	}
	set, err := seals.NewSet(append([]seals.Seal{{Name: "box", Type: "static", Wrapper: w}}, more...), seals.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	root, err := secret.Random(nil, seals.RootKeyLen)
	if err != nil {
		r.t.Fatal(err)
	}
	record, err := set.Wrap(r.t.Context(), "cluster", 1, root, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	raw, err := record.Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	r.put("core/seal", raw)
}

func (r *room) put(key string, value []byte) {
	r.t.Helper()
	s, err := bbolt.Open(r.t.Context(), filepath.Join(r.dir, "data"), bbolt.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := s.Commit(r.t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, value)}}); err != nil {
		r.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// TestBrokenConfigurations checks that each error is found, with position and remedy.
func TestBrokenConfigurations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		level      Level
		area, says string
		place      string // end of it
		class      seals.Class
		prepare    func(*room)
	}{
		{name: "unknown key", text: memory + quiet + "apiaddr = \"x\"\n", level: Error, area: "configuration",
			says: `did you mean "api_addr"?`, place: "sealgate.hcl:6"},
		{name: "not HCL", text: memory + "listener \"tcp\" {", level: Error, area: "configuration", says: "",
			place: "sealgate.hcl:2"},
		{name: "no storage", text: quiet, level: Error, area: "configuration", says: "storage"},
		{name: "memory", text: memory + quiet + box, level: Warning, area: "storage", says: "it is in memory",
			place: "sealgate.hcl:1", prepare: func(r *room) { r.key("5e") }},
		{name: "key in the clear", text: memory + quiet + `seal "static" "box" {` + "\n current_key = \"" + planted[0] +
			"\"\n current_key_id = \"k1\" }",
			level: Warning, area: "files", says: "current_key is unencrypted", place: "sealgate.hcl:6"},
		{name: "key file for all", text: memory + quiet + box, level: Warning, area: "files",
			says:    "other users of this machine can access",
			prepare: func(r *room) { r.file("key", planted[0], 0o644) }},
		{name: "no key file", text: memory + quiet + box, level: Error, area: "files", says: "does not exist"},
		{name: "no key file, said of the seal", text: memory + quiet + box, level: Error, area: "seal",
			says: "cannot be configured", place: "sealgate.hcl:6"},
		{name: "unsupported seal type", text: memory + quiet + `seal "kmip" "k" {}`, level: Error, area: "seal",
			says: `unknown seal type "kmip"`, place: "sealgate.hcl:6"},
		{name: "another key", text: disk + quiet + box, level: Error, area: "seal",
			says: "does not decrypt the stored root key", class: seals.Corrupt,
			prepare: func(r *room) { r.key("77"); r.initialise("k1", "5e") }},
		{name: "another key's name", text: disk + quiet + box, level: Error, area: "seal",
			says: "does not decrypt the stored root key", class: seals.WrongKey,
			prepare: func(r *room) { r.key("77"); r.initialise("k0", "5e") }},
		{name: "too few", text: disk + quiet + box, level: Error, area: "seal", says: "0 seals decrypt the stored root " +
			"key, and 1 are needed", prepare: func(r *room) { r.key("77"); r.initialise("k1", "5e") }},
		{name: "another seal's record", text: disk + quiet + strings.Replace(box, `"box"`, `"other"`, 1), level: Error,
			area: "seal", class: seals.Misconfigured,
			says: "does not decrypt", prepare: func(r *room) { r.key("5e"); r.initialise("k1", "5e") }},
		{name: "a broken record", text: disk + quiet + box, level: Error, area: "storage", says: "not a sealed record",
			prepare: func(r *room) { r.key("5e"); r.put("core/seal", []byte{9, 9}) }},
		{name: "data folder for all", text: disk + quiet + box, level: Warning, area: "storage", says: "have access to it",
			prepare: func(r *room) {
				r.key("5e")
				r.initialise("k1", "5e")
				if err := os.Chmod(filepath.Join(r.dir, "data"), 0o755); err != nil {
					r.t.Fatal(err)
				}
			}},
		{name: "data folder is a file", text: disk + quiet + box, level: Error, area: "storage", says: "not a folder",
			prepare: func(r *room) { r.file("data", "x", 0o600) }},
		{name: "damaged", text: disk + quiet + box, level: Error, area: "storage", says: "corrupt", prepare: func(r *room) {
			r.initialise("k1", "5e")
			if err := os.Truncate(filepath.Join(r.dir, "data", bbolt.FileName), 8192); err != nil {
				r.t.Fatal(err)
			}
		}},
		{name: "no folder for the audit file", text: memory + quiet +
			`audit "file" "f" { options { file_path = "DIR/none/audit.log" } }`,
			level: Error, area: "audit", says: "does not exist", place: "sealgate.hcl:6"},
		{name: "audit file is a folder", text: memory + quiet + `audit "file" "f" { options { file_path = "DIR" } }`,
			level: Error, area: "audit", says: "is a folder"},
		{name: "audit file for all", text: memory + quiet + `audit "file" "f" { options { file_path = "DIR/audit.log" } }`,
			level: Warning, area: "audit",
			says: "other users may write to it", prepare: func(r *room) { r.file("audit.log", "", 0o666) }},
		{name: "no listener for entries", text: memory + quiet +
			`audit "socket" "f" { options { address = "127.0.0.1:1" } }`, level: Error, area: "audit",
			says: "cannot be reached"},
		{name: "no folder for the pid file", text: memory + quiet + `pid_file = "DIR/none/pid"`, level: Error, area: "files",
			says: "the folder of the pid file does not exist"},
		{name: "no address of this machine", text: memory + strings.Replace(quiet, "127.0.0.1:0", "192.0.2.1:0", 1),
			level: Error, area: "listener", says: "not an address of this machine"},
		{name: "no TLS", text: memory + strings.Replace(quiet, "127.0.0.1:0", "0.0.0.0:0", 1), level: Warning,
			area: "listener", says: "without TLS", place: "sealgate.hcl:2"},
		{name: "a file in a socket's place", text: memory + `listener "unix" { address = "DIR/key" }`, level: Error,
			area: "listener", says: "not a socket",
			prepare: func(r *room) { r.key("5e") }},
		{name: "no folder for a socket", text: memory + `listener "unix" { address = "DIR/none/s" }`, level: Error,
			area: "listener", says: "does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRoom(t)
			if c.prepare != nil {
				c.prepare(r)
			}
			f := want(t, r.run(c.text), c.level, c.area, c.says)
			if !strings.HasSuffix(f.Place, c.place) || f.Class != c.class && c.class != "" {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestAllErrorsAtOnce checks that each error of one file is a finding.
func TestAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	report := r.run(memory + quiet + "nonsense = 1\nlog_level = \"loud\"\n")
	n := 0
	for _, f := range report.Findings {
		if f.Area == "configuration" && f.Level == Error && f.Place != "" {
			n++
		}
	}
	if n != 2 || report.ExitCode() != 2 {
		t.Errorf("%+v", report.Findings)
	}
	want(t, r.examine(filepath.Join(r.dir, "none.hcl")), Error, "configuration", "does not exist")
}

// TestReadableConfiguration checks that a configuration with a secret is an error if others can
// read or write it.
func TestReadableConfiguration(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	text := memory + quiet + `seal "static" "box" {` + "\n current_key = \"" + planted[0] +
		"\"\n current_key_id = \"k1\" }"
	want(t, r.examine(r.file("a.hcl", text, 0o644)), Error, "files", "other users of this machine can read")
	want(t, r.examine(r.file("b.hcl", text, 0o622)), Error, "files", "other users may write to it")
}

// TestLockedStore checks a store that another process has open while no server responds.
func TestLockedStore(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.key("5e")
	s, err := bbolt.Open(t.Context(), filepath.Join(r.dir, "data"), bbolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want(t, r.run(disk+quiet+box), Error, "storage", "another process has it open")
}

// TestShamir checks that a Shamir seal gives no warning.
func TestShamir(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	report := r.run(disk + quiet)
	none(t, report)
	want(t, report, OK, "seal", "custodians hold its key")
}
