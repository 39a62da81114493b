// Package etcd is a store in an etcd cluster, shared by several nodes.
//
// It guarantees the contract of package storage, and:
//   - A commit is one etcd transaction: its conditions, the comparison of the leader's epoch with
//     the current one, its operations and the number of the commit. etcd itself refuses the commit
//     of a deposed leader, however late it arrives.
//   - Every call has a deadline, Options.RequestTimeout; without a response by then it fails with
//     storage.ErrUnavailable, and after Options.OutageTimeout if no member accepts connections. A
//     call that a member leaves unanswered for 300 ms is sent to the next one as well. A commit is
//     applied at most once, however often it is sent: each copy compares and sets the mark of a
//     slot that no other commit uses meanwhile. A partitioned member reports that, and another is
//     asked.
//   - Connections and watches are restored automatically; a watch resumes after its last event. If
//     etcd has compacted the missing events, the channels of all watches are closed.
//   - At most one node leads. A candidate takes over a lease that was not renewed for a whole TTL
//     by the candidate's clock, counted from when it saw the last renewal. The leader counts from
//     when it sent that renewal, and stops earlier. The clocks need not agree, only run at the same
//     rate within a tenth. They run on while a process or machine sleeps.
//
// It does not guarantee that etcd survives: run three or five members. The lease is not an etcd
// lease, because those last at least 1.5 times etcd's election timeout, rounded up to 2 s by
// default, and end up to half a second late. No node can renew its lease while etcd elects a
// leader, so the leadership may move. At its quota etcd accepts no lease: there is no leader until
// it has space. After etcd was restored from a snapshot, restart the nodes, because revisions go
// back.
//
// Every renewal and every commit is a revision in etcd's history. The leader compacts history older
// than five minutes, unless Options.DisableCompaction is set; etcd does not by default.
//
// Keys below the path ("commit" and "data/" are adjacent, so one watch covers both; the names of
// the leadership's keys are part of the stored format):
//
//	format         "sealgate 1"
//	commit         empty; its modification revision is the number of the last commit
//	data/KEY       the value
//	office/leader  written by an election; its modification revision is the epoch:
//	               version u8 = 1 | TTL in milliseconds u32 | identity
//	office/lease   written by each renewal; an election writes its mark, a renewal no value
//	slot/N         mark of the last commit that used the slot: 16 bytes that never repeat
package etcd

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// Defaults of Options.
const (
	DefaultPath           = "/sealgate/"
	DefaultRequestTimeout = 5 * time.Second
	DefaultLeaseTTL       = 1300 * time.Millisecond
	DefaultOutageTimeout  = time.Second
)

// Options say how to connect to etcd.
type Options struct {
	Endpoints []string // URLs, all http or all https
	Path      string   // prefix of all keys; "" means DefaultPath

	Username, Password string
	CAFile             string // PEM; "" means the system's roots
	CertFile, KeyFile  string // PEM; read for every connection
	ServerName         string // expected in certificates; "" means the endpoint's host

	RequestTimeout time.Duration // of every call
	OutageTimeout  time.Duration // of calls while no member accepts connections; 0 means DefaultOutageTimeout
	LeaseTTL       time.Duration // how long the leadership outlives an unresponsive leader; preferably equal on all nodes
	// ReadOnly makes Open write nothing: it returns fs.ErrNotExist if there is no data below the
	// path.
	ReadOnly bool
	// DisableCompaction leaves the history to etcd's --auto-compaction-retention, for an etcd whose
	// history other clients need.
	DisableCompaction bool

	Log *slog.Logger
	// Clock reads a clock that runs on while the process, and preferably the machine, is stopped.
	// Its zero is arbitrary.
	Clock func() time.Duration
}

// Store is a connection to etcd. It implements storage.Store and every optional interface of
// package storage.
type Store struct {
	o         Options
	keys      layout
	log       *slog.Logger
	clock     func() time.Duration
	members   []*member
	preferred preference
	outage    storage.Outage
	marks     marks
	slots     slots

	closing     context.Context // ended by Close
	end         context.CancelFunc
	closeLock   sync.Mutex     // guards shut, the leaderships and adding to the wait groups
	shut        bool           // no new calls
	commits     sync.WaitGroup // in progress; Close waits for them
	tasks       sync.WaitGroup // goroutines
	leaderships map[*leadership]struct{}

	follow   follower
	observed observation

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

// Open connects and prepares the path. It fails if etcd does not respond within the request
// timeout; the errors name cause and remedy: storage.ErrUnavailable, storage.ErrForeign, ErrDenied,
// ErrConfig.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Store{o: o, keys: newLayout(o.Path), log: o.Log, clock: o.Clock, leaderships: map[*leadership]struct{}{}}
	s.outage.Log, s.outage.Now = o.Log, time.Now
	if err := s.marks.seed(); err != nil {
		return nil, err
	}
	s.closing, s.end = context.WithCancel(context.Background())
	if err := s.connect(ctx); err != nil {
		s.end()
		s.tasks.Wait()
		_ = s.hangUp() // nothing was written
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// Observe the lease from now on, so that a node unsealed later need not wait for the whole
	// lease of a dead leader.
	if _, err := s.readElection(ctx); err != nil && !errors.Is(err, storage.ErrCorrupt) { // elections report that
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// ready is the check at the start of every method.
func (s *Store) ready(ctx context.Context) error {
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// begin registers a commit, for which Close waits.
func (s *Store) begin() error {
	s.closeLock.Lock()
	defer s.closeLock.Unlock()
	if s.shut {
		return storage.ErrClosed
	}
	s.commits.Add(1)
	return nil
}

// launch starts a goroutine for which Close waits; it must end when closing ends.
func (s *Store) launch(f func()) error {
	s.closeLock.Lock()
	defer s.closeLock.Unlock()
	if s.shut {
		return storage.ErrClosed
	}
	s.tasks.Go(f)
	return nil
}

// Close implements storage.Store. It resigns a leadership and waits for commits in progress, which
// the request timeout bounds.
func (s *Store) Close() error {
	s.closeLock.Lock()
	if s.shut {
		s.closeLock.Unlock()
		<-s.closing.Done()
		s.tasks.Wait()
		return nil
	}
	s.shut = true
	var leaderships []*leadership
	for l := range s.leaderships {
		leaderships = append(leaderships, l)
	}
	s.closeLock.Unlock()
	s.commits.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), min(s.o.RequestTimeout, time.Second))
	defer cancel()
	for _, l := range leaderships {
		if err := l.Resign(ctx); err != nil {
			s.log.Warn("could not resign the leadership; it ends with its lease", "error", err)
		}
	}
	s.end()
	s.tasks.Wait()
	return s.hangUp()
}
