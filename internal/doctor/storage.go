package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
)

// storage reads the sealed root key, as far as a running server lets it.
func (e *exam) storage(ctx context.Context) {
	s := e.cfg.Storage
	on := e.on("storage", s.Type, s.Pos)
	if s.Path != "" {
		on.about = s.Path
		if !e.folder(on, s.Path) {
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.Deadline)
	defer cancel()
	r, err := e.Open(ctx, s)
	switch {
	case errors.Is(err, storage.ErrLocked) && e.running != nil:
		e.locked = true
		on.ok("the running server has it open; its seals are judged by what that server says of them")
		return
	case errors.Is(err, storage.ErrLocked):
		e.locked = true
		on.fail("end that process, or let this user reach the server's listeners",
			"another process has it open, and no listener of this configuration is served by a Sealgate server: %v", err)
		return
	case errors.Is(err, fs.ErrNotExist):
		on.ok("there is none yet: the server makes it")
		return
	case errors.Is(err, storage.ErrForeign):
		on.fail("name another folder or database", "it holds another program's data: %v", err)
		return
	case errors.Is(err, storage.ErrCorrupt):
		on.fail("restore it from a backup", "%v", err)
		return
	case err != nil:
		on.fail("see whether it is there and lets this user in", "it cannot be opened: %v", err)
		return
	case r == nil:
		on.warn("use bbolt, etcd or postgres for anything that should survive a restart", "it is kept in memory: all is gone when the server ends")
		return
	}
	defer r.Close()
	e.record, err = node.StoredRecord(ctx, r.Get)
	switch {
	case err != nil:
		on.fail("restore it from a backup", "%v", err)
	case e.record == nil:
		e.read = true
		on.ok("it can be read; the server is not initialised yet")
	default:
		e.read = true
		on.ok("it can be read; the root key has generation %d and needs %d of %s",
			e.record.Generation, e.record.Threshold, count(len(e.record.Parts), "seal"))
	}
}

// folder looks at the place of the embedded store, and reports whether there is sense in opening it.
func (e *exam) folder(on topic, dir string) bool {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(filepath.Clean(dir))
		for { // the server makes all that is missing
			if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
				break
			}
			parent = filepath.Dir(parent)
		}
		return e.writableFolder(on, parent, "the data folder")
	case err != nil:
		on.fail("let the server's user reach it", "%v", err)
		return false
	case !info.IsDir():
		on.fail("name a folder", "it is no folder")
		return false
	}
	if unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		on.fail("give the folder to the server's user", "this user may not write to it")
	}
	if info.Mode().Perm()&0o077 != 0 {
		on.warn("chmod 700 "+dir, "other users of this machine may look into it (%s)", info.Mode().Perm())
	}
	if uid := owner(dir); os.Geteuid() == 0 && uid > 0 {
		on.warn("run this as the user of the server, so that it sees what the server sees", "it belongs to user %d, and this runs as root", uid)
	}
	e.room(on, dir)
	return true
}
