package bbolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// request is a queued batch, or a function for the writer to run between two groups.
type request struct {
	batch storage.Batch
	run   func(*writer) error // nil: the batch
	taken atomic.Bool         // claimed by the writer, or by a caller that gives up: the first wins
	done  chan error
}

// Commit implements storage.Store. If ctx ends before the writer has taken the batch, nothing is
// written; afterwards Commit waits for the outcome, which is near.
func (s *Store) Commit(ctx context.Context, b storage.Batch) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := b.Check(); err != nil {
		return err
	}
	if b.Epoch != 0 {
		return fmt.Errorf("%w: this storage has no leader election", storage.ErrFenced)
	}
	return s.submit(ctx, &request{batch: b, done: make(chan error, 1)})
}

// submit hands a request to the writer and waits for its outcome, or until ctx ends before the
// writer has begun it.
func (s *Store) submit(ctx context.Context, r *request) error {
	if err := s.send(ctx, r); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-r.done
	}
}

func (s *Store) send(ctx context.Context, r *request) error {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	select {
	case s.queue <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writer is the single goroutine that writes.
type writer struct {
	store    *Store
	sequence uint64 // of the last group known to be written
	damage   error  // set when the library panicked in a write: no more writes
	reopen   error  // why the database must be opened again before the next write
	commit   func(*bolt.Tx) error
	mark     marker
	noted    map[string]struct{} // the keys changed since a compaction began; nil: there is none
	unmarked bool                // the log says that the mark cannot be written
	pacer    storage.Pacer
}

// marked logs an error of the mark.
func (w *writer) marked(err error) {
	if err != nil && !w.unmarked {
		w.unmarked = true
		w.store.log.Warn("the mark of the database cannot be written; after a crash, the next start verifies the whole "+
			"file before it serves", "file", w.store.path, "error", err)
	}
}

// serve writes groups until the queue is closed and empty.
func (w *writer) serve(queue <-chan *request) {
	for first := range queue {
		group, last := w.gather(first, queue)
		if len(group) > 0 {
			begun := time.Now()
			w.write(group)
			w.pacer.Wrote(len(group), len(queue), time.Since(begun))
		}
		if last != nil {
			last.done <- last.run(w)
		}
	}
}

// inWriter runs f in the writer. Once it has begun it is waited for.
func (s *Store) inWriter(ctx context.Context, f func(*writer) error) error {
	return s.submit(ctx, &request{run: f, done: make(chan error, 1)})
}

// gather takes the queued batches, and those that arrive soon, within the bounds of a group. A
// request that is not a batch ends the group, and runs after it.
func (w *writer) gather(first *request, queue <-chan *request) (group []*request, last *request) {
	arrivals := storage.Gather(&w.pacer, queue)
	defer arrivals.End()
	size := 0
	for r, ok := first, true; ok; r, ok = arrivals.Next(len(group)) {
		switch {
		case !r.taken.CompareAndSwap(false, true):
		case r.run != nil:
			return group, r
		default:
			group = append(group, r)
			for _, op := range r.batch.Ops {
				size += len(op.Key) + len(op.Value)
			}
		}
		if len(group) == groupBatches || size >= groupBytes {
			break
		}
	}
	return group, nil
}

// write executes a group in one transaction and answers its members.
func (w *writer) write(group []*request) {
	results := make([]error, len(group))
	slow := w.watchSlow()
	events, err := w.transact(group, results)
	slow.Stop()
	if w.commitEach(group, err) {
		return
	}
	if err != nil || len(events) > 0 { // without events nothing was written, which proves nothing
		w.store.note(err)
	}
	switch {
	case err == nil:
		w.store.feed.Publish(events...)
	case !storage.NothingWritten(err):
		w.store.feed.Break()
	}
	for i, r := range group {
		if err != nil {
			results[i] = err // a member that conflicted with an unwritten batch gets it too
		}
		r.done <- results[i]
	}
}

// slowCommit is how long a commit may take before the storage counts as failing.
const slowCommit = 2 * time.Second

// watchSlow reports a commit that does not end: a disk that does not answer.
func (w *writer) watchSlow() *time.Timer {
	return time.AfterFunc(slowCommit, func() {
		w.store.failing.Failed(true, storage.Classified(storage.Unresponsive, fmt.Errorf("bbolt: a commit to %s takes "+
			"more than %s: the disk does not answer; check it", w.store.path, slowCommit)))
	})
}

// note records the outcome of a group for [storage.Reporter].
func (s *Store) note(err error) {
	switch {
	case err == nil:
		s.failing.Worked(true)
		return
	case errors.Is(err, storage.ErrUnreadable): // other writes succeed; see Failing
		return
	}
	s.failing.Failed(true, err) // ignores errors without a class
}

// failed returns the error of a disk, with its class.
func failed(cause, err error) error {
	class := storage.Failed
	for _, errno := range []syscall.Errno{syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(cause, errno) {
			class = storage.ReadOnly
		}
	}
	return storage.Classified(class, err)
}

// transact returns an error of the whole group; errors of single members go to results.
func (w *writer) transact(group []*request, results []error) ([]storage.Event, error) {
	if w.damage != nil {
		return nil, w.damage
	}
	if damage := w.store.damaged.Load(); damage != nil {
		return nil, *damage
	}
	if w.reopen != nil {
		if err := w.recover(); err != nil {
			return nil, err
		}
	}
	w.store.reading.end()
	var events []storage.Event
	started := false // from here on the outcome may be unknown
	var rollback func() error
	err := guarded(func() error {
		tx, err := w.store.db.Begin(true)
		if err != nil {
			return err
		}
		rollback = tx.Rollback
		wrote, err := w.apply(tx, group, results, &events)
		if err != nil || !wrote {
			err = errors.Join(err, tx.Rollback())
			if err == nil {
				w.store.reading.keep()
			}
			return err
		}
		failpoint.Point("storage.commit.before")
		size := tx.Size()
		w.marked(w.mark.busy())
		started = true
		err = w.commit(tx)
		if err == nil {
			w.sequence++
			w.marked(w.mark.idle(w.store.file, size))
			w.store.reading.keep()
			failpoint.Point("storage.commit.after")
		}
		return err
	})
	var p *panicError
	switch {
	case err == nil:
		return events, nil
	case errors.As(err, &p):
		return nil, w.panicked(rollback, group, p)
	case started:
		return events, w.settle(err)
	}
	return nil, fmt.Errorf("bbolt: %w", err)
}

// apply executes the batches whose conditions hold, in order; each sees the ones before it.
func (w *writer) apply(tx *bolt.Tx, group []*request, results []error, events *[]storage.Event) (wrote bool,
	err error) {
	bucket, err := w.store.data(tx)
	if err != nil {
		return false, err
	}
	for i, r := range group {
		if results[i] = w.check(bucket, r.batch.If); results[i] != nil {
			continue
		}
		w.before(bucket, r.batch)
		for j, op := range r.batch.Ops {
			changed, err := applyOp(bucket, op)
			if err != nil {
				return false, err
			}
			overtaken := slices.ContainsFunc(r.batch.Ops[j+1:], func(later storage.Op) bool { return later.Key == op.Key })
			if changed && !overtaken {
				*events = append(*events, storage.Event{Key: op.Key, Deleted: op.Delete})
			}
			wrote = wrote || changed
			if changed && w.noted != nil && len(w.noted) < compactNoted {
				w.noted[op.Key] = struct{}{}
			}
		}
	}
	if !wrote {
		return false, nil
	}
	return true, tx.Bucket(metaBucket).Put(sequenceKey, binary.BigEndian.AppendUint64(nil, w.sequence+1))
}

// before notes what a batch replaces, for a caller that wants to know. A damaged entry has the size
// and the beginning that its frame shows.
func (w *writer) before(bucket *bolt.Bucket, b storage.Batch) {
	if b.Before == nil {
		return
	}
	old := make([]storage.Old, len(b.Ops))
	for i, op := range b.Ops {
		if stored := bucket.Get([]byte(op.Key)); len(stored) >= sumSize {
			old[i] = storage.Describe(stored[sumSize:])
		}
	}
	*b.Before = storage.Before{Known: true, Old: old}
}

func applyOp(bucket *bolt.Bucket, op storage.Op) (changed bool, err error) {
	key := []byte(op.Key)
	if op.Delete {
		if bucket.Get(key) == nil {
			return false, nil
		}
		return true, bucket.Delete(key)
	}
	return true, bucket.Put(key, frame(key, op.Value))
}

func (w *writer) check(bucket *bolt.Bucket, conditions []storage.Condition) error {
	for _, c := range conditions {
		key := []byte(c.Key)
		stored := bucket.Get(key)
		if c.Absent != (stored == nil) {
			return fmt.Errorf("%w: %q", storage.ErrConflict, c.Key)
		}
		if stored == nil {
			continue
		}
		value, err := w.store.unframe(key, stored)
		if err != nil {
			return err
		}
		if !bytes.Equal(value, c.Value) {
			return fmt.Errorf("%w: %q", storage.ErrConflict, c.Key)
		}
	}
	return nil
}
