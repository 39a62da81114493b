package barrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
)

func newRoot(t testing.TB) *secret.Bytes {
	t.Helper()
	root, err := secret.Random(nil, keySize)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// formatted returns an unsealed barrier over a store that it has formatted.
func formatted(t testing.TB, store storage.Store, root *secret.Bytes, o Options) *Barrier {
	t.Helper()
	b, tx, err := Format(store, root, 1, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(context.Background()); err != nil {
		t.Fatal(err)
	}
	return b
}

// unsealed returns another barrier over the same store, as after a restart or on another node.
func unsealed(t testing.TB, store storage.Store, root *secret.Bytes, generation uint64) *Barrier {
	t.Helper()
	b := New(store, Options{})
	if err := b.Unseal(context.Background(), root, generation); err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, b *Barrier, path, value string) {
	t.Helper()
	if err := putOne(b, path, value); err != nil {
		t.Fatalf("putting %q: %v", path, err)
	}
}

func putOne(b *Barrier, path, value string) error {
	return b.Commit(context.Background(), storage.Batch{Ops: []storage.Op{storage.Put(path, []byte(value))}})
}

func holds(t testing.TB, b *Barrier, path, want string) {
	t.Helper()
	got, err := b.Get(context.Background(), path)
	if err != nil || string(got) != want {
		t.Errorf("%q = %q, %v; want %q", path, got, err, want)
	}
}

func rotate(t testing.TB, b *Barrier) uint32 {
	t.Helper()
	term, err := b.Rotate(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return term
}

func wantError(t testing.TB, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v; want %v", err, want)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error %q does not name %q", err, word)
		}
	}
}

// asStore makes a barrier pass for a storage.Store, without the barrier's own paths.
type asStore struct {
	*Barrier
	inner storage.Store
}

func (s asStore) Close() error { return s.inner.Close() }

func (s asStore) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	more := limit
	if limit > 0 {
		more++
	}
	names, err := s.Barrier.List(ctx, prefix, after, more)
	if prefix == "" {
		names = slices.DeleteFunc(names, func(name string) bool { return name == "core/" })
	}
	if limit > 0 && len(names) > limit {
		names = names[:limit]
	}
	return names, err
}

// TestStorageConformance: a barrier is a store, but for what concerns the stored values.
func TestStorageConformance(t *testing.T) {
	t.Parallel()
	storagetest.RunLayer(t, func(t *testing.T) storagetest.Harness {
		hub, root := inmem.NewHub(), newRoot(t)
		formatted(t, hub.Open(), root, Options{})
		return storagetest.Harness{
			Open: func() (storage.Store, error) {
				inner := hub.Open()
				b := New(inner, Options{})
				return asStore{b, inner}, b.Unseal(context.Background(), root, 1)
			},
			MaxOps:   storage.MaxOps - OwnOps,
			MaxBytes: storage.MaxBytes - entryOverhead,
		}
	})
}

func TestSealedRefusesAll(t *testing.T) {
	t.Parallel()
	ctx, store, root := context.Background(), inmem.New(), newRoot(t)
	b := New(store, Options{})
	check := func() {
		t.Helper()
		_, err := b.Get(ctx, "k")
		wantError(t, err, ErrSealed)
		_, err = b.List(ctx, "", "", 0)
		wantError(t, err, ErrSealed)
		wantError(t, putOne(b, "k", "v"), ErrSealed)
		tx := b.Begin()
		tx.PutRaw("raw", nil)
		wantError(t, tx.Commit(ctx), ErrSealed)
		_, err = b.Rotate(ctx)
		wantError(t, err, ErrSealed)
		wantError(t, b.Reload(ctx), ErrSealed)
		_, err = b.RotationConfig(ctx)
		wantError(t, err, ErrSealed)
		if !b.Sealed() || b.RootGeneration() != 0 || b.KeyStatus() != (KeyStatus{}) || b.VerifyRoot(root) {
			t.Error("a sealed barrier knows something")
		}
		if err := b.Seal(ctx); err != nil {
			t.Errorf("sealing twice: %v", err)
		}
	}
	check()
	wantError(t, b.Unseal(ctx, root, 1), ErrNotFormatted)
	formatted(t, store, root, Options{})
	if err := b.Unseal(ctx, root, 1); err != nil {
		t.Fatal(err)
	}
	put(t, b, "k", "v")
	if b.Sealed() || b.RootGeneration() != 1 || !b.VerifyRoot(root) || b.VerifyRoot(newRoot(t)) || b.VerifyRoot(nil) {
		t.Error("an unsealed barrier does not know its root key")
	}
	if err := b.Unseal(ctx, root, 1); err != nil {
		t.Errorf("unsealing twice: %v", err)
	}
	wantError(t, b.Unseal(ctx, newRoot(t), 1), ErrWrongRoot)
	if err := b.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	check()
	if root.Len() != keySize {
		t.Error("the caller's root key was destroyed")
	}
	holds(t, unsealed(t, store, root, 1), "k", "v")
}

func TestFormat(t *testing.T) {
	t.Parallel()
	ctx, store, root := context.Background(), inmem.New(), newRoot(t)
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	b, tx, err := Format(store, root, 7, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	tx.Put("entry", []byte("secret value"))
	tx.PutRaw("raw", []byte("record"))
	tx.IfAbsent("guard")
	if names, _ := store.List(ctx, "", "", 0); len(names) != 0 || !b.Sealed() {
		t.Errorf("before the commit there is %q, sealed %v", names, b.Sealed())
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); err == nil {
		t.Error("a transaction was committed twice")
	}
	holds(t, b, "entry", "secret value")
	if raw, err := store.Get(ctx, "raw"); string(raw) != "record" {
		t.Errorf("the raw record is %q, %v", raw, err)
	}
	if s := b.KeyStatus(); s.Term != 1 || !s.Installed.Equal(now) || s.Encryptions != 2 || b.RootGeneration() != 7 {
		t.Errorf("status %+v, generation %d", s, b.RootGeneration())
	}
	_, again, err := Format(store, newRoot(t), 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, again.Commit(ctx), ErrFormatted)
	holds(t, unsealed(t, store, root, 7), "entry", "secret value")
	_, _, err = Format(store, secret.Copy([]byte("short")), 1, Options{})
	wantError(t, err, ErrWrongRoot, "32 bytes")
}

func TestWrongRoot(t *testing.T) {
	t.Parallel()
	ctx, store, root := context.Background(), inmem.New(), newRoot(t)
	formatted(t, store, root, Options{})
	for what, try := range map[string]struct {
		root       *secret.Bytes
		generation uint64
	}{
		"another key":        {newRoot(t), 1},
		"another generation": {root, 2},
		"a short key":        {secret.Copy(root.Expose()[:16]), 1},
		"no key":             {nil, 1},
	} {
		b := New(store, Options{})
		if err := b.Unseal(ctx, try.root, try.generation); !errors.Is(err, ErrWrongRoot) || !b.Sealed() {
			t.Errorf("%s: %v, sealed %v", what, err, b.Sealed())
		}
	}
}

// TestEveryFlippedByte: none goes unnoticed, and the path is named.
func TestEveryFlippedByte(t *testing.T) {
	t.Parallel()
	ctx, store, root := context.Background(), inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	put(t, b, "some/path", "value")
	record, err := store.Get(ctx, "some/path")
	if err != nil {
		t.Fatal(err)
	}
	try := func(changed []byte) {
		t.Helper()
		if err := store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put("some/path", changed)}}); err != nil {
			t.Fatal(err)
		}
		_, err := b.Get(ctx, "some/path")
		wantError(t, err, storage.ErrCorrupt, `"some/path"`)
	}
	for i := range record {
		changed := bytes.Clone(record)
		changed[i] ^= 1
		try(changed)
	}
	for i := range record {
		try(record[:i])
	}
	try(append(bytes.Clone(record), 0))
}

func TestEntriesCannotBeMoved(t *testing.T) {
	t.Parallel()
	ctx, store := context.Background(), inmem.New()
	b := formatted(t, store, newRoot(t), Options{})
	put(t, b, "a", "value")
	put(t, b, "b", "other")
	record, err := store.Get(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put("b", record)}}); err != nil {
		t.Fatal(err)
	}
	_, err = b.Get(ctx, "b")
	wantError(t, err, storage.ErrCorrupt, `"b"`)
	holds(t, b, "a", "value")
}

func TestKeyringDamaged(t *testing.T) {
	t.Parallel()
	ctx, store, root := context.Background(), inmem.New(), newRoot(t)
	formatted(t, store, root, Options{})
	record, err := store.Get(ctx, KeyringPath)
	if err != nil {
		t.Fatal(err)
	}
	for i := range record {
		changed := bytes.Clone(record)
		changed[i] ^= 1
		if err := store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(KeyringPath, changed)}}); err != nil {
			t.Fatal(err)
		}
		err := New(store, Options{}).Unseal(ctx, root, 1)
		if !errors.Is(err, ErrWrongRoot) && !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

func TestReservedAndUnsupported(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	b := formatted(t, inmem.New(), newRoot(t), Options{})
	for _, path := range []string{KeyringPath, countsPath} {
		wantError(t, putOne(b, path, "x"), ErrReserved, path)
		wantError(t, b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(path)}}), ErrReserved)
		tx := b.Begin()
		tx.PutRaw(path, []byte("x"))
		tx.RotateKeyring()
		wantError(t, tx.Commit(ctx), ErrReserved)
	}
	wantError(t, b.Commit(ctx, storage.Batch{If: []storage.Condition{storage.IfValue("k", nil)}}), ErrCondition)
	if s := b.KeyStatus(); s.Term != 1 {
		t.Errorf("term %d", s.Term)
	}
}

func TestFence(t *testing.T) {
	t.Parallel()
	ctx, hub, root := context.Background(), inmem.NewHub(), newRoot(t)
	formatted(t, hub.Open(), root, Options{})
	store := hub.Open()
	b := unsealed(t, store, root, 1)
	leadership, err := store.Campaign(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.Fence(leadership.Epoch())
	put(t, b, "k", "v")
	rotate(t, b)
	hub.Depose()
	wantError(t, putOne(b, "k", "w"), storage.ErrFenced)
	_, err = b.Rotate(ctx)
	wantError(t, err, storage.ErrFenced)
	if s := b.KeyStatus(); s.Term != 2 {
		t.Errorf("a fenced rotation left term %d in memory", s.Term)
	}
	wantError(t, b.Seal(ctx), storage.ErrFenced)
	if !b.Sealed() {
		t.Error("not sealed")
	}
}

// TestRotationUnderWriters rotates while 16 writers write and read back: no error, nothing
// unreadable afterwards.
func TestRotationUnderWriters(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	var stop atomic.Bool
	var wg sync.WaitGroup
	written := make([]int, 16)
	for w := range written {
		wg.Go(func() {
			for !stop.Load() {
				path := fmt.Sprintf("w%d/%d", w, written[w])
				if err := putOne(b, path, path); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				holds(t, b, path, path)
				written[w]++
			}
		})
	}
	const rotations = 200
	for range rotations {
		rotate(t, b)
	}
	stop.Store(true)
	wg.Wait()
	if err := b.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	b = unsealed(t, store, root, 1)
	if s := b.KeyStatus(); s.Term != rotations+1 {
		t.Errorf("term %d after %d rotations", s.Term, rotations)
	}
	for w, n := range written {
		for i := range n {
			path := fmt.Sprintf("w%d/%d", w, i)
			holds(t, b, path, path)
		}
	}
}
