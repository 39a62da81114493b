package bbolt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
)

// TestPeek: a store is read as it is, several times at once, and not a byte of it changes;
// one that is open, missing, foreign or damaged says so.
func TestPeek(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := Peek(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no store: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("peeking made something: %v, %v", entries, err)
	}
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("a/b", []byte("1"))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Peek(t.Context(), dir); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("a store that is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, FileName)
	before := content(t, file)
	first, err := Peek(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Peek(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Reader{first, second} {
		if v, err := r.Get(t.Context(), "a/b"); err != nil || !bytes.Equal(v, []byte("1")) {
			t.Errorf("%q, %v", v, err)
		}
		if _, err := r.Get(t.Context(), "a/c"); !errors.Is(err, storage.ErrNotFound) {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := r.Get(t.Context(), "a/b"); err == nil {
			t.Error("it reads after its end")
		}
	}
	if content(t, file) != before {
		t.Error("the file changed")
	}
	if err := os.Truncate(file, 4096*2); err != nil {
		t.Fatal(err)
	}
	if _, err := Peek(t.Context(), dir); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("half a file: %v", err)
	}
}

func content(t *testing.T, name string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}
