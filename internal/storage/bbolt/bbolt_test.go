package bbolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
	"github.com/sealgate/sealgate/internal/testkit"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		child(job)
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Harness {
		dir := t.TempDir()
		return storagetest.Harness{Open: func() (storage.Store, error) { return Open(context.Background(), dir, Options{}) }}
	})
}

// open opens a store that the test's end closes.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*Store)
}

func put(t testing.TB, s storage.Store, key, value string) {
	t.Helper()
	if err := commitOne(s, key, value); err != nil {
		t.Fatalf("putting %q: %v", key, err)
	}
}

func commitOne(s storage.Store, key, value string) error {
	return s.Commit(context.Background(), storage.Batch{Ops: []storage.Op{storage.Put(key, []byte(value))}})
}

func holds(t testing.TB, s storage.Store, key, want string) {
	t.Helper()
	got, err := s.Get(context.Background(), key)
	if err != nil || string(got) != want {
		t.Errorf("%q = %.40q, %v; want %.40q", key, got, err, want)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	open(t, dir)
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, FileName): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v; want the database alone", entries, err)
	}
}

// stall makes the writer wait before each commit, and reports when it has.
func stall(s *Store) (arrived chan struct{}, release chan struct{}) {
	arrived, release = make(chan struct{}, 1000), make(chan struct{})
	commit := s.writer.commit
	s.writer.commit = func(tx *boltTx) error {
		arrived <- struct{}{}
		<-release
		return commit(tx)
	}
	return arrived, release
}

// TestGroup: what arrives during an fsync shares the next, and a conflict in it fails alone.
func TestGroup(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	arrived, release := stall(s)
	results := make(chan error, 100)
	go func() { results <- commitOne(s, "first", "1") }()
	<-arrived
	const waiting = 20
	for i := range waiting {
		go func() {
			b := storage.Batch{Ops: []storage.Op{storage.Put(fmt.Sprint("k", i), nil), storage.Put("same", nil)}}
			if i%2 == 0 { // of these, one wins: each sees the batches before it in the group
				b.If = []storage.Condition{storage.IfAbsent("winner")}
				b.Ops = append(b.Ops, storage.Put("winner", nil))
			}
			results <- s.Commit(context.Background(), b)
		}()
	}
	testkit.Eventually(t, "all batches are queued", func() bool { return len(s.queue) >= waiting })
	close(release)
	conflicts := 0
	for range waiting + 1 {
		err := <-results
		if errors.Is(err, storage.ErrConflict) {
			conflicts++
		} else if err != nil {
			t.Errorf("Commit: %v", err)
		}
	}
	if groups := 1 + len(arrived); groups != 2 || conflicts != waiting/2-1 {
		t.Errorf("%d fsyncs and %d conflicts; want 2 and %d", groups, conflicts, waiting/2-1)
	}
}

// TestCancelQueued: a batch that has not been begun is not written; one that has been begun is
// waited for.
func TestCancelQueued(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	arrived, release := stall(s)
	ctx, cancel := context.WithCancel(context.Background())
	begun, queued := make(chan error, 1), make(chan error, 1)
	commit := func(key string, result chan error) {
		result <- s.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(key, nil)}})
	}
	go commit("begun", begun)
	<-arrived
	go commit("queued", queued)
	testkit.Eventually(t, "the batch is queued", func() bool { return len(s.queue) == 1 })
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Errorf("the queued batch: %v", err)
	}
	// Reads continue meanwhile.
	if _, err := s.Get(context.Background(), "queued"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("Get during a commit: %v", err)
	}
	close(release)
	if err := <-begun; err != nil {
		t.Errorf("the batch that was begun: %v", err)
	}
	put(t, s, "next", "")
	if _, err := s.Get(context.Background(), "queued"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the cancelled batch was written: %v", err)
	}
	holds(t, s, "begun", "")
}

func TestOpenWithContextEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := Open(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made all the same")
	}
}
