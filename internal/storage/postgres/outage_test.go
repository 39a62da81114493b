package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/internal/testkit"
)

// behindProxy opens a store that reaches its database through a proxy.
func behindProxy(t testing.TB, url string, o Options) (*Store, *pgtest.Proxy) {
	t.Helper()
	direct := open(t, Options{URL: url})
	p := pgtest.NewProxy(t, fmt.Sprintf("%s:%d", direct.conn.Host, direct.conn.Port))
	o.URL = pgtest.URL(p.Addr(), direct.conn.Database)
	return open(t, o), p
}

// TestKilled kills the database's processes in the middle of commits, again and again. Every
// acknowledged batch is there and no half of one; the store continues without being opened again,
// and a watcher misses nothing.
func TestKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := open(t, Options{URL: server.Database(t), CallTimeout: 5 * time.Second})
	events := watch(t, s)
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("w%d/%06d", w, i)
				err := commit(s, storage.Put("a/"+key, []byte(key)), storage.Put("b/"+key, []byte(key)))
				switch {
				case err == nil:
					mu.Lock()
					acknowledged[key] = true
					mu.Unlock()
				case !errors.Is(err, storage.ErrUnavailable):
					t.Errorf("Commit: %v", err)
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	for range 3 {
		want := count() + 150
		testkit.Eventually(t, "150 more commits", func() bool { return count() >= want })
		server.Kill(t)
		server.Restart(t)
	}
	want := count() + 50
	testkit.Eventually(t, "50 more commits", func() bool { return count() >= want })
	stop()
	wg.Wait()
	checkPairs(t, s, acknowledged)
	revision, err := s.Revision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reported := map[string]bool{}
	for _, e := range until(t, events, revision) {
		reported[e.Key] = true
	}
	for key := range acknowledged {
		if !reported["a/"+key] || !reported["b/"+key] {
			t.Errorf("no event of %q", key)
		}
	}
}

func checkPairs(t *testing.T, s *Store, acknowledged map[string]bool) {
	t.Helper()
	found := map[string]int{}
	err := s.Snapshot(t.Context(), func(key string, value []byte) error {
		found[key[2:]]++
		if string(value) != key[2:] {
			t.Errorf("%q holds %q", key, value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, n := range found {
		if n != 2 {
			t.Errorf("half a batch: %q", key)
		}
	}
	for key := range acknowledged {
		if found[key] != 2 {
			t.Errorf("acknowledged and lost: %q", key)
		}
	}
}

// TestUnresponsive: a server that neither answers nor hangs up is given up, by the caller's
// deadline or by the store's own; the outcome of a commit is open then.
func TestUnresponsive(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t, pgtest.Database(t), Options{CallTimeout: 2 * time.Second})
	put(t, s, "k", "v")
	proxy.Stall()
	calls := map[string]func(context.Context) error{
		"Get":      func(ctx context.Context) error { _, err := s.Get(ctx, "k"); return err },
		"List":     func(ctx context.Context) error { _, err := s.List(ctx, "", "", 0); return err },
		"Revision": func(ctx context.Context) error { _, err := s.Revision(ctx); return err },
		"Size":     func(ctx context.Context) error { _, err := s.Size(ctx); return err },
		"Leader":   func(ctx context.Context) error { _, _, err := s.Leader(ctx); return err },
		"Watch":    func(ctx context.Context) error { _, err := s.Watch(ctx, ""); return err },
		"Snapshot": func(ctx context.Context) error { return s.Snapshot(ctx, func(string, []byte) error { return nil }) },
		"Commit": func(ctx context.Context) error {
			return s.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put("k", []byte("w"))}})
		},
	}
	var wg sync.WaitGroup
	for name, call := range calls {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) ||
				storage.NothingWritten(err) {
				t.Errorf("%s with a deadline: %v", name, err)
			}
			if err := call(t.Context()); !errors.Is(err, storage.ErrUnavailable) || storage.NothingWritten(err) {
				t.Errorf("%s without one: %v", name, err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Campaign(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Campaign: %v", err)
	}
	wg.Wait()
	proxy.Resume()
	for deadline := time.Now().Add(patience); commit(s, storage.Put("k", []byte("x"))) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("no commit since the server answers again")
		}
	}
	holds(t, s, "k", "x")
}

// TestCallThatAnOutageEnds: the store cancels a call when an outage has lasted. That is a failure
// of the storage, not the caller's end.
func TestCallThatAnOutageEnds(t *testing.T) {
	t.Parallel()
	err := storageError("reading an entry", fmt.Errorf("connecting: %w", context.Canceled))
	wantError(t, err, storage.ErrUnavailable, "does not respond in time")
	if class := storage.ClassOf(err); class != storage.Unresponsive || errors.Is(err, context.Canceled) {
		t.Errorf("%v, class %q", err, class)
	}
}

// TestReadsWaitForCertainty: a caller that did not learn of a commit's end reads what it came to,
// not what was before.
func TestReadsWaitForCertainty(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := open(t, Options{URL: url})
	put(t, s, "k", "before")
	release := lockLeaderRow(t, url, "test")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		result <- s.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put("k", []byte("after"))}})
	}()
	waiting(t, url, 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || storage.NothingWritten(err) {
		t.Fatalf("the commit that was given up: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if value, err := s.Get(short, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read before the commit has ended: %q, %v", value, err)
	}
	release()
	holds(t, s, "k", "after")
}

// TestLostInCommit: the connection breaks while the server works on a commit. The outcome is open;
// it cannot change after it was read.
func TestLostInCommit(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s, proxy := behindProxy(t, url, Options{})
	put(t, s, "k", "before")
	release := lockLeaderRow(t, url, "test")
	result := make(chan error)
	go func() { result <- commit(s, storage.Put("k", []byte("after"))) }()
	waiting(t, url, 1)
	proxy.Cut()
	err := <-result
	if !errors.Is(err, storage.ErrUnavailable) || storage.NothingWritten(err) {
		t.Fatalf("the commit that was cut off: %v", err)
	}
	holds(t, s, "k", "before") // the old session was ended while it waited for the leader row
	release()
	holds(t, s, "k", "before")
	put(t, s, "k", "next")
	holds(t, s, "k", "next")
}

// TestIdleConnectionBroken: no caller gets an unknown outcome because of what happened long
// before.
func TestIdleConnectionBroken(t *testing.T) {
	t.Parallel()
	var later clock
	s, proxy := behindProxy(t, pgtest.Database(t), Options{Now: later.now})
	put(t, s, "k", "v")
	proxy.Cut()
	later.advance(probeAfter)
	put(t, s, "k", "w")
	holds(t, s, "k", "w")
}

// TestWatchGap: a watcher that missed pruned changes loses its channel.
func TestWatchGap(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s, proxy := behindProxy(t, url, Options{CallTimeout: 2 * time.Second})
	other := open(t, Options{URL: url})
	events := watch(t, s)
	put(t, other, "a", "")
	until(t, events, 1)
	proxy.Stall()
	for range 5 {
		put(t, other, "b", "")
	}
	pgtest.Exec(t, url, `DELETE FROM `+DefaultTable+`_changes WHERE revision < 5`)
	proxy.Cut()
	proxy.Resume()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			if ok {
				t.Errorf("an event behind a gap: %+v", e)
			}
			again := watch(t, s)
			put(t, other, "c", "")
			if got := until(t, again, 7); len(got) != 1 || got[0].Key != "c" {
				t.Errorf("the next watch: %v", got)
			}
			return
		case <-timeout:
			t.Fatal("the gap was not reported")
		}
	}
}

// TestRewound: a database that was restored, or taken over by a replica that lagged behind, is not
// followed as if nothing had happened.
func TestRewound(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var log logBuffer
	s, proxy := behindProxy(t, url, Options{Log: log.logger()})
	other := open(t, Options{URL: url})
	events := watch(t, s)
	for range 5 {
		put(t, other, "k", "v")
	}
	until(t, events, 5)
	proxy.Stall()
	pgtest.Exec(t, url, `DELETE FROM `+DefaultTable+`_changes WHERE revision > 2`,
		`UPDATE `+DefaultTable+`_seat SET revision = 2`)
	proxy.Cut()
	proxy.Resume()
	for e := range events {
		t.Errorf("an event of a database that lost commits: %+v", e)
	}
	if !strings.Contains(log.String(), "has lost commits") {
		t.Errorf("it is not logged: %s", log.String())
	}
	again := watch(t, s)
	put(t, other, "l", "v")
	if got := until(t, again, 3); len(got) != 1 || got[0].Key != "l" {
		t.Errorf("the next watch: %v", got)
	}
}

// TestCloseWhileAway: Close ends in time, and those who wait are answered.
func TestCloseWhileAway(t *testing.T) {
	t.Parallel()
	s, proxy := behindProxy(t, pgtest.Database(t), Options{CallTimeout: time.Second, Lease: 300 * time.Millisecond})
	put(t, s, "k", "v")
	leadership, err := s.Campaign(t.Context(), []byte("node"))
	if err != nil {
		t.Fatal(err)
	}
	watch(t, s)
	proxy.Stall()
	results := make(chan error, 3)
	for range cap(results) {
		go func() { results <- commit(s, storage.Put("k", nil)) }()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(results) {
		if err := <-results; !errors.Is(err, storage.ErrUnavailable) && !errors.Is(err, storage.ErrClosed) {
			t.Errorf("a commit under way: %v", err)
		}
	}
	<-leadership.Lost()
}

// TestTooManyConnections: the error names the cause, and reads work again when there is room.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := open(t, Options{URL: url})
	put(t, s, "k", "v")
	user := fmt.Sprintf("few_%s", s.conn.Database)
	pgtest.Exec(t, url, `CREATE ROLE `+user+` LOGIN PASSWORD 'few' CONNECTION LIMIT 1`,
		`GRANT ALL ON ALL TABLES IN SCHEMA public TO `+user)
	few := strings.Replace(url, pgtest.User+":"+pgtest.Password, user+":few", 1)
	holder := open(t, Options{URL: few})
	var conn *pgxpool.Conn
	testkit.Eventually(t, "the server has ended the connection of Open", func() bool {
		var err error
		conn, err = holder.pool.Acquire(t.Context())
		return err == nil
	})
	defer conn.Release()
	_, err := Open(t.Context(), Options{URL: few, ConnectRetries: 1})
	wantError(t, err, storage.ErrUnavailable, "max_connections")
}
