package bbolt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/testkit"
)

// smallDisk mounts a tmpfs, which takes the right to mount.
func smallDisk(t *testing.T, size int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("sealgate-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		testkit.Missing(t, "a tmpfs cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// TestFullDisk fills a small disk, frees space, and fills it again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	mounted := smallDisk(t, 3<<20)
	s := open(t, filepath.Join(mounted, "data"))
	ballast := filepath.Join(mounted, "ballast")
	acknowledged := map[string]bool{}
	for round := range 3 {
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		err := fill(s, round, acknowledged)
		wantError(t, err, storage.ErrFull, FileName, "free space")
		if !storage.NothingWritten(err) {
			t.Error("ErrFull leaves the outcome open")
		}
		allThere(t, s, acknowledged) // reads continue
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		put(t, s, fmt.Sprint("resumed", round), "now there is room")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, filepath.Join(mounted, "data"))
	allThere(t, again, acknowledged)
	holds(t, again, "resumed2", "now there is room")
}

// TestNoRoomToCreate: a disk that is full from the start leaves nothing behind, and is named.
func TestNoRoomToCreate(t *testing.T) {
	t.Parallel()
	mounted := smallDisk(t, 64<<10)
	ballast := filepath.Join(mounted, ".ballast")
	if err := os.WriteFile(ballast, make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), mounted, Options{})
	wantError(t, err, storage.ErrFull, FileName, "free space")
	if entries, _ := os.ReadDir(mounted); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	put(t, open(t, mounted), "k", "v")
}

// fill writes until an error, and continues a little: a full disk stays one error after the other.
func fill(s storage.Store, round int, acknowledged map[string]bool) error {
	var failed error
	for i, failures := 0, 0; failures < 5 && i < 1000; i++ {
		key := fmt.Sprintf("r%d/%05d", round, i)
		if err := commitOne(s, key, strings.Repeat(key, 1+i*37%1500)); err != nil {
			failed = err
			failures++
			continue
		}
		acknowledged[key] = true
	}
	return failed
}

func allThere(t *testing.T, s storage.Store, acknowledged map[string]bool) {
	t.Helper()
	for key := range acknowledged {
		got, err := s.Get(context.Background(), key)
		if err != nil || !strings.HasPrefix(string(got), key) || len(got)%len(key) != 0 {
			t.Errorf("%q = %.20q, %v", key, got, err)
		}
	}
	seen := 0
	err := s.(storage.Snapshotter).Snapshot(context.Background(), func(key string, _ []byte) error {
		if strings.HasPrefix(key, "r") && strings.Contains(key, "/") {
			seen++
		}
		return nil
	})
	if err != nil || seen != len(acknowledged) {
		t.Errorf("%d entries, %v; %d were acknowledged", seen, err, len(acknowledged))
	}
}

// TestFileSizeLimit does the same by a limit on the size of files, in a process of its own.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	cmd, lines := startChild(t, "limited", t.TempDir())
	var out []string
	for lines.Scan() {
		out = append(out, lines.Text())
	}
	if err := cmd.Wait(); err != nil || len(out) == 0 || out[len(out)-1] != "ok" {
		t.Errorf("%v:\n%s", err, strings.Join(out, "\n"))
	}
}

func writeLimited(s storage.Store) {
	fail := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		os.Exit(1)
	}
	limit := func(n uint64) {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}); err != nil {
			fail("setrlimit: %v", err)
		}
	}
	limit(3 << 19)
	acknowledged := map[string]bool{}
	if err := fill(s, 0, acknowledged); !errors.Is(err, storage.ErrFull) {
		fail("filling ended with %v", err)
	}
	limit(math.MaxUint64)
	if err := commitOne(s, "resumed", "x"); err != nil {
		fail("resuming: %v", err)
	}
	for key := range acknowledged {
		if _, err := s.Get(context.Background(), key); err != nil {
			fail("%q: %v", key, err)
		}
	}
	if err := s.Close(); err != nil {
		fail("closing: %v", err)
	}
	fmt.Println("ok")
}

// failOnce replaces the next commit of a store's writer.
func failOnce(s *Store, commit func(*bolt.Tx) error) {
	s.writer.commit = func(tx *bolt.Tx) error {
		s.writer.commit = (*bolt.Tx).Commit
		return commit(tx)
	}
}

var errDisk = errors.New("injected: input/output error")

// TestCommitLanded: the library reports an error though the state on disk is the new one (the fsync
// of the meta page failed).
func TestCommitLanded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "before", "1")
	failOnce(s, func(tx *bolt.Tx) error { return errors.Join(tx.Commit(), errDisk) })
	if err := commitOne(s, "landed", "2"); err != nil {
		t.Errorf("a commit that is on disk after all: %v", err)
	}
	put(t, s, "after", "3")
	for key, value := range map[string]string{"before": "1", "landed": "2", "after": "3"} {
		holds(t, s, key, value)
	}
}

func TestCommitNotLanded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	failOnce(s, func(tx *bolt.Tx) error { return errors.Join(tx.Rollback(), errDisk) })
	wantError(t, commitOne(s, "lost", "1"), errDisk, "nothing was written", FileName)
	if _, err := s.Get(context.Background(), "lost"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	put(t, s, "after", "2")
}

// TestCommitLandedUnderSnapshot: while a reader of the old state is there, the database cannot be
// opened again: the outcome stays open, later commits are refused, and all heals when the reader
// has gone.
func TestCommitLandedUnderSnapshot(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "before", "1")
	events, err := s.Watch(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Snapshot(context.Background(), func(string, []byte) error {
		failOnce(s, func(tx *bolt.Tx) error { return errors.Join(tx.Commit(), errDisk) })
		err := commitOne(s, "landed", "2")
		wantError(t, err, errDisk, "unknown")
		if storage.NothingWritten(err) {
			t.Error("the error denies that the outcome is open")
		}
		wantError(t, commitOne(s, "refused", "3"), errDisk, "snapshot")
		holds(t, s, "landed", "2")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range events { // closed: something may have been missed
	}
	put(t, s, "after", "4")
	holds(t, s, "landed", "2")
	if _, err := s.Get(context.Background(), "refused"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a refused commit was written: %v", err)
	}
}

// TestConflictInFailedGroup: who conflicts with a batch of the same group that is then not written
// must not get a conflict.
func TestConflictInFailedGroup(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	failOnce(s, func(tx *bolt.Tx) error { return errors.Join(tx.Rollback(), syscall.ENOSPC) })
	group := make([]*request, 2)
	for i := range group {
		group[i] = &request{done: make(chan error, 1), batch: storage.Batch{If: []storage.Condition{storage.IfAbsent("k")},
			Ops: []storage.Op{storage.Put("k", nil)}}}
	}
	s.writer.write(group)
	for i, r := range group {
		if err := <-r.done; !errors.Is(err, storage.ErrFull) || errors.Is(err, storage.ErrConflict) {
			t.Errorf("member %d: %v; want ErrFull", i, err)
		}
	}
}

// TestPanicInWrite: the library fails an assertion in the middle of a write. Writes end, reads and
// Close do not hang.
func TestPanicInWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "k", "v")
	failOnce(s, func(*bolt.Tx) error { panic("page 7: invalid page type") })
	wantError(t, commitOne(s, "lost", "1"), storage.ErrCorrupt, FileName, "page 7")
	wantError(t, commitOne(s, "lost", "1"), storage.ErrCorrupt, FileName)
	holds(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	holds(t, open(t, dir), "k", "v")
}

func TestPanicInVisit(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "k", "v")
	func() {
		defer func() {
			if v := recover(); v != "visitor" {
				t.Errorf("recovered %v", v)
			}
		}()
		_ = s.Snapshot(context.Background(), func(string, []byte) error { panic("visitor") })
	}()
	put(t, s, "k", "w")
}
