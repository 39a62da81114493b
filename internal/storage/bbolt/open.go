package bbolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// mapSize is the address space, not memory, that is reserved for the file. While the file is
// smaller it need not be mapped again, for which the library makes readers wait.
const mapSize = 16 << 30

// growBy is the increment by which the file grows.
const growBy = 4 << 20

// prepare creates the folder and the file if they are missing, and refuses a folder with another
// program's data.
func prepare(ctx context.Context, dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ioError(dir, "making the storage folder", err)
	}
	switch _, err := os.Stat(path); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return ioError(path, "looking for the database", err)
	}
	if err := checkForeign(dir); err != nil {
		return err
	}
	return create(ctx, dir, path)
}

// ioError names the file and the operation; the operating system's text is the remedy.
func ioError(path, doing string, err error) error {
	if full(err) {
		return fullError(path, err)
	}
	return fmt.Errorf("bbolt: %s %s: %w", doing, path, err)
}

// create creates an empty database under another name and links it to its own when it is complete,
// so a crash leaves none or a complete one. If two processes do it, one of them succeeds.
func create(ctx context.Context, dir, path string) error {
	temp, err := os.CreateTemp(dir, ".sealgate-*.new") // 0600
	if err != nil {
		return ioError(path, "creating", err)
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return ioError(path, "creating", err)
	}
	if err := format(temp.Name()); err != nil {
		return ioError(path, "creating", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	failpoint.Point("storage.create.before")
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		// Some file systems have no links.
		if err := os.Rename(temp.Name(), path); err != nil {
			return ioError(path, "creating", err)
		}
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return ioError(dir, "opening", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return ioError(dir, "syncing", err)
	}
	return nil
}

// format creates the buckets of an empty database.
func format(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoStatistics: true, InitialMmapSize: 1 << 20})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucket(dataBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		if err := meta.Put(formatKey, []byte(formatVersion)); err != nil {
			return err
		}
		return meta.Put(sequenceKey, binary.BigEndian.AppendUint64(nil, 0))
	})
	return errors.Join(err, db.Close())
}

// opened is a database with what belongs to it.
type opened struct {
	db    *bolt.DB
	file  *os.File
	check *check // nil where the whole file was verified
}

// openDB locks the file, verifies it, and opens it with the library. With trust it leaves most of
// the verification of a large file to a check, where the file's mark allows that.
func openDB(ctx context.Context, path string, wait time.Duration, log *slog.Logger, trust bool) (opened, error) {
	var file *os.File
	var unverified *checker
	options := &bolt.Options{
		FreelistType:    bolt.FreelistMapType,
		NoStatistics:    true,
		InitialMmapSize: initialMap(path),
		// The check must come after the lock and before the library maps the file, hence here.
		// Locking twice through one descriptor is harmless.
		OpenFile: func(name string, flag int, _ os.FileMode) (f *os.File, err error) {
			f, err = lockedFile(ctx, name, flag&^os.O_CREATE, wait)
			if err != nil {
				return nil, err
			}
			c, deferred, err := verifyOrTrust(f, trust)
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
			if warning := c.warning(); warning != "" {
				log.Warn(warning, "file", path)
			}
			if deferred {
				unverified = c
			}
			file = f
			return f, nil
		},
	}
	var db *bolt.DB
	open := func() (err error) {
		db, err = bolt.Open(path, 0o600, options)
		return err
	}
	err := guarded(open)
	if errors.Is(err, syscall.ENOMEM) {
		options.InitialMmapSize = 0 // a limit on address space
		err = guarded(open)
	}
	if err == nil {
		db.AllocSize = growBy
		out := opened{db: db, file: file}
		err = guarded(func() (err error) {
			if err = db.View(func(tx *bolt.Tx) error { return checkFormat(path, tx) }); err == nil && unverified != nil {
				out.check, err = newCheck(db, file, unverified)
			}
			return err
		})
		if err == nil {
			return out, nil
		}
		err = errors.Join(err, guarded(db.Close))
	}
	var p *panicError
	if errors.As(err, &p) {
		err = errors.Join(corrupt(path, "reading it failed: %v", p), letGo(file))
	}
	return opened{}, err
}

// verifyOrTrust verifies the whole file; where its mark allows that, only what does not grow with
// the file: the meta pages and the list of free pages.
func verifyOrTrust(f *os.File, trust bool) (c *checker, deferred bool, err error) {
	if c, err = examine(f); err != nil {
		return nil, false, err
	}
	if trust && c.meta.highWater*c.meta.pageSize >= largeFile && trusted(f, c) {
		return c, true, c.named(f, c.verifyFree())
	}
	return c, false, c.named(f, c.verify())
}

// initialMap returns the address space to reserve: several times the size of the file, because a
// reader of an old state, such as a snapshot, keeps a writer waiting that has to map more.
func initialMap(path string) int {
	if strconv.IntSize < 64 {
		return 0
	}
	size := uint64(mapSize)
	if info, err := os.Stat(path); err == nil {
		size = max(size, 4*uint64(info.Size()))
	}
	return int(size)
}

// lockedFile opens the file and takes the lock that the library would take.
func lockedFile(ctx context.Context, path string, flag int, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, ioError(path, "opening", err)
	}
	if err := lock(ctx, f, wait); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkFormat refuses another program's database, and a format that this program does not know.
func checkFormat(path string, tx *bolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil {
		return fmt.Errorf("%w: %s is a bbolt database of another program; use another folder", storage.ErrForeign, path)
	}
	switch version := string(meta.Get(formatKey)); version {
	case formatVersion:
		return nil
	default:
		return fmt.Errorf("%w: %s has format %q, but this program supports %q; use the version of Sealgate that wrote it, "+
			"or a newer one",
			ErrFormat, filepath.Clean(path), version, formatVersion)
	}
}
