package bbolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// Compaction copies all entries into a new file, which replaces the old one:
//
//	writer:   notes the keys that it changes from now on
//	Compact:  copies the state of that moment, and syncs the copy
//	writer:   copies the noted keys, syncs, renames the new file over the old, syncs the folder
//
// Commits wait for the last step alone. A crash before the rename leaves the old file, a crash
// after it the new one, and both hold every acknowledged commit. The next Open removes a copy that
// was not completed.

const (
	compactPattern = ".sealgate-compact-*"
	compactBatch   = 4 << 20 // bytes of entries in one transaction of the copy
	// compactNoted is how many keys may change during a compaction: it bounds the memory.
	compactNoted = 1 << 20
)

// Compact implements storage.Compactor. It leaves the file as it is if it fails.
func (s *Store) Compact(ctx context.Context) (before, after int64, err error) {
	if err := s.ready(ctx); err != nil {
		return 0, 0, err
	}
	if !s.compacting.TryLock() {
		return 0, 0, fmt.Errorf("bbolt: a compaction of %s is in progress: %w", s.path, storage.ErrBusy)
	}
	defer s.compacting.Unlock()
	if s.check != nil { // a damaged file is not copied
		select {
		case <-s.check.ended:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
	if before, err = s.Size(ctx); err != nil {
		return 0, 0, err
	}
	c := &compaction{store: s}
	err = c.run(ctx)
	if err = errors.Join(err, c.abandon()); err != nil {
		return before, 0, fmt.Errorf("bbolt: %s is not compacted: %w", s.path, err)
	}
	after, err = s.Size(ctx)
	return before, after, err
}

// compaction is one attempt.
type compaction struct {
	store *Store
	from  *bolt.Tx // the state that is copied
	next  *bolt.DB
	file  *os.File // of next

	noting bool // the writer notes the keys that it changes
}

func (c *compaction) run(ctx context.Context) error {
	if err := c.store.inWriter(ctx, c.begin); err != nil {
		return err
	}
	if err := c.create(); err != nil {
		return err
	}
	if err := c.copy(ctx); err != nil {
		return err
	}
	return c.store.inWriter(ctx, func(w *writer) error { return c.replace(w) })
}

// begin pins the state to copy, and has the writer note the keys that it changes.
func (c *compaction) begin(w *writer) error {
	s := c.store
	if w.damage != nil || w.reopen != nil {
		return errors.Join(w.damage, w.reopen)
	}
	s.snapshots.RLock() // the writer does not reopen the database meanwhile
	err := guarded(func() (err error) {
		c.from, err = s.db.Begin(false)
		return err
	})
	if err != nil {
		s.snapshots.RUnlock()
		return err
	}
	w.noted, c.noting = map[string]struct{}{}, true
	return nil
}

// release unpins the state.
func (c *compaction) release() error {
	if c.from == nil {
		return nil
	}
	err := guarded(c.from.Rollback)
	c.from = nil
	c.store.snapshots.RUnlock()
	return err
}

// abandon removes what an attempt has left, if it was not completed.
func (c *compaction) abandon() error {
	err := c.release()
	if c.noting {
		forget := c.store.inWriter(context.Background(), func(w *writer) error { w.noted = nil; return nil })
		if forget != nil && !errors.Is(forget, storage.ErrClosed) {
			err = errors.Join(err, forget)
		}
	}
	if c.next == nil {
		return err
	}
	name := c.file.Name()
	return errors.Join(err, c.next.Close(), os.Remove(name))
}

// create makes an empty database, locked like every open one.
func (c *compaction) create() error {
	dir := filepath.Dir(c.store.path)
	temp, err := os.CreateTemp(dir, compactPattern)
	if err != nil {
		return err
	}
	name := temp.Name()
	if err := errors.Join(temp.Close(), format(name)); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	c.next, err = bolt.Open(name, 0o600, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoStatistics: true, NoSync: true, InitialMmapSize: initialMap(c.store.path),
		OpenFile: func(name string, flag int, _ os.FileMode) (*os.File, error) {
			f, err := lockedFile(context.Background(), name, flag&^os.O_CREATE, c.store.opts.LockWait)
			c.file = f
			return f, err
		},
	})
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	c.next.AllocSize = growBy
	return nil
}

// copy copies all entries and checks each. It works half of the time, as others wait for the disk.
func (c *compaction) copy(ctx context.Context) error {
	var cursor *bolt.Cursor
	var key, stored []byte
	err := c.store.guard(readingPart, func() error {
		bucket, err := c.store.data(c.from)
		if err == nil {
			cursor = bucket.Cursor()
			key, stored = cursor.First()
		}
		return err
	})
	for err == nil && key != nil {
		begun := time.Now()
		err = c.store.guard(readingPart, func() error {
			return c.next.Update(func(tx *bolt.Tx) error {
				to := tx.Bucket(dataBucket)
				to.FillPercent = 0.9 // in order, so pages need little room for more
				for size := 0; key != nil && size < compactBatch; key, stored = cursor.Next() {
					if _, err := c.store.unframe(key, stored); err != nil {
						return err
					}
					if err := to.Put(key, stored); err != nil {
						return err
					}
					size += len(key) + len(stored)
				}
				return nil
			})
		})
		if err == nil && !clock.Sleep(ctx, time.Since(begun)) {
			err = ctx.Err()
		}
		if c.store.closing.Err() != nil {
			err = storage.ErrClosed
		}
	}
	if err = errors.Join(err, c.release()); err != nil {
		return err
	}
	return c.next.Sync()
}

// replace makes the copy the database. It runs in the writer, between two groups of commits.
func (c *compaction) replace(w *writer) error {
	s := c.store
	defer func() { w.noted, c.noting = nil, false }()
	switch {
	case w.damage != nil || w.reopen != nil:
		return errors.Join(w.damage, w.reopen)
	case len(w.noted) >= compactNoted:
		return errors.New("too many entries changed meanwhile; try again when there are fewer writes")
	case !s.snapshots.TryLock():
		return fmt.Errorf("a snapshot is being read; try again after it: %w", storage.ErrBusy)
	}
	defer s.snapshots.Unlock()
	if err := guarded(func() error { return c.catchUp(w) }); err != nil {
		return err
	}
	if err := c.next.Sync(); err != nil {
		return err
	}
	c.next.NoSync = false
	failpoint.Point("storage.compact.before")
	if err := os.Rename(c.file.Name(), s.path); err != nil {
		return err
	}
	err := syncDir(filepath.Dir(s.path))
	failpoint.Point("storage.compact.after")
	if err != nil { // after a loss of power the old file could be back, without later commits
		w.damage = fmt.Errorf("bbolt: %s was compacted, but its folder cannot be synced: %w; restart the server", s.path, err)
	}
	c.swap(w)
	return err
}

// catchUp copies what has changed since the copy began.
func (c *compaction) catchUp(w *writer) error {
	return c.store.db.View(func(from *bolt.Tx) error {
		current, err := c.store.data(from)
		if err != nil {
			return err
		}
		return c.next.Update(func(tx *bolt.Tx) error {
			to := tx.Bucket(dataBucket)
			for name := range w.noted {
				key := []byte(name)
				if stored := current.Get(key); stored == nil {
					err = to.Delete(key)
				} else {
					err = to.Put(key, stored)
				}
				if err != nil {
					return err
				}
			}
			return tx.Bucket(metaBucket).Put(sequenceKey, binary.BigEndian.AppendUint64(nil, w.sequence))
		})
	})
}

// swap serves the new file and closes the old one.
func (c *compaction) swap(w *writer) {
	s := c.store
	s.reading.end()
	defer s.reading.keep()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, oldFile := s.db, s.file
	s.db, s.file = c.next, c.file
	s.unreadable.worked(readingAll)
	c.next = nil
	w.marked(w.mark.end(oldFile, false))
	if err := guarded(old.Close); err != nil {
		s.log.Warn("the old file of a compaction cannot be closed", "file", s.path, "error", err)
	}
	if info, err := s.file.Stat(); err == nil {
		w.marked(w.mark.idle(s.file, info.Size()))
	}
}

// removeCopies removes copies that a crash has left. The caller holds the lock of the database.
func removeCopies(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, compactPattern))
	for _, name := range names {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}
