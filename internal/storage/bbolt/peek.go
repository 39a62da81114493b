package bbolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/storage"
)

// Reader is a database opened read-only.
type Reader struct {
	store Store // without a writer
}

// Peek opens the database of a folder read-only: it creates, changes and repairs nothing, and a
// server that starts meanwhile waits for it as for any other process. It fails with fs.ErrNotExist
// if there is no database, and at once with storage.ErrLocked if a server has it open.
func Peek(ctx context.Context, dir string) (*Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &Reader{store: Store{path: filepath.Join(dir, FileName)}}
	r.store.closing, r.store.end = context.WithCancel(context.Background())
	open := func() (err error) {
		r.store.db, err = bolt.Open(r.store.path, 0, &bolt.Options{ReadOnly: true, NoStatistics: true, Timeout: time.Second,
			OpenFile: openShared})
		return err
	}
	err := guarded(open)
	if err == nil {
		err = r.store.read(readingHead, func(tx *readTx) error { return checkFormat(r.store.path, tx.Tx) })
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}
	var p *panicError
	if errors.As(err, &p) {
		err = corrupt(r.store.path, "reading it failed: %v", p)
	}
	if err != nil {
		r.store.end()
		return nil, err
	}
	return r, nil
}

// openShared takes a shared lock and verifies the file before the library maps it.
func openShared(name string, _ int, _ os.FileMode) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, ioError(name, "opening", err)
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: %s is open%s", storage.ErrLocked, name, holder(f)), f.Close())
	case err != nil:
		return nil, errors.Join(ioError(name, "locking", err), f.Close())
	}
	if _, err := verify(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Get returns a copy of a value, or storage.ErrNotFound.
func (r *Reader) Get(ctx context.Context, key string) ([]byte, error) { return r.store.Get(ctx, key) }

// SnapshotIntact implements storage.Scrubber: it reads every entry.
func (r *Reader) SnapshotIntact(ctx context.Context, visit func(key string, value []byte) error,
	damaged func(key string)) error {
	return r.store.SnapshotIntact(ctx, visit, damaged)
}

// Close closes the file.
func (r *Reader) Close() error {
	r.store.end()
	return guarded(r.store.db.Close)
}
