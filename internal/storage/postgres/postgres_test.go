package postgres

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Harness {
		url := pgtest.Database(t)
		return storagetest.Harness{Shared: true,
			Open: func() (storage.Store, error) { return Open(context.Background(), Options{URL: url, Lease: longLease}) }}
	})
}

const (
	patience  = time.Minute      // bounds what takes a moment
	lease     = 4 * time.Second  // one that must end, and that a busy machine renews
	longLease = 20 * time.Second // one that does not end in a test
)

// open opens a store that the test's end closes. Its calls wait through an outage.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	o.OutageTimeout = patience
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*Store)
}

func put(t testing.TB, s storage.Store, key, value string) {
	t.Helper()
	if err := commit(s, storage.Put(key, []byte(value))); err != nil {
		t.Fatalf("putting %q: %v", key, err)
	}
}

func commit(s storage.Store, ops ...storage.Op) error {
	return s.Commit(context.Background(), storage.Batch{Ops: ops})
}

// holds checks a value; "" stands for nothing.
func holds(t testing.TB, s storage.Store, key, want string) {
	t.Helper()
	got, err := s.Get(context.Background(), key)
	if want == "" && errors.Is(err, storage.ErrNotFound) {
		return
	}
	if err != nil || string(got) != want {
		t.Errorf("%q = %.40q, %v; want %.40q", key, got, err, want)
	}
}

// wantError checks an error's kind, and that its text names what it should.
func wantError(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v; want %v", err, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error %q does not name %q", err, word)
		}
	}
}

// lockLeaderRow keeps the leader row locked until the returned function is called, as a commit does
// that takes long.
func lockLeaderRow(t testing.TB, url, application string) (release func()) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["application_name"] = application
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`BEGIN`, `UPDATE ` + DefaultTable + `_seat SET revision = revision`} {
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	var once sync.Once
	release = func() { once.Do(func() { _ = conn.Close(context.Background()) }) } // which rolls back
	t.Cleanup(release)
	return release
}

// waiting returns when so many sessions of the database wait for a lock.
func waiting(t testing.TB, url string, sessions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for n := 0; n < sessions; {
		err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		if err != nil {
			t.Fatalf("%d sessions wait for a lock, want %d: %v", n, sessions, err)
		}
	}
}

// clock is the machine's, ahead by what a test says.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// logBuffer is a log that tests read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
