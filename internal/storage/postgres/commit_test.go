package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/internal/testkit"
)

// TestGroup: what arrives during a commit shares the next transaction; each batch has its own
// outcome and number; another node sees the same events as this one.
func TestGroup(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s, other := open(t, Options{URL: url}), open(t, Options{URL: url})
	put(t, s, "held", "1")
	own, theirs := watch(t, s), watch(t, other)
	release := lockLeaderRow(t, url, "test")
	results := make([]chan error, 21)
	for i := range results {
		results[i] = make(chan error, 1)
		b := storage.Batch{Ops: []storage.Op{storage.Put(fmt.Sprint("k", i), []byte("v")), storage.Delete("gone"),
			storage.Put("same", []byte{byte(i)})}}
		if i%3 == 1 {
			b.If = []storage.Condition{storage.IfAbsent(fmt.Sprint("free", i)), storage.IfValue("held", []byte{byte('0' + i%2)})}
		}
		go func() { results[i] <- s.Commit(context.Background(), b) }()
		if i == 0 {
			waiting(t, url, 1)
		}
	}
	testkit.Eventually(t, "all batches are queued", func() bool { return len(s.queue) >= len(results)-1 })
	release()
	for i, result := range results {
		err := <-result
		if refused := i%3 == 1 && i%2 == 0; refused {
			wantError(t, err, storage.ErrConflict, `"held"`)
			holds(t, s, fmt.Sprint("k", i), "")
		} else if err != nil {
			t.Errorf("batch %d: %v", i, err)
		} else {
			holds(t, s, fmt.Sprint("k", i), "v")
		}
	}
	var transactions int
	err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM `+DefaultTable+`_changes`).Scan(&transactions)
	if err != nil || transactions != 3 {
		t.Errorf("%d transactions, %v; want one for the first put, one for the first batch, one for the rest", transactions,
			err)
	}
	revision, err := s.Revision(t.Context())
	if err != nil || revision != uint64(1+len(results)) {
		t.Errorf("revision %d, %v", revision, err)
	}
	a, b := until(t, own, revision), until(t, theirs, revision)
	if !slices.Equal(a, b) {
		t.Errorf("the committing node reports\n%v, another\n%v", a, b)
	}
	if same := slices.ContainsFunc(a, func(e storage.Event) bool { return e.Key == "same" && e.Revision > 2 }); !same {
		t.Errorf("no event of the last put: %v", a)
	}
}

func watch(t testing.TB, s *Store) <-chan storage.Event {
	t.Helper()
	events, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// until returns the events before the mark of a revision, without marks.
func until(t testing.TB, events <-chan storage.Event, revision uint64) (got []storage.Event) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				t.Fatalf("the channel was closed before the mark of %d", revision)
			case e.Key != "":
				got = append(got, e)
			case e.Revision >= revision:
				return got
			}
		case <-timeout:
			t.Fatalf("no mark of %d", revision)
		}
	}
}

// TestDependentBatches: a condition about what another batch of the group writes is judged behind
// it.
func TestDependentBatches(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := open(t, Options{URL: url})
	release := lockLeaderRow(t, url, "test")
	const n = 10
	results := make(chan error, n)
	for i := range n {
		go func() {
			results <- s.Commit(context.Background(), storage.Batch{If: []storage.Condition{storage.IfAbsent("winner")},
				Ops: []storage.Op{storage.Put("winner", []byte{byte(i)}), storage.Put(fmt.Sprint("by", i), nil)}})
		}()
	}
	testkit.Eventually(t, "all batches are queued", func() bool { return len(s.queue) >= n-1 })
	release()
	conflicts := 0
	for range n {
		if err := <-results; errors.Is(err, storage.ErrConflict) {
			conflicts++
		} else if err != nil {
			t.Errorf("Commit: %v", err)
		}
	}
	names, err := s.List(t.Context(), "", "", 0)
	if conflicts != n-1 || err != nil || len(names) != 2 {
		t.Errorf("%d conflicts, %q, %v", conflicts, names, err)
	}
}

// TestModel commits random groups from several goroutines on keys of their own, and compares with a
// store in memory.
func TestModel(t *testing.T) {
	t.Parallel()
	s, model := open(t, Options{URL: pgtest.Database(t)}), inmem.New()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 7))
			key := func() string { return fmt.Sprintf("w%d/%d", w, random.IntN(6)) }
			for range 60 {
				var b storage.Batch
				for range random.IntN(3) {
					b.If = append(b.If, []storage.Condition{storage.IfAbsent(key()),
						storage.IfValue(key(), []byte{byte(random.IntN(2))})}[random.IntN(2)])
				}
				for range 1 + random.IntN(5) {
					b.Ops = append(b.Ops, []storage.Op{storage.Delete(key()),
						storage.Put(key(), []byte{byte(random.IntN(2))})}[random.IntN(2)])
				}
				got, want := s.Commit(t.Context(), b), model.Commit(t.Context(), b)
				if errors.Is(got, storage.ErrConflict) != errors.Is(want, storage.ErrConflict) || got != nil &&
					!errors.Is(got, storage.ErrConflict) {
					t.Errorf("%+v: %v; want %v", b, got, want)
				}
			}
		})
	}
	wg.Wait()
	for w := range 8 {
		for k := range 6 {
			key := fmt.Sprintf("w%d/%d", w, k)
			a, errA := s.Get(t.Context(), key)
			b, errB := model.Get(t.Context(), key)
			if string(a) != string(b) || errors.Is(errA, storage.ErrNotFound) != errors.Is(errB, storage.ErrNotFound) {
				t.Errorf("%s = %q, %v; want %q, %v", key, a, errA, b, errB)
			}
		}
	}
}

// TestListOddAfter: a name to begin behind comes from anywhere, also what PostgreSQL does not take
// for text.
func TestListOddAfter(t *testing.T) {
	t.Parallel()
	s, model := open(t, Options{URL: pgtest.Database(t)}), inmem.New()
	for _, key := range []string{"a", "a/b", "a/ü", "a0", "aÿ", "b/c", "ü", "ü/x", "\U0010FFFF", "\x01"} {
		put(t, s, key, "v")
		put(t, model, key, "v")
	}
	odd := []string{"", "\x00", "a\x00", "a\x00b", "\xff", "a\xff", "a/\xff", "a/\x00", "a\xc3", "\xc3\xbc\x00", "\xc3",
		"ü\xff", "\xf4\x8f\xbf", "a\xff/"}
	for _, after := range odd {
		for _, prefix := range []string{"", "a/", "ü/"} {
			for _, limit := range []int{0, 1, 3} {
				got, err := s.List(t.Context(), prefix, after, limit)
				want, _ := model.List(t.Context(), prefix, after, limit)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("List(%q, %q, %d) = %q, %v; want %q", prefix, after, limit, got, err, want)
				}
			}
		}
	}
}

// TestFull: the server's own error, raised where it would be.
func TestFull(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := open(t, Options{URL: url})
	put(t, s, "before", "v")
	pgtest.Exec(t, url, `CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$`,
		`CREATE TRIGGER fill BEFORE INSERT ON `+DefaultTable+` FOR EACH ROW WHEN (new.key = 'much') EXECUTE FUNCTION fill()`)
	err := commit(s, storage.Put("small", nil), storage.Put("much", nil))
	if wantError(t, err, storage.ErrFull, "free space"); !storage.NothingWritten(err) {
		t.Errorf("%v leaves the outcome open", err)
	}
	holds(t, s, "small", "")
	put(t, s, "after", "v")
}

// TestReadOnly: a database that takes no writes says so, and is used again when it does.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := open(t, Options{URL: url, CallTimeout: 4 * time.Second})
	put(t, s, "k", "v")
	name := s.conn.Database
	pgtest.Exec(t, url, `ALTER DATABASE `+name+` SET default_transaction_read_only = on`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity`+
			` WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	var err error
	for !errors.Is(err, storage.ErrUnavailable) || err == nil { // the first may find its connection gone
		err = commit(s, storage.Put("k", []byte("w")))
		if err == nil {
			t.Fatal("a database that takes no writes took one")
		}
	}
	_, err = s.Get(t.Context(), "k")
	wantError(t, err, storage.ErrUnavailable, "takes no writes")
	pgtest.Exec(t, url, `SET default_transaction_read_only = off`,
		`ALTER DATABASE `+name+` RESET default_transaction_read_only`)
	for deadline := time.Now().Add(patience); ; {
		if err = commit(s, storage.Put("k", []byte("x"))); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no commit since it takes writes again: %v", err)
		}
	}
	holds(t, s, "k", "x")
}

// TestDurability: what the database or the role is set to does not weaken a commit.
func TestDurability(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	for set, want := range map[string]string{"off": "on", "local": "on", "remote_apply": "remote_apply"} {
		pgtest.Exec(t, url, fmt.Sprintf(
			`DO $$ BEGIN EXECUTE format('ALTER DATABASE %%I SET synchronous_commit = %s', current_database()); END $$`, set))
		s := open(t, Options{URL: url})
		put(t, s, "k", "v")
		var got string
		if err := s.pool.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&got); err != nil || got != want {
			t.Errorf("synchronous_commit = %s where the database says %s, %v; want %s", got, set, err, want)
		}
	}
}

// TestPrune: the table of changes stays small.
func TestPrune(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := open(t, Options{URL: url})
	s.window = 50
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for n.Add(1) <= pruneEvery+10 {
				if err := commit(s, storage.Put("k", nil)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var oldest, newest int64
	err := s.pool.QueryRow(t.Context(), `SELECT min(revision), max(revision) FROM `+DefaultTable+`_changes`).Scan(&oldest,
		&newest)
	if err != nil || newest != pruneEvery+10 || oldest < newest-10-64-50 {
		t.Errorf("revisions %d to %d are kept, %v", oldest, newest, err)
	}
}
