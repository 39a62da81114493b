package barrier

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

var errLine = errors.New("injected: connection lost")

// flaky fails the next commit, before or after carrying it out, and reads while failing is set.
type flaky struct {
	storage.Store
	mu            sync.Mutex
	before, after error
	hold          *storage.Batch // where set, the failed commit is kept here, to arrive late
	reads         error
	commits       int
}

func (f *flaky) Commit(ctx context.Context, b storage.Batch) error {
	f.mu.Lock()
	f.commits++
	before, after := f.before, f.after
	f.before, f.after = nil, nil
	f.mu.Unlock()
	if before != nil {
		if f.hold != nil {
			*f.hold = b
		}
		return before
	}
	if err := f.Store.Commit(ctx, b); err != nil {
		return err
	}
	return after
}

func (f *flaky) Get(ctx context.Context, key string) ([]byte, error) {
	if f.reads != nil {
		return nil, f.reads
	}
	return f.Store.Get(ctx, key)
}

// sameAsDisk checks that memory equals disk: what this barrier holds is what a fresh one reads,
// both ways.
func sameAsDisk(t *testing.T, b *Barrier, store storage.Store, root *secret.Bytes, generation uint64) {
	t.Helper()
	fresh := unsealed(t, store, root, generation)
	if got, want := b.KeyStatus().Term, fresh.KeyStatus().Term; got != want || b.RootGeneration() != generation ||
		!b.VerifyRoot(root) {
		t.Errorf("term %d in memory, %d on disk; generation %d, want %d", got, want, b.RootGeneration(), generation)
	}
	put(t, b, "probe", "by the old")
	holds(t, fresh, "probe", "by the old")
	put(t, fresh, "probe", "by the fresh")
	holds(t, b, "probe", "by the fresh")
}

// TestFailedKeyringCommit goes through every way in which a commit that changes the keyring can
// fail.
func TestFailedKeyringCommit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after error
		landed        bool
	}{
		"nothing written":          {before: storage.ErrFull},
		"fenced":                   {before: storage.ErrFenced},
		"uncertain, not there":     {before: errLine},
		"uncertain, there":         {after: errLine, landed: true},
		"context ended, there":     {after: context.Canceled, landed: true},
		"context ended, not there": {before: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, root, next := context.Background(), newRoot(t), newRoot(t)
			store := &flaky{Store: inmem.New()}
			b := formatted(t, store, root, Options{})
			put(t, b, "old", "value")
			tx := b.Begin()
			tx.RotateKeyring()
			tx.ReplaceRoot(next, 2)
			tx.Put("with", []byte("it"))
			tx.PutRaw("sealed-root", []byte("record"))
			store.before, store.after = c.before, c.after
			err := tx.Commit(ctx)
			if c.landed {
				if err != nil {
					t.Errorf("a commit that is there: %v", err)
				}
				holds(t, b, "with", "it")
				sameAsDisk(t, b, store, next, 2)
			} else {
				wantError(t, err, c.before)
				if _, err := b.Get(ctx, "with"); !errors.Is(err, storage.ErrNotFound) {
					t.Errorf("part of a failed transaction: %v", err)
				}
				sameAsDisk(t, b, store, root, 1)
			}
			holds(t, b, "old", "value")
			rotate(t, b)
			holds(t, b, "old", "value")
		})
	}
}

// TestUncertainAndUnreadable: where the keyring cannot be read back either, nothing is encrypted
// until it can.
func TestUncertainAndUnreadable(t *testing.T) {
	t.Parallel()
	for name, landed := range map[string]bool{"there": true, "not there": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, root, next := context.Background(), newRoot(t), newRoot(t)
			store := &flaky{Store: inmem.New()}
			b := formatted(t, store, root, Options{})
			put(t, b, "old", "value")
			tx := b.Begin()
			tx.RotateKeyring()
			tx.ReplaceRoot(next, 2)
			store.reads = errLine
			if landed {
				store.after = errLine
			} else {
				store.before = errLine
			}
			wantError(t, tx.Commit(ctx), ErrUncertain, errLine.Error())
			commits := store.commits
			wantError(t, putOne(b, "k", "v"), ErrUncertain)
			_, err := b.Rotate(ctx)
			wantError(t, err, ErrUncertain)
			wantError(t, b.Reload(ctx), errLine)
			if store.commits != commits {
				t.Error("something was written all the same")
			}
			store.reads = nil
			holds(t, b, "old", "value")
			if landed {
				put(t, b, "k", "v") // reads the keyring again
				sameAsDisk(t, b, store, next, 2)
			} else {
				if err := b.Reload(ctx); err != nil {
					t.Fatal(err)
				}
				sameAsDisk(t, b, store, root, 1)
			}
		})
	}
}

// TestLateArrival: a commit that was reported as failed, and was not there when looked for, comes
// through later.
func TestLateArrival(t *testing.T) {
	t.Parallel()
	ctx, root, next := context.Background(), newRoot(t), newRoot(t)
	var late storage.Batch
	store := &flaky{Store: inmem.New(), hold: &late}
	b := formatted(t, store, root, Options{})
	tx := b.Begin()
	tx.RotateKeyring()
	tx.ReplaceRoot(next, 2)
	tx.Put("with", []byte("it"))
	store.before = errLine
	wantError(t, tx.Commit(ctx), errLine)
	put(t, b, "meanwhile", "by the old term")
	if err := store.Commit(ctx, late); err != nil {
		t.Fatal(err)
	}
	holds(t, b, "with", "it") // an unknown term: the keyring is read again, with the new root key
	holds(t, b, "meanwhile", "by the old term")
	sameAsDisk(t, b, store, next, 2)
	rotate(t, b)

	// One that arrives when the keyring has changed since is refused by its own condition.
	store.before = errLine
	_, err := b.Rotate(ctx)
	wantError(t, err, errLine)
	rotate(t, b)
	wantError(t, store.Commit(ctx, late), storage.ErrConflict)
	sameAsDisk(t, b, store, next, 2)
}

func TestFailedFormat(t *testing.T) {
	t.Parallel()
	ctx, root := context.Background(), newRoot(t)
	store := &flaky{Store: inmem.New()}
	for _, before := range []error{storage.ErrFull, errLine} {
		b, tx, err := Format(store, root, 1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		store.before = before
		wantError(t, tx.Commit(ctx), before)
		if names, _ := store.List(ctx, "", "", 0); len(names) != 0 || !b.Sealed() {
			t.Errorf("after %v there is %q, sealed %v", before, names, b.Sealed())
		}
	}
	b, tx, err := Format(store, root, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	store.after = errLine
	if err := tx.Commit(ctx); err != nil || b.Sealed() {
		t.Errorf("a format that is there: %v, sealed %v", err, b.Sealed())
	}
	sameAsDisk(t, b, store, root, 1)
}

// TestFollow: another node rotates, and replaces the root key.
func TestFollow(t *testing.T) {
	t.Parallel()
	ctx, hub, root, next := context.Background(), inmem.NewHub(), newRoot(t), newRoot(t)
	active := formatted(t, hub.Open(), root, Options{})
	standby := unsealed(t, hub.Open(), root, 1)
	rotate(t, active)
	put(t, active, "k", "by term 2")
	holds(t, standby, "k", "by term 2")
	if s := standby.KeyStatus(); s.Term != 2 {
		t.Errorf("the standby follows to term %d", s.Term)
	}
	rotate(t, active)
	if err := standby.Reload(ctx); err != nil || standby.KeyStatus().Term != 3 {
		t.Errorf("Reload: %v, term %d", err, standby.KeyStatus().Term)
	}
	tx := active.Begin()
	tx.ReplaceRoot(next, 2)
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	wantError(t, standby.Reload(ctx), ErrWrongRoot, "generation 2")
	holds(t, standby, "k", "by term 2")
	_, err := standby.Rotate(ctx)
	wantError(t, err, storage.ErrConflict)
	if err := standby.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if err := standby.Unseal(ctx, next, 2); err != nil {
		t.Fatal(err)
	}
	sameAsDisk(t, standby, hub.Open(), next, 2)
}

func TestReplaceRoot(t *testing.T) {
	t.Parallel()
	ctx, store, root, next := context.Background(), inmem.New(), newRoot(t), newRoot(t)
	b := formatted(t, store, root, Options{})
	put(t, b, "k", "v")
	before, err := store.Get(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	tx := b.Begin()
	tx.ReplaceRoot(next, 2)
	tx.IfAbsent("free")
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if !b.VerifyRoot(next) || b.VerifyRoot(root) || b.RootGeneration() != 2 || b.KeyStatus().Term != 1 {
		t.Errorf("generation %d, term %d", b.RootGeneration(), b.KeyStatus().Term)
	}
	if after, _ := store.Get(ctx, "k"); !bytes.Equal(before, after) {
		t.Error("data was touched")
	}
	wantError(t, New(store, Options{}).Unseal(ctx, root, 1), ErrWrongRoot)
	sameAsDisk(t, b, store, next, 2)

	for _, generation := range []uint64{0, 1, 2} {
		tx := b.Begin()
		tx.ReplaceRoot(newRoot(t), generation)
		if err := tx.Commit(ctx); err == nil {
			t.Errorf("generation %d follows 2", generation)
		}
	}
	tx = b.Begin()
	tx.ReplaceRoot(secret.Copy([]byte("short")), 3)
	wantError(t, tx.Commit(ctx), ErrWrongRoot, "32")
	tx = b.Begin()
	tx.ReplaceRoot(newRoot(t), 3)
	tx.IfAbsent("k")
	wantError(t, tx.Commit(ctx), storage.ErrConflict)
	sameAsDisk(t, b, store, next, 2)
}
