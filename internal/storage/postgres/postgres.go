// Package postgres is a store in a PostgreSQL database (12 or newer), shared by several nodes.
//
// It guarantees the contract of package storage, and:
//   - Commits are serial, fenced and numbered by one row, the leader row, in the same transaction.
//     Those that arrive while one is written share the next transaction, one round trip and one
//     fsync; a conflicting batch fails alone.
//   - A commit is on the server's disk when it returns, whatever synchronous_commit the database
//     sets (a warning at start reports fsync = off).
//   - An unknown outcome does not change later: reads that begin after Commit returned it wait
//     until the transaction has ended, and on reconnection the old server process is terminated
//     first.
//   - The leader is elected by the database's clock. A candidate also waits a whole lease by its
//     own clock after the last renewal that it saw, so a step of the database's clock cannot make a
//     second leader while [storage.Leadership.Held] is true of the first.
//   - A client that stopped in the middle of a commit does not lock the leader row: a candidate
//     terminates its connection.
//   - Every call has a deadline, [Options.CallTimeout], and goes to a server that accepts writes;
//     reads are repeated if a connection breaks. A restarted or failed-over database is found
//     again. An unreachable one is storage.ErrUnavailable, after [Options.OutageTimeout].
//   - No error and no log contains a password.
//
// It does not guarantee more than the server does: a fail-over to an asynchronous replica loses
// unsent commits, and an epoch may then repeat. Behind a connection pooler that changes servers
// between transactions it is slower, and an interrupted commit that the pooler still holds can be
// executed after its connection was closed.
//
// With the parameter table = "t" there are three tables, created at start if they are missing.
// Other tables are not touched. Their names are part of the stored format: t_seat has the leader
// row.
//
//	t          key -> value
//	t_seat     one row: format, epoch, holder, lease, expiry, renewals, revision of the last commit
//	t_changes  revision, since -> keys, the batch of each (since + batch is its number), deleted or
//	           put; about the last 10,000 revisions
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
	// ErrConfig is returned for invalid options, without showing a password.
	ErrConfig = errors.New("postgres: wrong configuration")
	// ErrFormat is returned for tables of an unsupported format.
	ErrFormat = errors.New("postgres: unknown storage format")
	// ErrTables is returned if tables or rights are missing; the message contains the statements
	// for a database administrator.
	ErrTables = errors.New("postgres: tables or rights are missing")
)

// Defaults of Options.
const (
	DefaultTable         = "vault_kv_store"
	DefaultMaxParallel   = 16
	DefaultLease         = 1500 * time.Millisecond
	DefaultCallTimeout   = 10 * time.Second
	DefaultOutageTimeout = time.Second
)

// Options configure a store. Only URL is required.
type Options struct {
	URL             string // a URL or key=value words, as in libpq; PG... variables are the defaults
	Table           string // or schema.table; DefaultTable
	MaxParallel     int    // connections for reads; DefaultMaxParallel. commits, watches and elections need 3 more
	MaxIdle         int    // of them kept when idle; 0 means all
	ConnectRetries  int    // at Open; 0 means until its context ends
	SkipCreateTable bool   // the tables exist
	Lease           time.Duration
	CallTimeout     time.Duration
	OutageTimeout   time.Duration    // of calls in an outage that is certain, or lasts; DefaultOutageTimeout
	Log             *slog.Logger     // nil: nothing is logged
	Now             func() time.Time // time.Now; its monotonic part counts
}

// Store is one node's handle. It implements storage.Store and every optional interface of package
// storage.
type Store struct {
	o      Options
	log    *slog.Logger
	conn   *pgx.ConnConfig // of connections outside the pool
	pooled bool            // behind a connection pooler, or to be treated so
	pool   *pgxpool.Pool
	sql    statements
	// window is the minimum number of revisions that the table of changes keeps.
	window int64

	closeLock sync.RWMutex // held shared while sending to queue
	queue     chan *request
	closing   context.Context // ended by Close: reads, watches and campaigns
	end       context.CancelFunc
	ended     chan struct{} // closed when all goroutines have ended
	once      sync.Once
	wg        sync.WaitGroup // leaderships, campaigns and the tail

	doubt  atomic.Pointer[doubt] // of the last commit with an unknown outcome
	outage atomic.Pointer[error] // why there is no connection for commits
	health storage.Outage
	tail   *tail

	storage.Acknowledgements
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Elector     = (*Store)(nil)
	_ storage.Watcher     = (*Store)(nil)
	_ storage.Sequencer   = (*Store)(nil)
	_ storage.Snapshotter = (*Store)(nil)
	_ storage.Sizer       = (*Store)(nil)
	_ storage.Reporter    = (*Store)(nil)
)

// Open connects, and creates missing tables. Errors name the remedy: ErrConfig, ErrFormat,
// ErrTables, storage.ErrForeign, storage.ErrUnavailable, or PostgreSQL's own.
func Open(ctx context.Context, o Options) (storage.Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o.defaults()
	s := &Store{o: o, log: o.Log, window: keepRevisions, queue: make(chan *request, queueLength),
		ended: make(chan struct{})}
	s.health.Log, s.health.Now = o.Log, o.Now
	names, err := tableNames(o.Table)
	if err != nil {
		return nil, err
	}
	s.sql = newStatements(names)
	pool, err := configure(o, names)
	if err != nil {
		return nil, err
	}
	s.conn = pool.ConnConfig.Copy()
	s.pooled = wantsNoNames(s.conn)
	s.conn.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // prepares nothing; see detectPooler
	s.useExecMode(pool)
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
	if o.OutageTimeout <= 0 {
		o.OutageTimeout = DefaultOutageTimeout
	}
}

// run is the writer's goroutine. When the queue is closed and empty, everything else ends.
func (s *Store) run() {
	defer close(s.ended)
	w := writer{store: s}
	w.serve(s.queue)
	w.drop()
	s.wg.Wait()
	s.pool.Close()
}

// Close implements storage.Store: it first executes the queued commits, and resigns a leadership.
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

// ready is the check at the start of every method.
func (s *Store) ready(ctx context.Context) error {
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// limit bounds a read-only call by its own deadline, and by Close.
func (s *Store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.o.CallTimeout)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// Failing implements storage.Reporter.
func (s *Store) Failing() *storage.Failure { return s.health.Failing() }

// note records the outcome of a call for [storage.Reporter].
func (s *Store) note(write bool, doing string, err error) {
	switch {
	case err == nil:
		s.health.Worked(write)
	case s.closing.Err() == nil:
		s.health.Failed(write, storageError(doing, clean(err)))
	}
}

// silence is how long PostgreSQL may take for a statement that needs no time before it counts as
// failing.
const silence = time.Second

// watchSilence records an outage if the statement that begins now is not answered soon; call stop
// when it is.
func (s *Store) watchSilence(doing string) (stop func() bool) {
	return time.AfterFunc(silence, func() { s.note(false, doing, context.DeadlineExceeded) }).Stop
}
