package bbolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/storage"
)

// wantError checks an error's kind, and that its text names what it should.
func wantError(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v; want %v", err, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error %q does not name %q", err, word)
		}
	}
}

// sample makes a database of several pages and levels, with free pages, and returns its bytes.
func sample(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 12 {
		var ops []storage.Op
		for j := range 50 {
			key := fmt.Sprintf("folder/%02d/%02d", i, j)
			ops = append(ops, storage.Put(key, []byte(strings.Repeat(key, 1+j%9))))
		}
		if err := s.Commit(context.Background(), storage.Batch{Ops: ops}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "large", strings.Repeat("overflow ", 3000))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	meta, err := (&checker{file: bytes.NewReader(b)}).latestMeta(uint64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return b[:meta.highWater*meta.pageSize]
}

// plant writes a database file into a new folder.
func plant(t testing.TB, content []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	whole := sample(t)
	for _, length := range []int{1, 100, 4096, 5000, 8192, 12288, 20000, 40960} {
		dir := plant(t, whole[:length])
		_, err := Open(context.Background(), dir, Options{})
		wantError(t, err, storage.ErrCorrupt, dir, FileName, "snapshot")
		if after, _ := os.ReadFile(filepath.Join(dir, FileName)); !bytes.Equal(after, whole[:length]) {
			t.Errorf("length %d: a damaged file was changed", length)
		}
	}
	_, err := Open(context.Background(), plant(t, whole[:20000]), Options{})
	wantError(t, err, storage.ErrCorrupt, "truncated", "20000 bytes")
}

// TestTruncatedWhileOpen: the fault comes from the memory map.
func TestTruncatedWhileOpen(t *testing.T) {
	t.Parallel()
	dir := plant(t, sample(t))
	s := open(t, dir)
	if err := os.Truncate(filepath.Join(dir, FileName), 8192); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(context.Background(), "folder/03/03")
	wantError(t, err, storage.ErrCorrupt, FileName)
	_, err = s.List(context.Background(), "folder/", "", 0)
	wantError(t, err, storage.ErrCorrupt, FileName)
	wantError(t, s.Snapshot(context.Background(), func(string, []byte) error { return nil }), storage.ErrCorrupt)
	if err := commitOne(s, "k", "v"); err == nil {
		t.Error("a commit to a truncated file succeeded")
	}
}

// TestFlippedValue names the entry, and leaves the others readable.
func TestFlippedValue(t *testing.T) {
	t.Parallel()
	b := sample(t)
	at := bytes.LastIndex(b, []byte("folder/05/07folder/05/07"))
	b[at+13] ^= 0x10 // in the value, or in the adjacent key
	s := open(t, plant(t, b))
	err := s.Snapshot(context.Background(), func(string, []byte) error { return nil })
	wantError(t, err, storage.ErrCorrupt, "folder/05/", FileName)
	holds(t, s, "folder/05/08", strings.Repeat("folder/05/08", 9))
	err = s.Commit(context.Background(),
		storage.Batch{If: []storage.Condition{storage.IfValue("folder/05/07", []byte("x"))}})
	wantError(t, err, storage.ErrCorrupt, "folder/05/07")
}

// TestFlippedBits damages one bit at a time, anywhere. Whatever it is, the process lives, nothing
// hangs, and no value is read that was not written.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	whole := sample(t)
	random := rand.New(rand.NewPCG(3, 4))
	const flips = 250
	refused, noticed := 0, 0
	dir := t.TempDir()
	file := filepath.Join(dir, FileName)
	for range flips {
		b := bytes.Clone(whole)
		at := random.IntN(len(b))
		if random.IntN(2) == 0 { // half of them in the structure
			at = at&^4095 + random.IntN(256)
		}
		b[at] ^= 1 << random.IntN(8)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := Open(context.Background(), dir, Options{})
		if err != nil {
			if !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, ErrFormat) && !errors.Is(err, storage.ErrForeign) {
				t.Errorf("byte %d: %v", at, err)
			}
			refused++
			continue
		}
		if err := useDamaged(t, store.(*Store)); err != nil {
			if !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("byte %d: %v", at, err)
			}
			noticed++
		}
		if err := store.Close(); err != nil {
			t.Errorf("byte %d: Close: %v", at, err)
		}
	}
	t.Logf("of %d damaged files %d were refused, %d noticed in use", flips, refused, noticed)
	if refused < 20 || noticed < 20 {
		t.Error("the damage was hardly ever noticed")
	}
}

// useDamaged reads everything and writes something.
func useDamaged(t *testing.T, s *Store) error {
	ctx := context.Background()
	snapshot := s.Snapshot(ctx, func(key string, value []byte) error {
		if strings.HasPrefix(key, "folder/") && strings.Trim(strings.ReplaceAll(string(value), key, ""), "") != "" {
			t.Errorf("a wrong value of %q", key)
		}
		return nil
	})
	var reads []error
	for i := range 12 {
		_, err := s.List(ctx, fmt.Sprintf("folder/%02d/", i), "", 0)
		reads = append(reads, err)
		for j := range 50 {
			if _, err := s.Get(ctx, fmt.Sprintf("folder/%02d/%02d", i, j)); !errors.Is(err, storage.ErrNotFound) {
				reads = append(reads, err)
			}
		}
	}
	reads = append(reads, snapshot, commitOne(s, "folder/05/05", "folder/05/05"),
		commitOne(s, "new", strings.Repeat("n", 9000)))
	return errors.Join(reads...)
}

func TestMetaPageDamaged(t *testing.T) {
	t.Parallel()
	b := sample(t)
	b[4096+40] ^= 1
	var log bytes.Buffer
	store, err := Open(context.Background(), plant(t, b), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if !strings.Contains(log.String(), "meta page") {
		t.Errorf("no warning: %q", log.String())
	}
}

func TestForeignFolder(t *testing.T) {
	t.Parallel()
	for path, words := range map[string][]string{
		"core/_keyring":  {"core/_keyring", "Vault"},
		"sys/policy/_x":  {"sys", "Vault"},
		"raft/raft.db":   {"raft", "integrated storage"},
		"vault.db":       {"vault.db", "integrated storage"},
		"member/snap/db": {"etcd"},
		"notes.txt":      {"notes.txt"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(context.Background(), dir, Options{})
		wantError(t, err, storage.ErrForeign, append(words, dir, "empty folder")...)
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("the foreign folder was changed: %v", entries)
		}
	}
}

func TestToleratedFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"lost+found", ".snapshot"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, FileName+damagedSuffix), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	put(t, s, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sealgate.db.bak"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	holds(t, open(t, dir), "k", "v")
}

// made is a bbolt database that a test made by hand.
func made(t *testing.T, fill func(tx *bolt.Tx) error) (dir string) {
	t.Helper()
	dir = t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, FileName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fill); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestForeignDatabase(t *testing.T) {
	t.Parallel()
	dir := made(t, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
	_, err := Open(context.Background(), dir, Options{})
	wantError(t, err, storage.ErrForeign, FileName, "another program")
}

func TestNewerFormat(t *testing.T) {
	t.Parallel()
	dir := made(t, func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		return meta.Put(formatKey, []byte("2"))
	})
	_, err := Open(context.Background(), dir, Options{})
	wantError(t, err, ErrFormat, `"2"`, "newer", FileName)
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), file, Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file instead of a folder: %v", err)
	}
	_, err := Open(context.Background(), plant(t, []byte("no database at all, "+strings.Repeat("x", 9000))), Options{})
	wantError(t, err, storage.ErrCorrupt, "meta page")
}

// TestScrub: a damaged entry is named, left out of a snapshot on request, and healed by writing it.
func TestScrub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 20 {
		put(t, s, fmt.Sprintf("k%02d", i), "value")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; ; { // every copy of the entry: old pages too
		i := bytes.Index(b[at:], []byte("k07"))
		if i < 0 {
			break
		}
		at += i + len("k07")
		b[at] ^= 0x40 // the checksum, which is next to the key
	}
	again := open(t, plant(t, b))
	ignore := func(string, []byte) error { return nil }
	wantError(t, again.Snapshot(t.Context(), ignore), storage.ErrCorrupt, `"k07"`)
	var kept, damaged []string
	scrub := func() {
		kept, damaged = nil, nil
		if err := again.SnapshotIntact(t.Context(), func(key string, _ []byte) error {
			kept = append(kept, key)
			return nil
		}, func(key string) { damaged = append(damaged, key) }); err != nil {
			t.Fatal(err)
		}
	}
	if scrub(); len(kept) != 19 || len(damaged) != 1 || damaged[0] != "k07" {
		t.Errorf("kept %d, damaged %q", len(kept), damaged)
	}
	put(t, again, "k07", "again")
	if scrub(); len(kept) != 20 || len(damaged) != 0 {
		t.Errorf("after writing it: kept %d, damaged %q", len(kept), damaged)
	}
}
