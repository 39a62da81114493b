// Package etcd keeps a store in an etcd cluster that several nodes share.
//
// It guarantees what package storage asks for, and:
//   - A commit is one etcd transaction: its conditions, the comparison of the leader's epoch with the one in office, its operations and
//     the number of the commit. A deposed leader's commit is refused by etcd itself, however late it arrives.
//   - No call is without a deadline: Options.RequestTimeout bounds each one, and what etcd does not answer in it is storage.ErrUnavailable.
//     Reads go to another endpoint when one is silent; commits are sent once, because sending one twice could apply it twice.
//     A member that is cut off from the others says so, and is passed over.
//   - The connection comes back by itself, and so does a watch: it goes on behind the last event. Where etcd has compacted what
//     is missing, the channels of all watches are closed.
//   - At most one node holds the office. A lease is taken over when its holder has not renewed it for a whole TTL by the clock of
//     the candidate, counted from when the candidate saw the last renewal; the holder counts from when it sent that renewal, and ends
//     earlier. The two clocks need not agree, only run at the same rate within a tenth. They go on while a process or machine sleeps.
//
// It does not guarantee that etcd itself survives: run three or five members. The lease is not one of etcd's own, because those live at
// least 1.5 times etcd's election timeout, rounded up to 2 s at its defaults, and end up to half a second late. While etcd elects a
// leader of its own, nobody can renew: the office may change hands then. An etcd that has reached its quota takes no lease: there is no
// leader until it has room. After etcd was restored from a snapshot, nodes must be started again, because revisions go back.
//
// Every renewal is a revision in etcd's history, and every commit too. The leader compacts the history that is older
// than five minutes, unless Options.DisableCompaction is set; etcd does not by default.
//
// What lies below the path (commit and data are neighbours, so that one watch covers both):
//
//	format         "sealgate 1"
//	commit         empty; its modification revision is the number of the last commit
//	data/KEY       the value
//	office/leader  written by an election; its modification revision is the epoch:
//	               version u8 = 1 | TTL in milliseconds u32 | identity
//	office/lease   empty, written by each renewal
package etcd

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sealgate/sealgate/internal/storage"
)

// Defaults of Options.
const (
	DefaultPath           = "/sealgate/"
	DefaultRequestTimeout = 5 * time.Second
	DefaultLeaseTTL       = 1500 * time.Millisecond
)

// Options say where etcd is and how to talk to it.
type Options struct {
	Endpoints []string // URLs, all http or all https
	Path      string   // below which all keys lie; DefaultPath where empty

	Username, Password string
	CAFile             string // PEM; the system's roots where empty
	CertFile, KeyFile  string // PEM; read again for every connection
	ServerName         string // expected in certificates; the endpoint's host where empty

	RequestTimeout time.Duration // of every call
	LeaseTTL       time.Duration // how long the office stays after its holder fell silent; the same on all nodes, best
	// LookOnly makes Open mark no path: where nothing lies there yet, it returns fs.ErrNotExist.
	LookOnly bool
	// DisableCompaction leaves the history to etcd's own --auto-compaction-retention: for an etcd whose history others need.
	DisableCompaction bool

	Log *slog.Logger
	// Clock reads a clock that goes on while the process, and best the machine, is stopped; its zero is anywhere.
	Clock func() time.Duration
}

// Store is a connection to etcd. It implements storage.Store and every optional interface of package storage.
type Store struct {
	o      Options
	keys   layout
	log    *slog.Logger
	clock  func() time.Duration
	client *clientv3.Client
	kv     pb.KVClient // with the errors of gRPC, which name the cause

	closing     context.Context // ended by Close
	end         context.CancelFunc
	closeLock   sync.Mutex     // guards shut, offices and adding to the wait groups
	shut        bool           // no call may begin
	commits     sync.WaitGroup // under way: their outcome is waited for
	tasks       sync.WaitGroup // goroutines
	leaderships map[*leadership]struct{}

	follow   follower
	observed observation
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Elector     = (*Store)(nil)
	_ storage.Watcher     = (*Store)(nil)
	_ storage.Sequencer   = (*Store)(nil)
	_ storage.Snapshotter = (*Store)(nil)
	_ storage.Sizer       = (*Store)(nil)
)

// Open connects and prepares the path. It fails where etcd does not answer within the request timeout; the errors tell cause
// and remedy: storage.ErrUnavailable, storage.ErrForeign, ErrDenied, ErrConfig.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Store{o: o, keys: newLayout(o.Path), log: o.Log, clock: o.Clock, leaderships: map[*leadership]struct{}{}}
	s.closing, s.end = context.WithCancel(context.Background())
	if err := s.connect(ctx); err != nil {
		s.end()
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// From here on the lease is watched: a node that is unsealed later need not wait for the whole lease of a leader that is gone.
	if _, err := s.look(ctx); err != nil && !errors.Is(err, storage.ErrCorrupt) { // that, elections will tell
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// ready is what every method asks first.
func (s *Store) ready(ctx context.Context) error {
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// begin registers a commit, which Close then waits for.
func (s *Store) begin() error {
	s.closeLock.Lock()
	defer s.closeLock.Unlock()
	if s.shut {
		return storage.ErrClosed
	}
	s.commits.Add(1)
	return nil
}

// launch starts a goroutine that Close waits for; it must end when closing does.
func (s *Store) launch(f func()) error {
	s.closeLock.Lock()
	defer s.closeLock.Unlock()
	if s.shut {
		return storage.ErrClosed
	}
	s.tasks.Go(f)
	return nil
}

// Close implements storage.Store. An office held is given up; commits under way are waited for, which the request timeout bounds.
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
			s.log.Warn("the office was not given up; it ends with its lease", "error", err)
		}
	}
	s.end()
	s.tasks.Wait()
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
