package bbolt

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
)

// copies lists what compactions have left in a folder.
func copies(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, compactPattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestCompact: the file shrinks while others write; everything acknowledged is there, also after
// the file is opened again.
func TestCompact(t *testing.T) {
	t.Parallel()
	dir := large(t)
	s := open(t, dir)
	for i := range 39 {
		var b storage.Batch
		for j := range 9 {
			b.Ops = append(b.Ops, storage.Delete(fmt.Sprintf("large/%02d/%d", i, j)))
		}
		if err := s.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	written := make([]int, 4)
	for w := range written {
		writers.Go(func() {
			for i := range 5000 { // bounds what they add to the file, however slow the machine is
				select {
				case <-stop:
					return
				default:
				}
				ops := []storage.Op{storage.Put(fmt.Sprintf("during/%d/%06d", w, i), fmt.Append(nil, i)),
					storage.Delete(fmt.Sprintf("small/%03d", w*50+i%50))}
				if err := s.Commit(context.Background(), storage.Batch{Ops: ops}); err != nil {
					t.Errorf("a commit during a compaction: %v", err)
					return
				}
				written[w] = i + 1
			}
		})
	}
	before, after, err := s.Compact(t.Context())
	if err != nil || after >= before/4 {
		t.Errorf("%d bytes before, %d after, %v", before, after, err)
	}
	put(t, s, "after", "it")
	close(stop)
	writers.Wait()
	check := func(s *Store) {
		t.Helper()
		for w, n := range written {
			for i := range n {
				holds(t, s, fmt.Sprintf("during/%d/%06d", w, i), fmt.Sprint(i))
			}
			if _, err := s.Get(t.Context(), fmt.Sprintf("small/%03d", w*50)); n > 0 && err == nil {
				t.Error("an entry that was deleted during the compaction is back")
			}
		}
		holds(t, s, "after", "it")
		if _, err := s.Get(t.Context(), "large/39/8"); err != nil {
			t.Error(err)
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, markName)); err != nil { // verified as a whole
		t.Fatal(err)
	}
	check(open(t, dir))
	if left := copies(t, dir); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

// TestCompactRefused: a compaction that cannot end leaves the file as it is, and nothing beside it.
func TestCompactRefused(t *testing.T) {
	t.Parallel()
	dir := large(t)
	s := open(t, dir)
	reading, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	done := make(chan error, 1)
	go func() {
		done <- s.Snapshot(context.Background(), func(string, []byte) error {
			once.Do(func() { close(reading); <-release })
			return nil
		})
	}()
	<-reading
	_, _, err := s.Compact(t.Context())
	wantError(t, err, storage.ErrBusy, "snapshot")
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Compact(ctx); err == nil {
		t.Error("a cancelled compaction succeeded")
	}
	holds(t, s, "small/007", "value")
	put(t, s, "small/007", "again")
	if left := copies(t, dir); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What a crash has left is removed.
	if err := os.WriteFile(filepath.Join(dir, strings.Replace(compactPattern, "*", "7", 1)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, open(t, dir), "small/007", "again")
	if left := copies(t, dir); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
}

// TestCompactDamaged: damage is not copied.
func TestCompactDamaged(t *testing.T) {
	t.Parallel()
	b := sample(t)
	for at := 0; ; { // every copy of the entry: old pages too
		i := strings.Index(string(b[at:]), "folder/05/07")
		if i < 0 {
			break
		}
		at += i + len("folder/05/07")
		b[at] ^= 0x40
	}
	dir := plant(t, b)
	s := open(t, dir)
	_, _, err := s.Compact(t.Context())
	wantError(t, err, storage.ErrCorrupt, "folder/05/07")
	holds(t, s, "folder/05/08", strings.Repeat("folder/05/08", 9))
}

// TestCompactCannotBegin: a compaction that cannot make its copy leaves nothing: the writer does
// not keep noting keys, which would fill the memory.
func TestCompactCannotBegin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.Rename(dir, dir+"-gone"); err != nil { // the open file stays usable
		t.Fatal(err)
	}
	if _, _, err := s.Compact(t.Context()); err == nil {
		t.Error("the copy was made in a folder that is gone")
	}
	if err := os.Rename(dir+"-gone", dir); err != nil {
		t.Fatal(err)
	}
	err := s.inWriter(t.Context(), func(w *writer) error {
		if w.noted != nil {
			t.Error("the writer still notes what it changes")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Compact(t.Context()); err != nil {
		t.Error(err)
	}
}
