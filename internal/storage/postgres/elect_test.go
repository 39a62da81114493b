package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/internal/testkit"
)

func campaign(t testing.TB, s *Store, identity string) *leadership {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l, err := s.Campaign(ctx, []byte(identity))
	if err != nil {
		t.Fatalf("Campaign of %s: %v", identity, err)
	}
	return l.(*leadership)
}

func lost(t testing.TB, l storage.Leadership) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-time.After(patience):
		t.Fatal("the loss of the leadership was not reported")
	}
}

// TestLateCommit: a leader is cut off with a commit on its way. Another is elected, and the commit,
// when it comes, is refused.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	a, proxy := behindProxy(t, url, Options{Lease: lease, CallTimeout: patience})
	b := open(t, Options{URL: url, Lease: lease})
	put(t, a, "k", "before")
	first := campaign(t, a, "a")
	write := func(s *Store, epoch uint64, value string) error {
		return s.Commit(context.Background(), storage.Batch{Epoch: epoch, Ops: []storage.Op{storage.Put("k", []byte(value))}})
	}
	if err := write(a, first.Epoch(), "first"); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	late := make(chan error)
	go func() { late <- write(a, first.Epoch(), "late") }()
	second := campaign(t, b, "b")
	if first.Held() {
		t.Error("two nodes lead")
	}
	lost(t, first)
	if err := write(b, second.Epoch(), "second"); err != nil {
		t.Fatal(err)
	}
	proxy.Resume()
	wantError(t, <-late, storage.ErrFenced)
	holds(t, b, "k", "second")
	holds(t, a, "k", "second")
	if err := write(b, second.Epoch(), "third"); err != nil {
		t.Error(err)
	}
}

// TestStoppedInCommit: a leader that stops in the middle of sending a commit has the leader row
// locked. It does not keep others from it.
func TestStoppedInCommit(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	a, proxy := behindProxy(t, url, Options{Lease: lease})
	b := open(t, Options{URL: url, Lease: lease})
	campaign(t, a, "a")
	lockLeaderRow(t, url, a.sql.writerName)
	proxy.Stall()
	second := campaign(t, b, "b")
	if err := b.Commit(t.Context(),
		storage.Batch{Epoch: second.Epoch(), Ops: []storage.Op{storage.Put("k", nil)}}); err != nil {
		t.Error(err)
	}
	proxy.Resume()
}

// TestDatabaseClockSteps: forward, the leadership is free by the database's clock while its holder
// is certain of it; backward, the lease seems to continue for an hour when the holder is gone.
func TestDatabaseClockSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"-1 hour", "1 hour"} {
		url := pgtest.Database(t)
		a, proxy := behindProxy(t, url, Options{})
		b := open(t, Options{URL: url})
		first := campaign(t, a, "a")
		elected := make(chan bool, 1)
		go func() {
			_, err := b.Campaign(t.Context(), []byte("b"))
			if err != nil {
				t.Errorf("Campaign: %v", err)
			}
			elected <- first.Held()
		}()
		proxy.Stall()
		pgtest.Exec(t, url, `UPDATE `+DefaultTable+`_seat SET expires = expires + interval '`+step+`'`)
		select {
		case both := <-elected:
			if both {
				t.Errorf("after a step by %s two nodes lead", step)
			}
		case <-time.After(patience):
			t.Errorf("after a step by %s no node is elected", step)
		}
		proxy.Resume()
	}
}

// TestStoppedProcess: who was stopped for longer than the lease does not take the leadership for
// held when it continues, although it has not learned of the loss yet.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	var later clock
	s := open(t, Options{URL: pgtest.Database(t), Lease: time.Minute, Now: later.now})
	l := campaign(t, s, "a")
	if !l.Held() {
		t.Error("a new leadership is not held")
	}
	later.advance(50 * time.Second)
	if !l.Held() {
		t.Error("the leadership is not held within its lease")
	}
	later.advance(5 * time.Second)
	if l.Held() {
		t.Error("the leadership is held at the end of its lease")
	}
}

// leaderships are all leaderships of the test.
type leaderships struct {
	mu  sync.Mutex
	all []*leadership
}

// enter checks that no other node can hold the leadership when a new one does, and that epochs
// grow.
func (o *leaderships) enter(t *testing.T, l *leadership) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, other := range o.all {
		if other.Held() {
			t.Errorf("the epochs %d and %d are held at once", other.Epoch(), l.Epoch())
		}
		if other.Epoch() == l.Epoch() {
			t.Errorf("epoch %d came twice", l.Epoch())
		}
	}
	o.all = append(o.all, l)
}

// TestManyCandidates: one after the other, never two. Every second one resigns, the others are cut
// off.
func TestManyCandidates(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var seen leaderships
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			s, proxy := behindProxy(t, url, Options{Lease: 900 * time.Millisecond})
			for round := range 3 {
				l := campaign(t, s, fmt.Sprint("node ", n))
				seen.enter(t, l)
				err := s.Commit(context.Background(),
					storage.Batch{Epoch: l.Epoch(), Ops: []storage.Op{storage.Put("leader", []byte{byte(n)})}})
				if err != nil && !errors.Is(err, storage.ErrFenced) && !errors.Is(err, storage.ErrUnavailable) {
					t.Errorf("the leader's commit: %v", err)
				}
				if (n+round)%2 == 0 {
					if err := l.Resign(t.Context()); err != nil {
						t.Errorf("Resign: %v", err)
					}
					continue
				}
				proxy.Stall()
				lost(t, l)
				proxy.Cut()
				proxy.Resume()
			}
		})
	}
	wg.Wait()
}

// TestRenewalThroughRestart: an outage shorter than the lease costs no leadership.
func TestRenewalThroughRestart(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s, proxy := behindProxy(t, url, Options{Lease: 10 * time.Second})
	l := campaign(t, s, "a")
	for range 2 {
		proxy.Cut()
		before := l.until.Load()
		testkit.Eventually(t, "a renewal, or the end of the lease", func() bool {
			return l.until.Load() != before || !l.Held()
		})
	}
	if !l.Held() {
		t.Error("the leadership was lost")
	}
	if _, epoch, err := s.Leader(t.Context()); err != nil || epoch != l.Epoch() {
		t.Errorf("epoch %d, %v", epoch, err)
	}
}

// TestResignDuringALongCommit: the leader row is locked for longer than a statement waits.
func TestResignDuringALongCommit(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	s := open(t, Options{URL: url, Lease: time.Second, CallTimeout: patience})
	l := campaign(t, s, "a")
	release := lockLeaderRow(t, url, "test")
	resigned := make(chan error, 1)
	go func() { resigned <- l.Resign(t.Context()) }()
	tries := map[time.Time]bool{}
	testkit.Eventually(t, "a second statement waits for the lock", func() bool {
		var begun time.Time
		err := s.pool.QueryRow(t.Context(), `SELECT query_start FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'WITH resigned%'`).Scan(&begun)
		if err == nil {
			tries[begun] = true
		}
		return len(tries) >= 2
	})
	release()
	if err := <-resigned; err != nil {
		t.Errorf("Resign: %v", err)
	}
	if _, _, err := s.Leader(t.Context()); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Leader after a resignation: %v", err)
	}
}

// BenchmarkTakeover: from the moment at which nothing more is heard of a leader to the first
// acknowledged write of the next.
func BenchmarkTakeover(b *testing.B) {
	url := pgtest.Start(b).Database(b)
	for b.Loop() {
		b.StopTimer()
		dying, proxy := behindProxy(b, url, Options{})
		next := open(b, Options{URL: url})
		campaign(b, dying, "a")
		done := make(chan error, 1)
		go func() {
			l, err := next.Campaign(b.Context(), []byte("b"))
			if err == nil {
				err = next.Commit(b.Context(), storage.Batch{Epoch: l.Epoch(), Ops: []storage.Op{storage.Put("k", nil)}})
			}
			done <- err
		}()
		time.Sleep(time.Second) // the candidate waits, as it does in a cluster
		b.StartTimer()
		proxy.Stall()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := next.Close(); err != nil {
			b.Fatal(err)
		}
		proxy.Cut()
		proxy.Resume()
		if err := dying.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
