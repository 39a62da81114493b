// Package postgres keeps a store in a PostgreSQL database (12 or newer) that several nodes share.
//
// It guarantees what package storage asks for, and:
//   - Commits are serial, fenced and numbered by one row, the seat, in the very transaction. Those that arrive while one is being
//     written share the next transaction, one round trip and one fsync; a batch of it that conflicts fails alone.
//   - A commit is on the server's disk when it returns, whatever synchronous_commit the database sets (fsync = off is told at start).
//   - An unknown outcome does not change behind the caller's back: reads that begin after Commit returned it wait until the
//     transaction has ended, and a server that is reached again is rid of the old connection first.
//   - A leader is elected by the database's clock. A candidate besides waits a whole lease by its own clock after the last renewal
//     that it saw, so that a step of the database's clock makes no second leader while [storage.Leadership.Held] is true of the first.
//   - Somebody who stopped in the middle of a commit does not keep the seat locked: a candidate ends that connection.
//   - Every call has a deadline of its own ([Options.CallTimeout]), goes to a server that takes writes, and reads are tried again
//     where a connection breaks. A restarted or failed-over database is found again. What cannot be reached is storage.ErrUnavailable.
//   - Passwords are in no error and no log.
//
// It does not guarantee more than the server does: a fail-over to an asynchronous replica loses what was not sent, and an epoch may
// then come back. Connection poolers that change servers between transactions do not work.
//
// With the parameter table = "t" there are three tables, made at start where they are missing. Others' tables are left alone.
//
//	t          key -> value
//	t_seat     one row: format, epoch, holder, lease, expiry, renewals, revision (of the last commit)
//	t_changes  revision, since -> keys, the batch of each (since + batch is its number), deleted or put; the last 10,000 or so
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealgate/sealgate/internal/storage"
)

// Errors of Open beside those of package storage.
var (
	// ErrConfig is returned for options that cannot work, in words that show no password.
	ErrConfig = errors.New("postgres: wrong configuration")
	// ErrFormat is returned for tables of a format that this program does not know.
	ErrFormat = errors.New("postgres: unknown storage format")
	// ErrTables is returned where tables or rights are missing; the message has the statements that a database administrator must run.
	ErrTables = errors.New("postgres: tables or rights are missing")
)

// Defaults of Options.
const (
	DefaultTable       = "vault_kv_store"
	DefaultMaxParallel = 16
	DefaultLease       = 1500 * time.Millisecond
	DefaultCallTimeout = 10 * time.Second
)

// Options describe a store. URL is needed; the zero value of the rest is right for a server.
type Options struct {
	URL             string // a URL or key=value words, as libpq takes them; what is missing comes from PG... variables
	Table           string // or schema.table; DefaultTable
	MaxParallel     int    // connections for reads; DefaultMaxParallel. Commits, watching and an election need 3 more
	MaxIdle         int    // of them kept when idle; all where zero
	ConnectRetries  int    // at Open; until its context ends where zero
	SkipCreateTable bool   // the tables are there
	Lease           time.Duration
	CallTimeout     time.Duration
	Log             *slog.Logger     // silent where nil
	Now             func() time.Time // time.Now; its monotonic part counts
}

// Store is one node's handle. It implements storage.Store and every optional interface of package storage.
type Store struct {
	o    Options
	log  *slog.Logger
	conn *pgx.ConnConfig // of connections outside the pool
	pool *pgxpool.Pool
	sql  statements
	// window is how many revisions the table of changes keeps at least.
	window int64

	closeLock sync.RWMutex // senders to queue hold it shared
	queue     chan *request
	closing   context.Context // ended by Close: reads, watches and campaigns
	end       context.CancelFunc
	ended     chan struct{} // closed when everything is over
	once      sync.Once
	wg        sync.WaitGroup // offices and campaigns; the tail

	doubt  atomic.Pointer[doubt] // of the last commit with an unknown outcome
	outage atomic.Pointer[error] // why there is no connection for commits
	tail   *tail
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Elector     = (*Store)(nil)
	_ storage.Watcher     = (*Store)(nil)
	_ storage.Sequencer   = (*Store)(nil)
	_ storage.Snapshotter = (*Store)(nil)
	_ storage.Sizer       = (*Store)(nil)
)

// Open connects and makes the tables where they are missing. Errors say what to do: ErrConfig, ErrFormat, ErrTables,
// storage.ErrForeign, storage.ErrUnavailable, or what PostgreSQL says.
func Open(ctx context.Context, o Options) (storage.Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.defaults()
	s := &Store{o: o, log: o.Log, window: keepRevisions, queue: make(chan *request, queueLength), ended: make(chan struct{})}
	names, err := tableNames(o.Table)
	if err != nil {
		return nil, err
	}
	s.sql = newStatements(names)
	pool, err := configure(o, names)
	if err != nil {
		return nil, err
	}
	s.conn = pool.ConnConfig
	if o.MaxIdle > 0 {
		pool.AfterRelease = func(*pgx.Conn) bool { return int(s.pool.Stat().IdleConns()) < o.MaxIdle }
	}
	s.closing, s.end = context.WithCancel(context.Background())
	if s.pool, err = pgxpool.NewWithConfig(s.closing, pool); err != nil {
		s.end()
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if err := s.prepare(ctx, names); err != nil {
		s.end()
		s.pool.Close()
		return nil, err
	}
	s.tail = newTail(s)
	go s.run()
	return s, nil
}

func (o *Options) defaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Table == "" {
		o.Table = DefaultTable
	}
	if o.MaxParallel <= 0 {
		o.MaxParallel = DefaultMaxParallel
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = DefaultCallTimeout
	}
}

// run is the writer's goroutine. When the queue is closed and empty, all the rest ends.
func (s *Store) run() {
	defer close(s.ended)
	w := writer{store: s}
	w.serve(s.queue)
	w.drop()
	s.wg.Wait()
	s.pool.Close()
}

// Close implements storage.Store: queued commits are carried out first. An office that is held is resigned.
func (s *Store) Close() error {
	s.closeLock.Lock()
	s.once.Do(func() {
		s.end()
		close(s.queue)
	})
	s.closeLock.Unlock()
	<-s.ended
	return nil
}

// ready is what every method asks first.
func (s *Store) ready(ctx context.Context) error {
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// limit bounds a call that only reads: by its own deadline, and by Close.
func (s *Store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.o.CallTimeout)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}
