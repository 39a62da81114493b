package bbolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/storage"
)

var (
	metaBucket  = []byte("sealgate")
	dataBucket  = []byte("data")
	formatKey   = []byte("format")
	sequenceKey = []byte("sequence")
)

const formatVersion = "1"

const sumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// frame returns the stored form of a value.
func frame(key, value []byte) []byte {
	out := make([]byte, sumSize, sumSize+len(value))
	binary.BigEndian.PutUint32(out, sum(key, value))
	return append(out, value...)
}

// unframe returns the value of a stored entry; it is still in mapped memory.
func (s *Store) unframe(key, stored []byte) ([]byte, error) {
	if len(stored) < sumSize || binary.BigEndian.Uint32(stored) != sum(key, stored[sumSize:]) {
		return nil, corrupt(s.path, "the entry %q does not match its checksum", key)
	}
	return stored[sumSize:], nil
}

// view runs f, which reads what, in a read transaction, on behalf of a caller.
func (s *Store) view(ctx context.Context, what reading, f func(*readTx) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	return s.read(what, f)
}

// read runs f, which reads what, in a read transaction. A panic at its start leaves the library's
// locks held, which ends all reading.
func (s *Store) read(what reading, f func(*readTx) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.db == nil && s.closing.Err() != nil:
		return storage.ErrClosed
	case s.db == nil:
		return fmt.Errorf("bbolt: %s could not be reopened after a failed write; the next write retries", s.path)
	}
	if damage := s.damaged.Load(); damage != nil {
		return *damage
	}
	begun := false
	err := s.guard(what, func() error {
		tx := s.reading.take()
		if tx == nil {
			var err error
			if tx, err = s.reading.begin(s.db); err != nil {
				return err
			}
		}
		begun = true
		sound := false // not after a panic
		defer func() { s.reading.give(tx, sound) }()
		err := f(tx)
		sound = err == nil || errors.Is(err, storage.ErrNotFound)
		return err
	})
	if !begun && errors.Is(err, storage.ErrCorrupt) {
		s.damaged.Store(&err)
	}
	return err
}

// entries returns the bucket of the entries in a read transaction.
func (s *Store) entries(tx *readTx) (_ *bolt.Bucket, err error) {
	if tx.entries == nil {
		tx.entries, err = s.data(tx.Tx)
	}
	return tx.entries, err
}

// data returns the bucket of the entries.
func (s *Store) data(tx *bolt.Tx) (*bolt.Bucket, error) {
	bucket := tx.Bucket(dataBucket)
	if bucket == nil {
		return nil, corrupt(s.path, "the bucket of the entries is missing")
	}
	return bucket, nil
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key string) (value []byte, err error) {
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	err = s.view(ctx, readingEntry(key), func(tx *readTx) error {
		bucket, err := s.entries(tx)
		if err != nil {
			return err
		}
		k := []byte(key)
		stored := bucket.Get(k)
		if stored == nil {
			return storage.ErrNotFound
		}
		mapped, err := s.unframe(k, stored)
		if err == nil {
			value = append(make([]byte, 0, len(mapped)), mapped...)
		}
		return err
	})
	return value, err
}

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) (names []string, err error) {
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	err = s.view(ctx, readingList(prefix), func(tx *readTx) error {
		bucket, err := s.entries(tx)
		if err != nil {
			return err
		}
		cursor := bucket.Cursor()
		var at []byte // the key of the cursor
		names, err = storage.Names(prefix, after, limit, func(from string) (string, bool, error) {
			if err := s.ready(ctx); err != nil {
				return "", false, err
			}
			if n := len(at); n > 0 && len(from) == n+1 && from[n] == 0 && from[:n] == string(at) {
				at, _ = cursor.Next() // the least key after it: cheaper than a search from the root
			} else {
				at, _ = cursor.Seek([]byte(from))
			}
			return string(at), at != nil, nil
		})
		return err
	})
	return names, err
}

// Range implements storage.Ranger.
func (s *Store) Range(ctx context.Context, after string, limit int, visit func(key string, value []byte) error) error {
	var panicked any
	err := s.view(ctx, readingSome, func(tx *readTx) error {
		bucket, err := s.entries(tx)
		if err != nil {
			return err
		}
		var buf []byte
		cursor, last := bucket.Cursor(), []byte(after)
		key, stored := cursor.Seek(last)
		if after != "" && bytes.Equal(key, last) {
			key, stored = cursor.Next()
		}
		for range limit {
			if key == nil {
				return nil
			}
			if err := s.ready(ctx); err != nil {
				return err
			}
			mapped, err := s.unframe(key, stored)
			if err != nil {
				return err
			}
			if bytes.Compare(key, last) <= 0 {
				return corrupt(s.path, "the entry %q follows %q", key, last)
			}
			last, buf = append(last[:0], key...), append(buf[:0], mapped...)
			if err := call(visit, string(key), buf, &panicked); err != nil {
				return err
			}
			key, stored = cursor.Next()
		}
		return nil
	})
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// Snapshot implements storage.Snapshotter.
func (s *Store) Snapshot(ctx context.Context, visit func(key string, value []byte) error) error {
	return s.snapshot(ctx, visit, nil)
}

// SnapshotIntact implements storage.Scrubber.
func (s *Store) SnapshotIntact(ctx context.Context, visit func(key string, value []byte) error,
	damaged func(key string)) error {
	return s.snapshot(ctx, visit, damaged)
}

// snapshot visits all entries. A damaged one is an error if damaged is nil. A nil visit only checks
// them.
func (s *Store) snapshot(ctx context.Context, visit func(key string, value []byte) error,
	damaged func(key string)) error {
	s.snapshots.RLock()
	defer s.snapshots.RUnlock()
	var panicked any // a panic of visit, which says nothing about the file
	err := s.view(ctx, readingAll, func(tx *readTx) error {
		bucket, err := s.entries(tx)
		if err != nil {
			return err
		}
		var buf, last []byte
		cursor := bucket.Cursor()
		for key, stored := cursor.First(); key != nil; key, stored = cursor.Next() {
			if err := s.ready(ctx); err != nil {
				return err
			}
			mapped, err := s.unframe(key, stored)
			if err != nil && damaged != nil {
				damaged(string(key))
				continue
			}
			if err != nil {
				return err
			}
			if last != nil && bytes.Compare(key, last) <= 0 {
				return corrupt(s.path, "the entry %q follows %q", key, last)
			}
			last = append(last[:0], key...)
			if visit == nil {
				continue
			}
			buf = append(buf[:0], mapped...)
			if err := call(visit, string(key), buf, &panicked); err != nil {
				return err
			}
		}
		return nil
	})
	if panicked != nil {
		panic(panicked)
	}
	return err
}

func call(visit func(string, []byte) error, key string, value []byte, panicked *any) error {
	defer func() {
		if v := recover(); v != nil {
			*panicked = v
			panic(v)
		}
	}()
	return visit(key, value)
}

// Size implements storage.Sizer with the length of the file.
func (s *Store) Size(ctx context.Context) (size int64, err error) {
	err = s.view(ctx, readingHead, func(tx *readTx) error {
		size = tx.Size()
		return nil
	})
	return size, err
}

// LastCommit returns the number of the last written group of commits, which grows with each group.
func (s *Store) LastCommit(ctx context.Context) (uint64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	return s.sequence()
}

// sequence reads the number of the last written group.
func (s *Store) sequence() (n uint64, err error) {
	err = s.read(readingHead, func(tx *readTx) error {
		bucket := tx.Bucket(metaBucket)
		if bucket == nil {
			return corrupt(s.path, "the bucket %q is missing", metaBucket)
		}
		stored := bucket.Get(sequenceKey)
		if len(stored) != 8 {
			return corrupt(s.path, "the number of the last group is missing")
		}
		n = binary.BigEndian.Uint64(stored)
		return nil
	})
	return n, err
}
