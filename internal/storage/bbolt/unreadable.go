package bbolt

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// A page of the file that the disk cannot read fails the calls that need it, and no others: it says
// nothing about the rest of the file, unlike damage of its structure.

// reading describes the read of a call.
type reading struct{ kind, name string }

var (
	readingHead = reading{kind: "its first pages"}
	readingAll  = reading{kind: "all entries"}
	readingSome = reading{kind: "the count of all entries"}
	readingPart = reading{kind: "the compaction"}
	readingFile = reading{kind: "the verification of the file"}
)

func readingEntry(key string) reading   { return reading{"the entry", key} }
func readingList(prefix string) reading { return reading{"the list of", prefix} }

func (r reading) String() string {
	if r.name == "" {
		return r.kind
	}
	return fmt.Sprintf("%s %q", r.kind, r.name)
}

// unreadableError is returned to the calls that need the page. It has the class of a failing disk.
func unreadableError(path string, page int64, what reading) error {
	return storage.Classified(storage.Failed, fmt.Errorf("%w: %w: the disk cannot read page %d of the file %s, which is "+
		"needed for %s; check the disk and its file system (dmesg); if it stays unreadable, restore it from a snapshot to "+
		"another disk", storage.ErrCorrupt, storage.ErrUnreadable, page, path, what))
}

// unreadablePage returns the page at which a read of mapped memory faulted, if the file has such a
// page. A fault elsewhere comes from damage: an offset that points outside the file. The caller
// keeps the database from being replaced.
func (s *Store) unreadablePage(p *panicError) (page int64, ok bool) {
	fault, ok := p.value.(interface{ Addr() uintptr })
	if !ok {
		return 0, false
	}
	var from uintptr
	var size int
	err := guarded(func() error {
		info := s.db.Info()
		from, size = info.Data, info.PageSize
		return nil
	})
	if err != nil || fault.Addr() < from {
		return 0, false
	}
	file, err := os.Stat(s.path)
	at := uint64(fault.Addr() - from)
	if err != nil || at >= uint64(file.Size()) {
		return 0, false
	}
	return int64(at) / int64(size), true
}

// unreadable records what cannot be read, until it can be read again.
type unreadable struct {
	log *slog.Logger // nil: of a Reader

	count atomic.Int32 // of failures: a cheap check for reads that succeed
	mu    sync.Mutex
	what  map[reading]*storage.Failure
}

// unreadableNoted bounds the memory.
const unreadableNoted = 256

func (u *unreadable) failed(what reading, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.what[what] != nil || len(u.what) >= unreadableNoted {
		return
	}
	if u.what == nil {
		u.what = map[reading]*storage.Failure{}
	}
	u.what[what] = &storage.Failure{Class: storage.ClassOf(err), Err: err, Since: time.Now()}
	u.count.Store(int32(len(u.what)))
	if u.log != nil {
		u.log.Error("the disk cannot read a part of the database; the rest is served", "needed_for", what.String(),
			"error", err)
	}
}

// worked notes a read that succeeded.
func (u *unreadable) worked(what reading) {
	if u.count.Load() == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	before := len(u.what)
	delete(u.what, what)
	if what == readingAll {
		clear(u.what)
	}
	u.count.Store(int32(len(u.what)))
	if u.log != nil && before > 0 && len(u.what) == 0 {
		u.log.Info("the disk reads the database again")
	}
}

// failing returns the oldest failure.
func (u *unreadable) failing() (oldest *storage.Failure) {
	if u.count.Load() == 0 {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, f := range u.what {
		if oldest == nil || f.Since.Before(oldest.Since) {
			oldest = f
		}
	}
	return oldest
}

// panicked returns the error of a write that panicked. If it did so because the disk cannot read a
// page, it ended before it wrote anything: the library reads through the map, but writes with
// system calls, after it has read everything. Then the write is rolled back, and the next one can
// proceed. (Pages that the library has allocated for it stay unused until a compaction.)
func (w *writer) panicked(rollback func() error, group []*request, p *panicError) error {
	s := w.store
	if page, ok := s.unreadablePage(p); ok && rollback != nil && guarded(rollback) == nil {
		if sequence, err := s.sequence(); err == nil && sequence == w.sequence {
			what := written(group[0].batch)
			err = unreadableError(s.path, page, what)
			if len(group) == 1 { // otherwise each is written again: see apart
				s.unreadable.failed(what, err)
			}
			return err
		}
	}
	w.damage = corrupt(s.path, "writing to it failed: %v", p)
	s.log.Error("the database is damaged; all writes are refused until it is restored", "file", s.path, "error", p)
	return w.damage
}

// written names a batch by its first entry.
func written(b storage.Batch) reading {
	switch {
	case len(b.Ops) > 0:
		return readingEntry(b.Ops[0].Key)
	case len(b.If) > 0:
		return readingEntry(b.If[0].Key)
	}
	return readingHead
}

// commitEach writes the members of a group one by one after one of them needed an unreadable page:
// the others do not fail with it. It reports whether it did.
func (w *writer) commitEach(group []*request, err error) bool {
	if len(group) < 2 || !errors.Is(err, storage.ErrUnreadable) {
		return false
	}
	for i := range group {
		w.write(group[i : i+1])
	}
	return true
}
