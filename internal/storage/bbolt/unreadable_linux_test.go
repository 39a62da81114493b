package bbolt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/storage"
)

// breakPage makes the kernel raise SIGBUS for a page of the mapped file, as it does after a read
// error of the disk, until heal is called.
func breakPage(t *testing.T, s *Store, page int64) (heal func()) {
	t.Helper()
	empty, err := os.Create(filepath.Join(t.TempDir(), "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	over := func(f *os.File, at int64) {
		info := s.db.Info()
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, info.Data+uintptr(page)*uintptr(info.PageSize),
			uintptr(info.PageSize), unix.PROT_READ, unix.MAP_SHARED|unix.MAP_FIXED, f.Fd(), uintptr(at))
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	over(empty, 0)
	return func() { over(s.file, page*int64(s.db.Info().PageSize)) }
}

// pageOf returns the page of the last byte of an entry.
func pageOf(t *testing.T, s *Store, key string) (page int64) {
	t.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		v := tx.Bucket(dataBucket).Get([]byte(key))
		info := s.db.Info()
		at := uintptr(unsafe.Pointer(unsafe.SliceData(v))) + uintptr(len(v)) - 1 - info.Data
		page = int64(at) / int64(info.PageSize)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func wantUnreadable(t *testing.T, err error, words ...string) {
	t.Helper()
	wantError(t, err, storage.ErrCorrupt, append(words, FileName, "the disk cannot read page", "dmesg", "snapshot")...)
	if !errors.Is(err, storage.ErrUnreadable) || storage.ClassOf(err) != storage.Failed {
		t.Errorf("%v has the class %q", err, storage.ClassOf(err))
	}
}

// TestUnreadablePageOfAValue: the disk cannot read a page of a large value. The entry is named,
// others are read and written, and it can be written again.
func TestUnreadablePageOfAValue(t *testing.T) {
	t.Parallel()
	s := open(t, plant(t, sample(t)))
	heal := breakPage(t, s, pageOf(t, s, "large"))
	if s.Failing() != nil {
		t.Fatal("it fails before it was read")
	}
	_, err := s.Get(t.Context(), "large")
	wantUnreadable(t, err, `"large"`)
	if f := s.Failing(); f == nil || f.Class != storage.Failed || !strings.Contains(f.Err.Error(), `"large"`) {
		t.Errorf("Failing: %+v", f)
	}
	holds(t, s, "folder/05/08", strings.Repeat("folder/05/08", 9))
	put(t, s, "folder/00/new", "written")
	holds(t, s, "folder/00/new", "written")
	if names, err := s.List(t.Context(), "", "", 0); err != nil || len(names) != 2 {
		t.Errorf("the list: %q, %v", names, err)
	}
	if s.Failing() == nil {
		t.Error("a write and a read of others end the failure")
	}
	visit := func(string, []byte) error { return nil }
	wantUnreadable(t, s.Snapshot(t.Context(), visit), "all entries")
	put(t, s, "large", "again")
	holds(t, s, "large", "again")
	heal()
	if err := s.Snapshot(t.Context(), visit); err != nil {
		t.Error(err)
	}
	if f := s.Failing(); f != nil {
		t.Errorf("Failing after everything could be read: %+v", f)
	}
}

// TestUnreadablePageOfAFolder: the disk cannot read a page with small entries. Reads and writes of
// these are refused, also together with other writes, which succeed.
func TestUnreadablePageOfAFolder(t *testing.T) {
	t.Parallel()
	dir := plant(t, sample(t))
	s := open(t, dir)
	heal := breakPage(t, s, pageOf(t, s, "folder/05/08"))
	_, err := s.Get(t.Context(), "folder/05/08")
	wantUnreadable(t, err, `"folder/05/08"`)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			key := "folder/05/08"
			if i%2 == 0 {
				key = "folder/10/0" + string(rune('0'+i%10))
			}
			err := commitOne(s, key, "new")
			switch {
			case i%2 == 0 && err != nil:
				t.Errorf("a write of %s: %v", key, err)
			case i%2 == 1:
				wantUnreadable(t, err, key)
				if !storage.NothingWritten(err) {
					t.Errorf("%v leaves the outcome open", err)
				}
			}
		})
	}
	wg.Wait()
	holds(t, s, "folder/10/00", "new")
	heal()
	holds(t, s, "folder/05/08", strings.Repeat("folder/05/08", 9))
	if f := s.Failing(); f != nil {
		t.Errorf("Failing after it was read: %+v", f)
	}
	put(t, s, "folder/05/08", "new")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	holds(t, again, "folder/05/08", "new")
	holds(t, again, "folder/10/02", "new")
}

// TestUnknownOutcomeStaysUnknown: after a failed sync the file cannot be reopened, because of an
// unreadable page. That does not mean that nothing was written.
func TestUnknownOutcomeStaysUnknown(t *testing.T) {
	t.Parallel()
	for _, again := range []error{unreadableError("file", 7, readingHead), fullError("file", unix.ENOSPC)} {
		err := unknown("file", unix.EIO, again)
		if storage.NothingWritten(err) || storage.ClassOf(err) != storage.Failed || !errors.Is(err, unix.EIO) {
			t.Errorf("%v: nothing written %v, class %q", err, storage.NothingWritten(err), storage.ClassOf(err))
		}
	}
}

// brokenFile is a file with a page that cannot be read.
type brokenFile struct {
	*bytes.Reader
	page int64
}

func (b brokenFile) ReadAt(p []byte, at int64) (int, error) {
	if at <= b.page<<12 && b.page<<12 < at+int64(len(p)) {
		return 0, unix.EIO
	}
	return b.Reader.ReadAt(p, at)
}

// TestUnreadableInTheCheck: the check of a large file that is served meets an unreadable page. It
// does not end the service, as damage would.
func TestUnreadableInTheCheck(t *testing.T) {
	t.Parallel()
	whole := sample(t)
	s := open(t, plant(t, whole))
	page := pageOf(t, s, "large")
	c := &checker{file: brokenFile{bytes.NewReader(whole), page}}
	if err := c.examine(uint64(len(whole))); err != nil {
		t.Fatal(err)
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	k := &check{file: s.file, checker: c, tx: tx, ended: make(chan struct{})}
	k.start(s)
	<-k.ended
	f := s.Failing()
	if f == nil {
		t.Fatal("it is not reported")
	}
	wantError(t, f.Err, storage.ErrUnreadable, FileName,
		"the disk cannot read page", "input/output error", "dmesg", "snapshot restore")
	if f.Class != storage.Failed {
		t.Errorf("the class is %q", f.Class)
	}
	holds(t, s, "folder/05/08", strings.Repeat("folder/05/08", 9))
	put(t, s, "other", "written")
	err = s.Snapshot(t.Context(), func(string, []byte) error { return nil })
	if err != nil || s.Failing() != nil {
		t.Errorf("after all could be read: %v, %+v", err, s.Failing())
	}
}
