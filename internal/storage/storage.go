// Package storage is the contract between Sealgate and its storage backends.
//
// A [Store] is a flat, ordered map from keys to values with one atomic write: [Store.Commit]. A
// commit is applied entirely or not at all, whatever crashes; once it has returned nil it survives
// kill -9 and power loss (if the disk honours fsync). Reads see every commit that returned before
// they began.
//
// A Commit that returns an error other than those marked "nothing was written" has an unknown
// outcome: a caller that keeps state in memory must read it again.
//
// Values are ciphertext (the barrier seals them) except for a few records with their own
// protection. Keys are visible to anyone who can read the storage.
//
// Every implementation passes the suite in package storagetest.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Limits of a commit and of a key, the same on every backend, so that no caller depends on what
// only one of them can do (etcd: 128 operations and 1.5 MiB in a transaction; PostgreSQL: 2,704
// bytes in an index row).
const (
	MaxOps   = 64      // puts, deletes and conditions
	MaxBytes = 1 << 20 // keys and values, summed
	MaxKey   = 2048    // bytes of a key
)

// Errors of the contract. Those marked "nothing was written" make the outcome certain.
var (
	// ErrNotFound is returned by Get for a key without a value.
	ErrNotFound = errors.New("storage: not found")
	// ErrConflict is returned by Commit when a condition does not hold. Nothing was written.
	ErrConflict = errors.New("storage: a condition of the commit does not hold")
	// ErrFenced is returned by Commit when another leader was elected since the batch's epoch.
	// Nothing was written.
	ErrFenced = errors.New("storage: another node has become the leader")
	// ErrTooLarge is returned by Commit for a batch beyond MaxOps or MaxBytes. Nothing was written.
	ErrTooLarge = errors.New("storage: the commit is too large")
	// ErrInvalidKey is returned for an invalid key or prefix: see [CheckKey] and [CheckPrefix].
	// Nothing was written.
	ErrInvalidKey = errors.New("storage: invalid key")
	// ErrClosed is returned after Close. Nothing was written.
	ErrClosed = errors.New("storage: closed")
	// ErrFull is returned by Commit if there is no space left. Nothing was written.
	ErrFull = errors.New("storage: no space left")
	// ErrBusy is returned by a [Compactor] that is already compacting, or whose data is being copied.
	ErrBusy = errors.New("storage: busy")
	// ErrLocked is returned on opening a store that another process has open.
	ErrLocked = errors.New("storage: in use by another process")
	// ErrCorrupt is returned if stored bytes cannot be what was written.
	ErrCorrupt = errors.New("storage: corrupt")
	// ErrForeign is returned on opening a folder or database that holds another program's data.
	ErrForeign = errors.New("storage: holds another program's data")
	// ErrUnavailable is returned if the storage server cannot be reached or does not respond in
	// time. The outcome of a Commit is unknown.
	ErrUnavailable = errors.New("storage: unavailable")
	// ErrUnreadable is returned, with ErrCorrupt, if the disk cannot read a part of the storage that
	// a call needs. A Commit that returns it has written nothing.
	ErrUnreadable = errors.New("unreadable")
)

// NothingWritten reports whether an error of Commit guarantees that nothing was, or will be,
// written.
func NothingWritten(err error) bool {
	for _, certain := range []error{ErrConflict, ErrFenced, ErrTooLarge, ErrInvalidKey, ErrClosed, ErrFull,
		ErrUnreadable} {
		if errors.Is(err, certain) {
			return true
		}
	}
	return false
}

// Store is what every backend provides. All methods are safe for concurrent use
// and return promptly with the context's error when it ends.
type Store interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(ctx context.Context, key string) ([]byte, error)

	// List returns the names directly below prefix in byte order: "a" for the key prefix+"a", and
	// "b/" once for all keys that start with prefix+"b/". The prefix is empty or ends in a slash.
	// It returns only names after `after`, unless that is empty, and at most limit of them, if
	// limit is positive. No names are an empty list, not an error.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)

	// Commit applies all of the batch, in order, or nothing.
	Commit(ctx context.Context, b Batch) error

	// Close ends the store's goroutines and releases its files. Calls in progress finish or return
	// ErrClosed.
	Close() error
}

// Batch is one atomic write.
type Batch struct {
	If    []Condition // all must hold when the batch is applied
	Ops   []Op        // applied in order; the last operation on a key wins
	Epoch uint64      // the epoch (Leadership.Epoch) that must still be current; 0 without an election

	// Before, unless it is nil, receives what the commit replaced. A backend that cannot know leaves
	// it as it is.
	Before *Before
}

// Before is what a commit replaced, as of that commit. It is complete when Commit returns nil.
type Before struct {
	Known bool  // false: the backend does not know, also where it learned the outcome otherwise
	Old   []Old // one for each operation, as it was before the batch
}

// HeadSize is how much of a replaced value Before shows.
const HeadSize = 5

// Old describes the value of a key.
type Old struct {
	Present bool
	Size    int            // bytes of the value
	Head    [HeadSize]byte // its first bytes; zero beyond its end
}

// Describe returns what Before shows of a value.
func Describe(value []byte) Old {
	o := Old{Present: true, Size: len(value)}
	copy(o.Head[:], value)
	return o
}

// Op is a put or a delete. Deleting an absent key is not an error.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
}

// Put returns the operation that stores value under key.
func Put(key string, value []byte) Op { return Op{Key: key, Value: value} }

// Delete returns the operation that removes key.
func Delete(key string) Op { return Op{Key: key, Delete: true} }

// Condition is the value that a key must have for the batch to be applied: exactly Value, or none
// if Absent is set.
type Condition struct {
	Key    string
	Value  []byte
	Absent bool
}

// IfAbsent is the condition that key has no value.
func IfAbsent(key string) Condition { return Condition{Key: key, Absent: true} }

// IfValue is the condition that key has exactly this value.
func IfValue(key string, value []byte) Condition { return Condition{Key: key, Value: value} }

// Elector is implemented by stores that several nodes share.
type Elector interface {
	// Campaign waits until this node is elected or ctx ends. The other nodes can read the identity.
	Campaign(ctx context.Context, identity []byte) (Leadership, error)
	// Leader returns the identity and epoch of the current leader, or ErrNotFound.
	Leader(ctx context.Context) (identity []byte, epoch uint64, err error)
}

// Leadership is held by an elected node.
type Leadership interface {
	// Epoch grows with every election. A batch that carries it is refused with ErrFenced once
	// another leader is elected.
	Epoch() uint64
	// Lost is closed when the leadership is, or may be, lost.
	Lost() <-chan struct{}
	// Held reports whether certainly no other node was elected up to the moment of the call. It
	// does not ask the storage, but a local clock that runs on while the process is stopped: it is
	// true until shortly before the end of the lease that the storage last confirmed. A node that
	// answers from memory calls it after it has read its answer.
	Held() bool
	// Resign ends the leadership at once.
	Resign(ctx context.Context) error
}

// Watcher is implemented by stores that report changes.
type Watcher interface {
	// Watch sends the keys below prefix that change after the call, in commit order, until ctx
	// ends; then it closes the channel. A channel closed before that means that changes may have
	// been missed: read again, then watch again. A [Sequencer] also sends a mark after the events
	// of every commit, even if none were below prefix.
	Watch(ctx context.Context, prefix string) (<-chan Event, error)
}

// Event names a key that was put or deleted; read the value separately. An event without a key is a
// mark: every event of the commits up to Revision was sent.
type Event struct {
	Key      string
	Deleted  bool
	Revision uint64 // number of the commit, if the store is a [Sequencer]
}

// Sequencer is implemented by stores that number their commits. A caching node can then prove that
// it has seen every commit: it asks for the revision, and waits until its watch has delivered the
// mark.
type Sequencer interface {
	// Revision returns the number of the last commit. It is linearizable: no commit that returned
	// before the call has a higher number. Numbers grow, not necessarily by one. 0 means no commit
	// yet.
	Revision(ctx context.Context) (uint64, error)
}

// Snapshotter is implemented by stores that can stream a consistent copy of all entries.
type Snapshotter interface {
	// Snapshot calls visit for every entry in key order, as of one moment. The value is valid until
	// visit returns.
	Snapshot(ctx context.Context, visit func(key string, value []byte) error) error
}

// Ranger is implemented by stores where a copy of one moment that takes long is a burden: it keeps
// the space of what is changed meanwhile.
type Ranger interface {
	// Range calls visit for the entries that follow a key, at most limit of them, in key order, as of
	// one moment. The value is valid until visit returns.
	Range(ctx context.Context, after string, limit int, visit func(key string, value []byte) error) error
}

// Scrubber is implemented by [Snapshotter]s that detect damaged entries.
type Scrubber interface {
	// SnapshotIntact is Snapshot without the damaged entries, whose keys it passes to damaged. A nil
	// visit only checks the entries.
	SnapshotIntact(ctx context.Context, visit func(key string, value []byte) error, damaged func(key string)) error
}

// Sizer is implemented by stores that know their size in bytes.
type Sizer interface {
	Size(ctx context.Context) (int64, error)
}

// Compactor is implemented by stores whose file does not shrink when entries are deleted.
type Compactor interface {
	// Compact rewrites the store without its free space, while it is served, and returns its size in
	// bytes before and after. It fails with ErrBusy where it cannot run at the moment.
	Compact(ctx context.Context) (before, after int64, err error)
}

var _ io.Closer = Store(nil)

// CheckKey refuses an invalid key: empty, longer than MaxKey, not UTF-8, with a NUL byte, a leading
// or trailing slash, or an empty, "." or ".." segment.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("%w: empty", ErrInvalidKey)
	case len(key) > MaxKey:
		return fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrInvalidKey, len(key), MaxKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: not UTF-8", ErrInvalidKey)
	case strings.IndexByte(key, 0) >= 0:
		return fmt.Errorf("%w: contains a NUL byte", ErrInvalidKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("%w: %q has the segment %q", ErrInvalidKey, key, segment)
		}
	}
	return nil
}

// CheckPrefix accepts "" and a key followed by a slash.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	key, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("%w: the prefix %q does not end in a slash", ErrInvalidKey, prefix)
	}
	return CheckKey(key)
}

// Check refuses a batch with an invalid key or beyond the limits. Every backend calls it first.
func (b Batch) Check() error {
	if n := len(b.Ops) + len(b.If); n > MaxOps {
		return fmt.Errorf("%w: %d operations and conditions; at most %d are allowed", ErrTooLarge, n, MaxOps)
	}
	size := 0
	for _, op := range b.Ops {
		if err := CheckKey(op.Key); err != nil {
			return err
		}
		size += len(op.Key) + len(op.Value)
	}
	for _, c := range b.If {
		if err := CheckKey(c.Key); err != nil {
			return err
		}
		size += len(c.Key) + len(c.Value)
	}
	if size > MaxBytes {
		return fmt.Errorf("%w: %d bytes; at most %d are allowed", ErrTooLarge, size, MaxBytes)
	}
	return nil
}
