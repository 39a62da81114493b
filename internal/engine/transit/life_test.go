package transit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

func TestAutoRotation(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must("POST", "keys/daily", `{"auto_rotate_period":"24h"}`)
	e.must("POST", "keys/never", "")
	e.must("POST", "keys/later", "")
	tick := func() {
		t.Helper()
		if err := e.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	latest := func(name string) any { return e.must("GET", "keys/"+name, "")["latest_version"] }
	tick()
	e.must("POST", "keys/later/config", `{"auto_rotate_period":"1h"}`)
	for i := range 24 {
		e.clock.add(time.Hour)
		tick()
		if i < 23 && latest("daily") != 1.0 {
			t.Fatalf("rotated after %d hours", i+1)
		}
	}
	if d, n, l := latest("daily"), latest("never"), latest("later"); d != 2.0 || n != 1.0 || l != 25.0 {
		t.Errorf("after a day: %v, %v, %v", d, n, l)
	}
	e.must("POST", "keys/daily/rotate", "") // by hand, which begins the period anew
	e.must("DELETE", "keys/later/soft-delete", "")
	e.clock.add(23 * time.Hour)
	e = openEngine(t, e.store, e.clock) // another node becomes active
	tick()
	if d, l := latest("daily"), latest("later"); d != 3.0 || l != 25.0 {
		t.Errorf("a day later: %v, %v", d, l)
	}
	e.clock.add(time.Hour)
	tick()
	if d := latest("daily"); d != 4.0 {
		t.Errorf("when it is due: %v", d)
	}
	e.must("POST", "keys/daily/config", `{"auto_rotate_period":0,"deletion_allowed":true}`)
	e.clock.add(48 * time.Hour)
	tick()
	if d := latest("daily"); d != 4.0 {
		t.Errorf("after it was disabled: %v", d)
	}
}

// TestCensus: the use of versions is known, without a write for each, and keeps them from being
// trimmed.
func TestCensus(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	commits := &counting{Storage: e.store}
	e = openEngine(t, commits, e.clock)
	e.must("POST", "config/keys", `{"version_use_window":"7d"}`)
	e.must("POST", "keys/k", `{"type":"aes256-gcm96"}`)
	c := e.get("ciphertext", "POST", "encrypt/k", `{"plaintext":"YQ=="}`)
	e.must("POST", "keys/k/rotate", "")
	before := commits.n.Load()
	for range 100 {
		if a := e.doAs("token-ci", "POST", "decrypt/k", body("ciphertext", c)); a.status != 200 {
			t.Fatal(a)
		}
	}
	e.must("POST", "encrypt/k", `{"batch_input":[{"plaintext":"YQ=="},{"plaintext":"YQ=="}]}`)
	if n := commits.n.Load() - before; n != 0 {
		t.Errorf("%d commits for 101 requests", n)
	}
	if err := e.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := commits.n.Load() - before; n != 1 {
		t.Errorf("%d commits of the counts", n)
	}
	e.must("POST", "decrypt/k", body("ciphertext", c))
	want := `{"name":"k","versions":{"1":{"count":102,"last_time":"2026-01-02T03:04:05Z","last_display_name":"root"},` +
		`"2":{"count":2,"last_time":"2026-01-02T03:04:05Z","last_display_name":"root"}}}`
	if a := e.do("GET", "keys/k/use", ""); a.body != want {
		t.Errorf("uses: %s", a.body)
	}
	refused := func(method, path, body string) {
		t.Helper()
		a := e.do(method, path, body)
		if a.status != 400 ||
			!strings.Contains(a.body, `version 1 of key k was last used at 2026-01-02T03:04:05Z by "root", which is within`) {
			t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
		}
	}
	limits := `"min_decryption_version":2,"min_encryption_version":2`
	refused("POST", "keys/k/config", `{`+limits+`}`)
	e.must("POST", "keys/k/config", `{"deletion_allowed":true}`)
	refused("DELETE", "keys/k", "")
	e.must("POST", "keys/k/config", `{`+limits+`,"force":true}`)
	refused("POST", "keys/k/trim", `{"min_available_version":2}`)
	e.clock.add(7 * 24 * time.Hour)
	if a := e.do("POST", "keys/k/trim", `{"min_available_version":2}`); a.status != 200 || len(a.warnings) != 1 {
		t.Errorf("trim after the window: %+v", a)
	}
	e.must("DELETE", "keys/k?force=true", "")
}

// TestCountsSurvive: counts that cannot be written are kept.
func TestCountsSurvive(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	broken := &failing{Storage: e.store, err: storage.ErrUnavailable}
	e = openEngine(t, broken, e.clock)
	e.must("POST", "keys/k", "")
	e.must("POST", "encrypt/k", `{"plaintext":"YQ=="}`)
	broken.on.Store(true)
	if err := e.Tick(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Tick: %v", err)
	}
	broken.on.Store(false)
	if err := e.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, e.store, e.clock)
	if a := e.do("GET", "keys/k/use", ""); !strings.Contains(a.body, `"count":1`) {
		t.Errorf("%s", a.body)
	}
}

type counting struct {
	mount.Storage
	n atomic.Int64
}

func (c *counting) Commit(ctx context.Context, b storage.Batch) error {
	c.n.Add(1)
	return c.Storage.Commit(ctx, b)
}

type failing struct {
	mount.Storage
	err error
	on  atomic.Bool
}

func (f *failing) Commit(ctx context.Context, b storage.Batch) error {
	if f.on.Load() {
		return f.err
	}
	return f.Storage.Commit(ctx, b)
}

// crashing lets some commits through, and fails from then on, with or without having written the
// last.
type crashing struct {
	mount.Storage
	left    int
	written bool
}

var errCrash = errors.New("the machine died")

func (c *crashing) Commit(ctx context.Context, b storage.Batch) error {
	if c.left > 0 {
		c.left--
		return c.Storage.Commit(ctx, b)
	}
	if c.written && c.left == 0 {
		c.left = -1
		if err := c.Storage.Commit(ctx, b); err != nil {
			return err
		}
	}
	return errCrash
}

// TestCrashes stops each operation of several commits at each of them, opens the engine again, and
// finds the key as it was before or after, nothing in between, and nothing left behind.
func TestCrashes(t *testing.T) {
	t.Parallel()
	operations := map[string]func(e *engine, backup string) answer{
		"rotate": func(e *engine, _ string) answer { return e.do("POST", "keys/k/rotate", "") },
		"trim": func(e *engine, _ string) answer {
			return e.do("POST", "keys/k/trim", `{"min_available_version":140}`)
		},
		"delete":  func(e *engine, _ string) answer { return e.do("DELETE", "keys/k", "") },
		"restore": func(e *engine, b string) answer { return e.do("POST", "restore/other", body("backup", b)) },
		"replace": func(e *engine, b string) answer { return e.do("POST", "restore/k", body("backup", b, "force", true)) },
	}
	for name, operate := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for stop := 0; ; stop++ {
				done := false
				for _, written := range []bool{false, true} {
					done = crash(t, operate, stop, written)
				}
				if done {
					break
				}
			}
		})
	}
}

const versionsOfCrash = 150

func crash(t *testing.T, operate func(*engine, string) answer, stop int, written bool) (done bool) {
	t.Helper()
	e := newEngine(t)
	e.must("POST", "keys/k", `{"exportable":true,"allow_plaintext_backup":true}`)
	for range versionsOfCrash - 1 {
		e.must("POST", "keys/k/rotate", "")
	}
	c := e.get("ciphertext", "POST", "encrypt/k", `{"plaintext":"YQ=="}`)
	backup := e.get("backup", "GET", "backup/k", "")
	e.must("POST", "keys/k/config", `{"deletion_allowed":true,"min_decryption_version":140,"min_encryption_version":140}`)
	broken := &crashing{Storage: e.store, left: stop, written: written}
	a := operate(openEngine(t, broken, e.clock), backup)
	done = broken.left > 0

	e = openEngine(t, e.store, e.clock)
	if err := e.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"k", "other"} {
		k := e.do("GET", "keys/"+name, "")
		if k.status == 404 {
			continue
		}
		if k.status != 200 {
			t.Errorf("stopped at commit %d: reading %s: %d %s", stop, name, k.status, k.body)
		}
		if got := e.get("plaintext", "POST", "decrypt/"+name, body("ciphertext", c)); got != "YQ==" {
			t.Errorf("stopped at commit %d: %s decrypts to %q", stop, name, got)
		}
	}
	if done && a.status >= 300 {
		t.Errorf("undisturbed: %d %s", a.status, a.body)
	}
	checkLeftovers(t, e)
	return done
}

// checkLeftovers counts: each version that is stored belongs to a key, and each key has all of its
// versions.
func checkLeftovers(t *testing.T, e *engine) {
	t.Helper()
	list := func(prefix string) []string {
		names, err := e.store.List(t.Context(), prefix, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	want := 0
	names := list("k/")
	for _, name := range names {
		k := e.must("GET", "keys/"+name, "")
		want += int(k["latest_version"].(float64)) + 1 - max(1, int(k["min_available_version"].(float64)))
	}
	got := 0
	for _, id := range list("v/") {
		got += len(list("v/" + id))
	}
	if garbage := list("g/"); got != want || len(garbage) > 0 {
		t.Errorf("%d versions are stored of %v, and should be %d; notes: %v", got, names, want, garbage)
	}
}

// TestFollowing: what another node changes is seen.
func TestFollowing(t *testing.T) {
	t.Parallel()
	active := newEngine(t)
	standby := openEngine(t, active.store, active.clock)
	active.must("POST", "keys/k", "")
	if v := standby.must("GET", "keys/k", "")["latest_version"]; v != 1.0 {
		t.Errorf("version %v", v)
	}
	active.must("POST", "keys/k/rotate", "")
	standby.Invalidate("k/k")
	if v := standby.must("GET", "keys/k", "")["latest_version"]; v != 2.0 {
		t.Errorf("version %v", v)
	}
	active.must("POST", "config/keys", `{"disable_upsert":true}`)
	standby.must("GET", "config/keys", "")
	active.must("POST", "config/keys", `{"disable_upsert":false}`)
	standby.Invalidate("config")
	if on := standby.must("GET", "config/keys", "")["disable_upsert"]; on != false {
		t.Errorf("disable_upsert is %v", on)
	}
}

// TestUnknownOutcome: after a commit that may or may not have been written, memory follows the
// storage.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must("POST", "keys/k", "")
	broken := &crashing{Storage: e.store, written: true}
	e = openEngine(t, broken, e.clock)
	e.must("GET", "keys/k", "")
	if a := e.do("POST", "keys/k/rotate", ""); a.status != 500 {
		t.Fatalf("%+v", a)
	}
	if v := e.must("GET", "keys/k", "")["latest_version"]; v != 2.0 {
		t.Errorf("version %v after a rotation that was written", v)
	}
	if a := e.do("POST", "keys/k/rotate", ""); a.status != 500 {
		t.Fatalf("%+v", a)
	}
	if v := e.must("GET", "keys/k", "")["latest_version"]; v != 2.0 {
		t.Errorf("version %v after one that was not", v)
	}
}

// TestBatchWithoutStorage: an error that is nobody's item ends the batch.
func TestBatchWithoutStorage(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must("POST", "keys/k", "")
	e.must("POST", "keys/s", `{"type":"ed25519"}`)
	blind := &unreadable{Storage: e.store}
	e = openEngine(t, blind, e.clock)
	for _, name := range []string{"k", "s"} { // their settings are in memory, their versions are not
		if _, err := e.keys.Get(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	blind.on.Store(true)
	item := `{"batch_input":[{"plaintext":"YQ==","ciphertext":"vault:v1:AAAA","input":"YQ==","signature":"vault:v1:AAAA"}]}`
	for _, path := range []string{"encrypt/k", "decrypt/k", "rewrap/k", "hmac/k", "sign/s", "verify/s"} {
		if a := e.do("POST", path, item); a.status != 500 || a.body != storage.ErrUnavailable.Error() {
			t.Errorf("%s: %+v", path, a)
		}
	}
}

type unreadable struct {
	mount.Storage
	on atomic.Bool
}

func (u *unreadable) Get(ctx context.Context, key string) ([]byte, error) {
	if u.on.Load() {
		return nil, storage.ErrUnavailable
	}
	return u.Storage.Get(ctx, key)
}

func TestManyVersionsAndItems(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must("POST", "keys/k", "")
	for range 99 {
		e.must("POST", "keys/k/rotate", "")
	}
	items := make([]map[string]any, 10_000)
	for i := range items {
		items[i] = map[string]any{"plaintext": "YQ==", "key_version": i%100 + 1, "reference": fmt.Sprint(i)}
	}
	out := e.must("POST", "encrypt/k", body("batch_input", items))["batch_results"].([]any)
	if len(out) != len(items) || out[9_999].(map[string]any)["reference"] != "9999" {
		t.Fatalf("%d results", len(out))
	}
	if a := e.do("POST", "decrypt/k", body("batch_input", out)); a.status != 200 ||
		strings.Count(a.body, `"plaintext":"YQ=="`) != len(items) {
		t.Errorf("decrypted: %d", a.status)
	}
	big := strings.Repeat("YWFh", 1<<20/3)
	c := e.get("ciphertext", "POST", "encrypt/k", body("plaintext", big))
	if got := e.get("plaintext", "POST", "decrypt/k", body("ciphertext", c)); got != big {
		t.Errorf("1 MiB became %d characters", len(got))
	}
}

// TestWornVersion: a version that has encrypted nearly 2^32 texts is reported in the log, once for
// each limit, and by a read of the key. Derived keys have a limit for each context.
func TestWornVersion(t *testing.T) {
	e := newEngine(t)
	e.must("POST", "keys/k", "")
	e.must("POST", "keys/derived", `{"derived":true}`)
	b := e.backend
	use := func(name string, n uint64) []string {
		t.Helper()
		k, err := b.keys.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		k.CountUse(1, n, "token-ci")
		if err := b.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.Notices()
	}
	for i, want := range []int{0, 1, 0, 1, 0} {
		got := use("k", []uint64{keys.WornAt - 1, 1, 5, keys.WornAt, 1 << 40}[i])
		if len(got) != want || want == 1 && !strings.Contains(got[0],
			"version 1 of key k was used 2147483648 times") && i == 1 {
			t.Errorf("step %d: %v", i, got)
		}
	}
	if a := e.do("GET", "keys/k", ""); len(a.warnings) != 1 || !strings.Contains(a.warnings[0], "rotate the key") ||
		!strings.Contains(a.body, `"worn_versions":[1]`) {
		t.Errorf("%v", a)
	}
	e.must("POST", "keys/k/rotate", "")
	if got := use("derived", keys.WornOut); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if a := e.do("GET", "keys/derived", ""); a.warnings != nil || strings.Contains(a.body, "worn_versions") {
		t.Errorf("%v", a)
	}
}
