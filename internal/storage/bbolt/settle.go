package bbolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// How the library (bbolt 1.5.0) leaves the database when a commit fails, and what follows:
//
//   - Growing the file, writing pages or their fsync failed: the old meta page is still current,
//     the free list is read back from it, and pages that readers of older transactions need stay
//     reserved. The next write may proceed.
//   - The meta page was written and its fsync failed: the new state is visible but may not survive
//     a power failure, and pages freed by the transaction are considered free although readers of
//     the old state may still read them. Nothing is written until the database is reopened, without
//     readers.
//   - Mapping more memory failed: nothing is mapped. The database is reopened too.

// settle finds out whether the group was written and returns the members' result: nil if it is on
// disk after all.
func (w *writer) settle(cause error) error {
	w.store.log.Error("a commit failed", "file", w.store.path, "error", cause)
	sequence, err := w.store.sequence()
	if err == nil && sequence == w.sequence {
		return w.notWritten(cause)
	}
	w.reopen = cause
	landed := w.sequence + 1
	if err := w.recover(); err != nil {
		return unknown(w.store.path, cause, err)
	}
	if w.sequence < landed {
		return w.notWritten(cause)
	}
	return nil
}

// unknown is the error of a commit whose outcome cannot be found out. Only the text of again, why
// the file could not be reopened, goes into it: an error such as storage.ErrUnreadable would say
// that nothing was written.
func unknown(path string, cause, again error) error {
	return failed(cause, fmt.Errorf("bbolt: the outcome of a commit to %s is unknown: %w (%v)", path, cause, again))
}

func (w *writer) notWritten(cause error) error {
	if full(cause) {
		return fullError(w.store.path, cause)
	}
	return failed(cause, fmt.Errorf("bbolt: nothing was written to %s: %w; check the disk and its file system (dmesg), "+
		"then repeat the write", w.store.path, cause))
}

// recover opens the database again and ensures that what it shows is on disk. It fails while a
// snapshot is read, so that no reader has to wait for the snapshot; the next commit retries.
func (w *writer) recover() error {
	s := w.store
	s.check.cancel() // the reopened file is verified as a whole
	if !s.snapshots.TryLock() {
		return fmt.Errorf("bbolt: %s must be reopened after a failed write, but a snapshot is being read: %w",
			s.path, w.reopen)
	}
	defer s.snapshots.Unlock()
	if err := w.reopenDB(); err != nil {
		return err
	}
	sequence, err := s.sequence()
	if err != nil {
		return err
	}
	if err := guarded(func() error { return writeSequence(s.db, sequence) }); err != nil {
		return failed(err, fmt.Errorf("bbolt: writing %s: %w", s.path, err))
	}
	w.sequence, w.reopen = sequence, nil
	return nil
}

// writeSequence writes the current sequence again, which replaces the unsynced meta page by a
// synced one. (Another fsync would not do: after a failure the kernel considers the page written.)
func writeSequence(db *bolt.DB, sequence uint64) error {
	return db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(metaBucket).Put(sequenceKey, binary.BigEndian.AppendUint64(nil, sequence))
	})
}

func (w *writer) reopenDB() error {
	s := w.store
	s.reading.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		if err := guarded(s.db.Close); err != nil {
			var p *panicError
			if errors.As(err, &p) {
				w.damage = corrupt(s.path, "closing it failed: %v", p)
				return w.damage
			}
		}
		s.db, s.file = nil, nil
	}
	again, err := openDB(context.Background(), s.path, s.opts.LockWait, s.log, false)
	if err != nil {
		return fmt.Errorf("bbolt: cannot reopen after a failed write: %w", err)
	}
	s.db, s.file = again.db, again.file
	w.marked(w.mark.confirm())
	return nil
}
