// Package bbolt is a store in one file of a folder: the default storage, for one node.
//
// It guarantees the contract of package storage, and:
//   - Concurrent commits share an fsync: those that arrive while a group is written, and soon
//     after, form the next group. A conflicting batch fails alone. Reads never wait for a writer.
//   - A full disk fails commits with storage.ErrFull; reads continue, and commits succeed again
//     when there is space.
//   - A damaged file is refused. Open checks the structure of a small file, and of one that may
//     have been changed (half a second for a cached GiB). A large file that is as the last process
//     left it is served at once, and checked then: see mark.go. Damage found by that check ends all
//     reads and writes, and the next Open refuses the file. Every value has a checksum over itself
//     and its key, so a flipped bit is an error that names the key, never a wrong value.
//   - A page that the disk cannot read fails the calls that need it, with the page and the entry in
//     the error, and no others: see unreadable.go.
//   - A folder with another program's data is refused and not changed.
//
// It does not guarantee that values or keys are unreadable (the barrier does), nor more than the
// disk does at a power failure. There is no election: a batch with an epoch is refused with
// storage.ErrFenced.
//
// The file is a bbolt database with the buckets "sealgate" (format version; number of the last
// group) and "data":
//
//	key -> CRC-32C u32 of key and value | value
package bbolt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/storage"
)

// FileName is the database within its folder.
const FileName = "sealgate.db"

// ErrFormat is returned on opening a file of a format that this program does not know.
var ErrFormat = errors.New("bbolt: unknown storage format")

// Options tune a store. The zero value is right for a server.
type Options struct {
	Log      *slog.Logger  // nil: nothing is logged
	LockWait time.Duration // how long Open waits for another process to close the file; 0 means 250 ms
}

const (
	defaultLockWait = 250 * time.Millisecond
	queueLength     = 1024
	// Bounds of a group: they bound the memory of a transaction and the latency of its first
	// member.
	groupBatches = 256
	groupBytes   = 4 << 20
)

// Store is an open database. It implements storage.Store, Watcher, Snapshotter, Scrubber
// and Sizer.
type Store struct {
	path string
	log  *slog.Logger
	opts Options

	// mu guards db: readers hold it shared while they use db; the writer holds it exclusively to
	// replace db after a failed commit.
	mu   sync.RWMutex
	db   *bolt.DB
	file *os.File // of db
	// snapshots lets the writer avoid waiting for a long snapshot, which would block all readers
	// too.
	snapshots sync.RWMutex
	reading   readTxs
	damaged   atomic.Pointer[error] // set when a panic left the library's locks held: no more reads

	closeLock  sync.RWMutex // held shared while sending to queue
	queue      chan *request
	closing    context.Context // ended by Close
	end        context.CancelFunc
	ended      chan struct{} // closed when the writer has ended and db is closed
	check      *check        // nil, or of the file as it was opened
	compacting sync.Mutex    // held by Compact
	feed       storage.Feed

	writer     writer
	failing    storage.Outage
	unreadable unreadable
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Watcher     = (*Store)(nil)
	_ storage.Snapshotter = (*Store)(nil)
	_ storage.Sizer       = (*Store)(nil)
	_ storage.Reporter    = (*Store)(nil)
	_ storage.Compactor   = (*Store)(nil)
	_ storage.Ranger      = (*Store)(nil)
)

// Open opens the database in dir, and creates folder and file (modes 0700, 0600) if they are
// missing. Errors name the file and the remedy: storage.ErrLocked, storage.ErrForeign,
// storage.ErrCorrupt, storage.ErrFull, ErrFormat, and those of the operating system.
func Open(ctx context.Context, dir string, o Options) (storage.Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.LockWait == 0 {
		o.LockWait = defaultLockWait
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName)
	if err := prepare(ctx, dir, path); err != nil {
		return nil, err
	}
	s := &Store{path: path, log: o.Log, opts: o, queue: make(chan *request, queueLength), ended: make(chan struct{})}
	s.failing.Log, s.failing.Now, s.unreadable.log = o.Log, time.Now, o.Log
	s.closing, s.end = context.WithCancel(context.Background())
	s.writer = writer{store: s, commit: (*bolt.Tx).Commit}
	first, err := openDB(ctx, path, o.LockWait, o.Log, true)
	if err != nil {
		return nil, err
	}
	s.db, s.file, s.check = first.db, first.file, first.check
	if s.check != nil {
		s.check.start(s)
	}
	if s.writer.sequence, err = s.sequence(); err != nil {
		return nil, errors.Join(err, s.closeDB())
	}
	s.reading.keep()
	s.beginMark()
	if err := removeCopies(dir); err != nil {
		s.log.Warn("the copy of a compaction that did not end cannot be removed", "error", err)
	}
	go s.run()
	return s, nil
}

// beginMark marks a large file: see mark.go.
func (s *Store) beginMark() {
	info, err := s.file.Stat()
	if err == nil && info.Size() >= largeFile {
		err = s.writer.mark.begin(s.file, s.check == nil)
	}
	s.writer.marked(err)
}

// run is the writer's goroutine.
func (s *Store) run() {
	defer close(s.ended)
	s.writer.serve(s.queue)
	if err := s.closeDB(); err != nil {
		s.log.Error("cannot close the database", "file", s.path, "error", err)
	}
}

// Close implements storage.Store: it first executes the queued commits.
func (s *Store) Close() error {
	s.closeLock.Lock()
	first := s.closing.Err() == nil
	if first {
		s.end()
		close(s.queue)
	}
	s.closeLock.Unlock()
	<-s.ended
	return nil
}

// closeDB waits for readers and closes the file. If a panic left the library's locks held, it
// closes only the file.
func (s *Store) closeDB() error {
	s.check.cancel()
	s.reading.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	db, file := s.db, s.file
	s.db, s.file = nil, nil
	switch {
	case db == nil:
		return nil
	case s.damaged.Load() != nil || s.writer.damage != nil:
		s.writer.marked(s.writer.mark.end(file, false))
		return letGo(file)
	}
	s.writer.marked(s.writer.mark.end(file, s.writer.reopen == nil))
	if err := guarded(db.Close); err != nil {
		var p *panicError
		if errors.As(err, &p) {
			return corrupt(s.path, "closing it failed: %v", p)
		}
		return err
	}
	return nil
}

// Failing implements storage.Reporter: why the last commit failed or takes so long, or what the
// disk cannot read.
func (s *Store) Failing() *storage.Failure {
	if f := s.failing.Failing(); f != nil {
		return f
	}
	return s.unreadable.failing()
}

// ready is the check at the start of every method.
func (s *Store) ready(ctx context.Context) error {
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// Watch implements storage.Watcher. The channel is closed early for a reader that falls more than
// 1,024 events behind.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	return s.feed.Subscribe(prefix, ctx, s.closing), nil
}

// corrupt returns an error that names the file and wraps storage.ErrCorrupt.
func corrupt(path, format string, args ...any) error {
	return fmt.Errorf("%w: the file %s: %s; restore it from a snapshot", storage.ErrCorrupt, path,
		fmt.Sprintf(format, args...))
}

// damagedSuffix is the end of the name under which an operator keeps a damaged file. The folder
// counts as empty with it.
const damagedSuffix = ".damaged"

// lost returns the error of a file that cannot be opened at all, with the way back. The file is
// left as it is: nothing but an operator moves it.
func lost(path, damage string) error {
	return fmt.Errorf("%w: the file %s: %s; restore it from a snapshot: move it away (mv %s %s%s), start the server, and "+
		"run `sealgate operator snapshot restore FILE`", storage.ErrCorrupt, path, damage, path, path, damagedSuffix)
}
