package mount_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// shelf is a backend that stores what it is given.
type shelf struct{ store mount.Storage }

func (s shelf) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	return nil, s.store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(r.Path, []byte("x"))}})
}

func newShelf(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	if m.Options["broken"] != "" {
		return nil, fault.New(fault.Invalid, "this mount is broken")
	}
	return shelf{store}, nil
}

// flaky lets commits fail, before or behind the write. Its lock is for tests in which Run is under
// way.
type flaky struct {
	mount.Storage
	mu                      sync.Mutex
	before, behind, reading error
	deletesOnly             bool // before is for commits that begin with a delete
	spared                  int  // this many commits before before
	commits                 int
}

func (f *flaky) Commit(ctx context.Context, b storage.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.commits++
	if f.before != nil && (!f.deletesOnly || b.Ops[0].Delete) {
		if f.spared--; f.spared < 0 {
			return f.before
		}
	}
	return errors.Join(f.Storage.Commit(ctx, b), f.behind)
}

func (f *flaky) Get(ctx context.Context, key string) ([]byte, error) {
	if f.reading != nil {
		return nil, f.reading
	}
	return f.Storage.Get(ctx, key)
}

func options() mount.Options {
	return mount.Options{Factories: map[string]mount.Factory{"kv": newShelf}}
}

func fresh(t testing.TB, extra ...mount.Entry) (*mount.Table, *flaky) {
	t.Helper()
	ops, err := mount.Format(nil, extra...)
	if err != nil {
		t.Fatal(err)
	}
	s := &flaky{Storage: inmem.New()}
	if err := s.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	return reopened(t, s), s
}

func reopened(t testing.TB, s mount.Storage) *mount.Table {
	t.Helper()
	table, err := mount.Open(t.Context(), s, options())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func paths(table *mount.Table) string {
	var out []string
	for _, m := range table.List() {
		out = append(out, m.Path)
	}
	return strings.Join(out, " ")
}

func put(t testing.TB, table *mount.Table, path string) {
	t.Helper()
	backend, _, rest, err := table.Route(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backend.Handle(t.Context(), &mount.Request{Operation: mount.Update, Path: rest}); err != nil {
		t.Fatal(err)
	}
}

func TestMountRouteUnmount(t *testing.T) {
	t.Parallel()
	table, store := fresh(t, mount.DevMount("1"))
	if got := paths(table); got != "cubbyhole/ identity/ secret/ sys/" {
		t.Fatalf("a fresh table has %s", got)
	}
	for _, path := range []string{"kv", "/team/a/"} {
		if err := table.Mount(t.Context(), mount.Entry{Path: path, Type: "kv"}); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{"kv/x/y": "x/y", "kv/": "", "kv": "", "team/a/z": "z", "secret/s": "s"} {
		_, m, rest, err := table.Route(path)
		if err != nil || rest != want || !strings.HasPrefix(path+"/", m.Path) {
			t.Errorf("Route(%q) = %q below %q, %v; want %q", path, rest, m.Path, err, want)
		}
	}
	m, ok := table.Get("/team/a")
	if !ok || !strings.HasPrefix(m.Accessor, "kv_") || len(m.Accessor) != 11 || len(m.UUID) != 36 {
		t.Errorf("Get = %+v, %v", m, ok)
	}
	again := reopened(t, store)
	if paths(again) != paths(table) {
		t.Errorf("after a restart: %s, before: %s", paths(again), paths(table))
	}
	for range 2 {
		if err := table.Unmount(t.Context(), "team/a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := paths(reopened(t, store)); got != "cubbyhole/ identity/ kv/ secret/ sys/" {
		t.Errorf("after the unmount and a restart: %s", got)
	}
}

func TestRouteRefusals(t *testing.T) {
	t.Parallel()
	table, _ := fresh(t)
	for path, want := range map[string]string{
		"nope/x":      `no handler for route "nope/x". route entry not found.`,
		"":            `no handler for route "". route entry not found.`,
		"/":           `no handler for route "/". route entry not found.`,
		"sys":         "unsupported path",
		"cubbyhole/x": "unsupported path",
	} {
		if _, _, _, err := table.Route(path); err == nil || err.Error() != want || !fault.Is(err, fault.NotFound) {
			t.Errorf("Route(%q): %v, want %q", path, err, want)
		}
	}
}

func TestMountRefusals(t *testing.T) {
	t.Parallel()
	table, store := fresh(t, mount.Entry{Path: "kv1b/", Type: "kv"})
	commits := store.commits
	for _, tc := range []struct{ path, kind, want string }{
		{"kv1b", "kv", "path is already in use at kv1b/"},
		{"kv1b/below", "kv", "path is already in use at kv1b/"},
		{"nope", "nope", "plugin not found in the catalog: nope"},
		{"cub", "cubbyhole", "plugin not found in the catalog: cubbyhole"},
		{"none", "", "the type of the mount is missing"},
		{"sys/foo", "kv", `cannot mount "sys/foo/"`},
		{"auth", "kv", `cannot mount "auth/"`},
		{"", "kv", "the path of the mount is missing"},
		{"//", "kv", "the path of the mount is missing"},
		{"a/../b", "kv", `has the segment ".."`},
		{"a//b", "kv", `has the segment ""`},
		{"a*", "kv", "which no policy can match"},
		{"a\x00", "kv", "unprintable"},
		{"a b", "kv", "a space or an unprintable"},
		{"\xff", "kv", "unprintable"},
		{strings.Repeat("a", 257), "kv", "at most 256"},
	} {
		err := table.Mount(t.Context(), mount.Entry{Path: tc.path, Type: tc.kind})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !fault.Is(err, fault.Invalid) {
			t.Errorf("Mount(%q, %q): %v, want %q", tc.path, tc.kind, err, tc.want)
		}
	}
	err := table.Mount(t.Context(), mount.Entry{Path: "b", Type: "kv", Options: map[string]string{"broken": "1"}})
	if err == nil || err.Error() != "this mount is broken" {
		t.Errorf("a mount whose backend cannot be made: %v", err)
	}
	for _, path := range []string{"sys", "cubbyhole/", "identity"} {
		if err := table.Unmount(t.Context(), path); !fault.Is(err, fault.Invalid) {
			t.Errorf("Unmount(%q): %v", path, err)
		}
	}
	if store.commits != commits || paths(table) != "cubbyhole/ identity/ kv1b/ sys/" {
		t.Errorf("a refusal wrote something: %s", paths(table))
	}
}

func TestShortFormsOfKv(t *testing.T) {
	t.Parallel()
	table, _ := fresh(t)
	given := map[string]string{"a": "b"}
	if err := table.Mount(t.Context(), mount.Entry{Path: "two", Type: "kv-v2", Options: given}); err != nil {
		t.Fatal(err)
	}
	m, _ := table.Get("two/")
	if m.Type != "kv" || m.Options["version"] != "2" || m.Options["a"] != "b" || len(given) != 1 {
		t.Errorf("kv-v2 became %+v; the caller's map %v", m, given)
	}
}

func TestAMountThatCannotBeMadeAnswersWithTheReason(t *testing.T) {
	t.Parallel()
	table, _ := fresh(t, mount.Entry{Path: "old/", Type: "gone"},
		mount.Entry{Path: "b/", Type: "kv", Options: map[string]string{"broken": "1"}}, mount.Entry{Path: "ok/", Type: "kv"})
	for path, want := range map[string]string{"old/x": "plugin not found in the catalog: gone",
		"b/x": "this mount is broken"} {
		if _, _, _, err := table.Route(path); err == nil || err.Error() != want {
			t.Errorf("Route(%q): %v, want %q", path, err, want)
		}
	}
	put(t, table, "ok/x")
}

func TestMemoryEqualsDiskAfterAFailedCommit(t *testing.T) {
	t.Parallel()
	kv := mount.Entry{Path: "kv", Type: "kv"}
	table, store := fresh(t)

	store.before = fmt.Errorf("writing: %w", storage.ErrFull)
	if err := table.Mount(t.Context(), kv); !errors.Is(err, storage.ErrFull) {
		t.Errorf("Mount on a full disk: %v", err)
	}
	if _, ok := table.Get("kv"); ok {
		t.Error("a mount that was not written is served")
	}

	store.before, store.behind = nil, errors.New("the connection broke behind the write")
	if err := table.Mount(t.Context(), kv); !errors.Is(err, store.behind) {
		t.Errorf("Mount with unknown outcome: %v", err)
	}
	if _, ok := table.Get("kv"); !ok {
		t.Error("a mount that was written is not served")
	}

	// Reading it back fails too: the next change reads first, and refuses to guess.
	store.reading = errors.New("unavailable")
	_ = table.Unmount(t.Context(), "kv")
	if err := table.Mount(t.Context(), mount.Entry{Path: "other", Type: "kv"}); !errors.Is(err, store.reading) {
		t.Errorf("a change on unknown ground: %v", err)
	}
	store.reading, store.behind = nil, nil
	if err := table.Mount(t.Context(), mount.Entry{Path: "other", Type: "kv"}); err != nil {
		t.Fatal(err)
	}
	if got, want := paths(table), paths(reopened(t, store)); got != want || strings.Contains(got, "kv/") {
		t.Errorf("memory has %s, the disk %s", got, want)
	}
}

func TestTableTooLarge(t *testing.T) {
	t.Parallel()
	table, _ := fresh(t)
	err := table.Mount(t.Context(),
		mount.Entry{Path: "kv", Type: "kv", Description: strings.Repeat("x", storage.MaxBytes)})
	if !fault.Is(err, fault.TooLarge) || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("a table beyond the limit: %v", err)
	}
}

func keysBelow(t testing.TB, s mount.Storage, prefix string) (all []string) {
	t.Helper()
	names, err := s.List(t.Context(), prefix, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			all = append(all, keysBelow(t, s, prefix+name)...)
		} else {
			all = append(all, prefix+name)
		}
	}
	return all
}

// run starts the clean-up and returns what ends it.
func run(t *testing.T, table *mount.Table) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { table.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

func TestUnmountRemovesTheEntriesOfThatMountAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, store := fresh(t, mount.Entry{Path: "a/", Type: "kv"}, mount.Entry{Path: "b/", Type: "kv"})
		for i := range 200 {
			put(t, table, fmt.Sprintf("a/%d/%d/leaf", i%7, i))
			put(t, table, fmt.Sprintf("a/top-%d", i))
		}
		put(t, table, "b/stays")
		stop := run(t, table)
		late, _, _, _ := table.Route("a/late")
		store.before, store.deletesOnly, store.spared = errors.New("the process is killed here"), true, 3
		if err := table.Unmount(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := late.Handle(t.Context(), &mount.Request{Path: "late"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("a write to a removed mount: %v", err)
		}
		time.Sleep(time.Second) // of the test's own time
		synctest.Wait()
		if all := table.Removals(); len(all) != 1 || all[0].Path != "a/" || all[0].Removed == 0 || all[0].Error == "" {
			t.Errorf("the removal in progress is %+v", all)
		}
		stop()
		if n := len(keysBelow(t, store, "logical/")); n <= 1 || n >= 401 {
			t.Errorf("%d of 401 entries are left; the kill was to come in the middle", n)
		}
		store.before = nil
		next := reopened(t, store)
		stop = run(t, next)
		time.Sleep(time.Second)
		synctest.Wait()
		stop()
		if all := next.Removals(); len(all) != 0 {
			t.Errorf("the removals after the end are %+v", all)
		}
		if got := keysBelow(t, store, "logical/"); len(got) != 1 || !strings.HasSuffix(got[0], "/stays") {
			t.Errorf("left are %v", got)
		}
		if got := keysBelow(t, store, "core/"); !slices.Equal(got, []string{"core/mounts"}) {
			t.Errorf("left are %v", got)
		}
	})
}

func TestCleanUpIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, store := fresh(t, mount.Entry{Path: "a/", Type: "kv"})
		put(t, table, "a/x")
		defer run(t, table)()
		synctest.Wait()
		store.before, store.deletesOnly = storage.ErrFull, true
		if err := table.Unmount(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := keysBelow(t, store, "logical/"); len(got) != 1 {
			t.Errorf("the first try was to fail; left are %v", got)
		}
		store.mu.Lock()
		store.before = nil
		store.mu.Unlock()
		time.Sleep(time.Minute) // of the test's own time
		synctest.Wait()
		if got := keysBelow(t, store, "logical/"); len(got) != 0 {
			t.Errorf("left are %v", got)
		}
	})
}

func TestReloadFollowsAnotherNode(t *testing.T) {
	t.Parallel()
	table, store := fresh(t, mount.Entry{Path: "a/", Type: "kv"})
	before, _, _, _ := table.Route("a/x")
	leader := reopened(t, store)
	if err := leader.Mount(t.Context(), mount.Entry{Path: "b", Type: "kv"}); err != nil {
		t.Fatal(err)
	}
	if err := table.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, _, _, _ := table.Route("a/x")
	if paths(table) != paths(leader) || before != after {
		t.Errorf("the follower has %s; the backend of an unchanged mount was kept: %v", paths(table), before == after)
	}
}

func BenchmarkRoute(b *testing.B) {
	table, _ := fresh(b, mount.DevMount("1"))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := table.Route("secret/team/a/password"); err != nil {
			b.Fatal(err)
		}
	}
}
