package bbolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/testkit"
)

// large makes a closed database with a mark, and with free pages.
func large(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir)
	value := bytes.Repeat([]byte("large"), 20_000)
	for i := range 40 {
		var b storage.Batch
		for j := range 9 {
			b.Ops = append(b.Ops, storage.Put(fmt.Sprintf("large/%02d/%d", i, j), value))
		}
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		put(t, s, fmt.Sprintf("small/%03d", i), "value")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readMark(t *testing.T, dir string) fileMark {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, markName))
	if err != nil {
		t.Fatal(err)
	}
	m, ok := unmarshalMark(b)
	if !ok {
		t.Fatalf("not a mark: %x", b)
	}
	return m
}

// forgeMark makes the mark match the file's change time again: damage that a disk does leaves it.
func forgeMark(t *testing.T, dir string) {
	t.Helper()
	m := readMark(t, dir)
	f, err := os.Open(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := identity(f, &m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, markName), m.marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// change overwrites bytes of the database.
func change(t *testing.T, dir string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, FileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(with, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// current returns a checker with the meta page of a closed database.
func current(t *testing.T, dir string) *checker {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	c, err := examine(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMarkFormat: a mark is read back, and no other bytes are one.
func TestMarkFormat(t *testing.T) {
	t.Parallel()
	m := fileMark{state: markBusy | markVerified, inode: 7, ctime: -9, boot: bootID(), txn: 1 << 40, meta: 3, free: 4}
	b := m.marshal()
	if got, ok := unmarshalMark(b); !ok || got != m {
		t.Errorf("%+v, %v; want %+v", got, ok, m)
	}
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 1
		if _, ok := unmarshalMark(damaged); ok {
			t.Errorf("a mark with a wrong byte %d is accepted", i)
		}
	}
	if _, ok := unmarshalMark(b[:len(b)-1]); ok {
		t.Error("a short mark is accepted")
	}
}

// TestLargeFile: after a clean end the file is served before it is verified, and verified then.
func TestLargeFile(t *testing.T) {
	t.Parallel()
	dir := large(t)
	if m := readMark(t, dir); m.state&markClean == 0 || m.state&markBusy != 0 {
		t.Errorf("the state after a clean end is %#x", m.state)
	}
	s := open(t, dir)
	if s.check == nil {
		t.Fatal("the whole file was verified before it was served")
	}
	if m := readMark(t, dir); m.state&markClean != 0 {
		t.Errorf("the state of an open file is %#x", m.state)
	}
	holds(t, s, "small/007", "value")
	put(t, s, "during", "the check") // pages that the check reads are not reused
	<-s.check.ended
	testkit.Eventually(t, "the mark says that the file is verified", func() bool {
		return readMark(t, dir).state&markVerified != 0
	})
	holds(t, s, "during", "the check")
	if f := s.Failing(); f != nil {
		t.Errorf("a sound file fails: %v", f.Err)
	}
}

// TestDamageAtRest: what a disk does silently to a page is found after the start. From then on
// nothing is read or written, and the next start refuses the file.
func TestDamageAtRest(t *testing.T) {
	t.Parallel()
	dir := large(t)
	c := current(t, dir)
	page := make([]byte, c.meta.pageSize)
	at := int64(-1)
	for id := uint64(2); id < c.meta.highWater; id++ { // the flags of a live leaf
		if _, err := c.file.ReadAt(page, int64(id*c.meta.pageSize)); err != nil {
			t.Fatal(err)
		}
		if native.Uint64(page) == id && native.Uint16(page[8:]) == leafPage && bytes.Contains(page, []byte("small/199")) {
			at = int64(id * c.meta.pageSize)
			change(t, dir, at+8, []byte{0x40}) // every copy of it: old pages too
		}
	}
	if at < 0 {
		t.Fatal("no leaf was found")
	}
	forgeMark(t, dir)
	s := open(t, dir)
	if s.check == nil {
		t.Fatal("the whole file was verified before it was served: this test proves nothing")
	}
	<-s.check.ended
	_, err := s.Get(t.Context(), "small/001")
	wantError(t, err, storage.ErrCorrupt, FileName, "flags", "snapshot restore")
	wantError(t, commitOne(s, "k", "v"), storage.ErrCorrupt, FileName)
	if f := s.Failing(); f == nil || f.Class != storage.Damaged {
		t.Errorf("the failure is %+v", f)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, Options{})
	wantError(t, err, storage.ErrCorrupt, "flags", "snapshot restore")
}

// TestNotTrusted: a file that may not be what the last process left is verified before the start.
func TestNotTrusted(t *testing.T) {
	t.Parallel()
	dir := large(t)
	whole, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	mark, err := os.ReadFile(filepath.Join(dir, markName))
	if err != nil {
		t.Fatal(err)
	}
	meta := current(t, dir).meta
	altered := func(change func(*fileMark)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { remark(t, dir, mark, change) }
	}
	for name, prepare := range map[string]func(t *testing.T, dir string){
		"without a mark":                 func(*testing.T, string) {},
		"copied with its mark":           func(t *testing.T, dir string) { writeMark(t, dir, mark) },
		"with the mark of another boot":  altered(func(m *fileMark) { m.boot[0] ^= 1; m.state = markVerified }),
		"killed before its verification": altered(func(m *fileMark) { m.state = 0 }),
		"changed":                        altered(func(m *fileMark) { m.ctime-- }),
		"of another transaction":         altered(func(m *fileMark) { m.txn += 2 }),
		"older than a busy mark":         altered(func(m *fileMark) { m.txn++; m.state |= markBusy }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := plant(t, whole)
			prepare(t, dir)
			s := open(t, dir)
			if s.check != nil {
				t.Error("it was served before it was verified")
			}
			holds(t, s, "small/007", "value")
		})
	}
	t.Run("damaged in the list of free pages", func(t *testing.T) {
		dir := plant(t, whole)
		at := int64(meta.free*meta.pageSize) + pageHeader
		used := native.AppendUint64(nil, meta.root) // as if the root were free
		change(t, dir, at, used)
		remark(t, dir, mark, func(*fileMark) {})
		_, err := Open(t.Context(), dir, Options{})
		wantError(t, err, storage.ErrCorrupt, "cannot be free")
	})
}

func writeMark(t *testing.T, dir string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, markName), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// remark writes a mark that matches the file, but for a change.
func remark(t *testing.T, dir string, mark []byte, change func(*fileMark)) {
	t.Helper()
	writeMark(t, dir, mark)
	forgeMark(t, dir)
	m := readMark(t, dir)
	change(&m)
	writeMark(t, dir, m.marshal())
}

// TestKilledLargeFile: after kill -9 in the middle of commits the file is served at once.
func TestKilledLargeFile(t *testing.T) {
	t.Parallel()
	dir := large(t)
	for range 3 {
		child, lines := startChild(t, "write", dir)
		testkit.Eventually(t, "the child has verified the file", func() bool {
			m := readMark(t, dir)
			return m.state&markVerified != 0 && m.state&markClean == 0
		})
		for range 20 {
			if !lines.Scan() {
				t.Fatal("the child ended")
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		s := open(t, dir)
		if s.check == nil {
			t.Error("the whole file was verified before it was served")
		}
		<-s.check.ended
		if err := s.Snapshot(context.Background(), func(string, []byte) error { return nil }); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Its own reading of everything finds the same.
	r, err := Peek(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCloseDuringCheck does not wait for the check.
func TestCloseDuringCheck(t *testing.T) {
	t.Parallel()
	dir := large(t)
	s := open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.check.ended:
	default:
		t.Error("the check continues after Close")
	}
	if again := open(t, dir); again.check == nil {
		t.Error("after a clean end the whole file was verified before it was served")
	}
}
