package barrier

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// writeMany makes n encryptions, up to 50 a batch, from several goroutines.
func writeMany(t *testing.T, b *Barrier, n int) {
	t.Helper()
	var ops []storage.Op
	for i := range 50 {
		ops = append(ops, storage.Put(fmt.Sprint("k", i), nil))
	}
	var wg sync.WaitGroup
	batches := make(chan int)
	for range 4 {
		wg.Go(func() {
			for size := range batches {
				if err := b.Commit(context.Background(), storage.Batch{Ops: ops[:size]}); err != nil {
					t.Errorf("Commit: %v", err)
				}
			}
		})
	}
	for ; n > 0; n -= min(n, len(ops)) {
		batches <- min(n, len(ops))
	}
	close(batches)
	wg.Wait()
}

// TestCountsSurvive: exactly, when sealed in order; never too low, and by less than a block too
// high, after a crash.
func TestCountsSurvive(t *testing.T) {
	t.Parallel()
	store, root := &flaky{Store: inmem.New()}, newRoot(t)
	b := formatted(t, store, root, Options{})
	before := store.commits
	const writes = 30_000
	writeMany(t, b, writes)
	if extra := store.commits - before - writes/50; extra > writes/(countBlock/2)+1 {
		t.Errorf("%d commits for the count of %d encryptions", extra, writes)
	}
	exact := b.KeyStatus().Encryptions
	if exact < writes || exact > writes+100 {
		t.Errorf("counted %d", exact)
	}
	after := unsealed(t, store, root, 1).KeyStatus().Encryptions // b was killed, so to say
	if after < exact || after >= exact+countBlock {
		t.Errorf("after a crash %d, counted were %d", after, exact)
	}
	if err := b.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := unsealed(t, store, root, 1).KeyStatus().Encryptions; after != exact+2 { // the entries of count and census
		t.Errorf("after sealing %d, counted were %d", after, exact)
	}
}

// TestBoundIsStoredFirst: at no moment is the stored number below the truth.
func TestBoundIsStoredFirst(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	for range 200 {
		writeMany(t, b, 50)
		if stored := unsealed(t, store, root, 1).KeyStatus().Encryptions; stored < b.KeyStatus().Encryptions {
			t.Fatalf("%d are stored, %d were made", stored, b.KeyStatus().Encryptions)
		}
	}
}

// TestBoundCannotBeStored: writes succeed while their block lasts, then fail, then succeed again.
func TestBoundCannotBeStored(t *testing.T) {
	t.Parallel()
	ctx, inner, root := context.Background(), inmem.New(), newRoot(t)
	store := &noCounts{Store: inner}
	b := formatted(t, store, root, Options{})
	store.fail = true
	n := 0
	for ; n < 3*countBlock; n++ {
		if err := putOne(b, "k", "v"); err != nil {
			wantError(t, err, storage.ErrFull)
			break
		}
	}
	if n < countBlock/2 || n > countBlock {
		t.Errorf("%d writes within a block", n)
	}
	if stored := unsealed(t, inner, root, 1).KeyStatus().Encryptions; stored < uint64(n) {
		t.Errorf("%d are stored, %d were made", stored, n)
	}
	store.fail = false
	put(t, b, "k", "again")
	if err := b.Seal(ctx); err != nil {
		t.Fatal(err)
	}
}

// noCounts refuses commits of the counts alone.
type noCounts struct {
	storage.Store
	fail bool
}

func (s *noCounts) Commit(ctx context.Context, b storage.Batch) error {
	if s.fail && len(b.Ops) == 1 && b.Ops[0].Key == countsPath {
		return storage.ErrFull
	}
	return s.Store.Commit(ctx, b)
}

// TestCountsLost: a count that is gone or damaged does not keep the data away; the key is due for
// rotation.
func TestCountsLost(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]storage.Op{
		"missing": storage.Delete(countsPath),
		"damaged": storage.Put(countsPath, make([]byte, 100)),
		"short":   storage.Put(countsPath, []byte{1}),
	} {
		ctx, store, root := context.Background(), inmem.New(), newRoot(t)
		put(t, formatted(t, store, root, Options{}), "k", "v")
		if err := store.Commit(ctx, storage.Batch{Ops: []storage.Op{op}}); err != nil {
			t.Fatal(err)
		}
		b := unsealed(t, store, root, 1)
		holds(t, b, "k", "v")
		if rotated, err := b.RotateIfDue(ctx); !rotated || err != nil {
			t.Errorf("%s: rotated %v, %v", name, rotated, err)
		}
		put(t, b, "k", "w")
		if n := unsealed(t, store, root, 1).KeyStatus().Encryptions; n > 2*countBlock {
			t.Errorf("%s: the new term starts with %d", name, n)
		}
	}
}

// TestSealWhileWriting: the exact number counts every write that was let through.
func TestSealWhileWriting(t *testing.T) {
	t.Parallel()
	for range 20 {
		store, root := inmem.New(), newRoot(t)
		b := formatted(t, store, root, Options{})
		var wg sync.WaitGroup
		var done [4]uint64
		started := make(chan struct{}, len(done))
		for w := range done {
			wg.Go(func() {
				for ; ; done[w]++ {
					if err := putOne(b, fmt.Sprint("k", w), "v"); err != nil {
						wantError(t, err, ErrSealed)
						return
					}
					if done[w] == 5 {
						started <- struct{}{}
					}
				}
			})
		}
		<-started
		if err := b.Seal(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		made := done[0] + done[1] + done[2] + done[3]
		if stored := unsealed(t, store, root, 1).KeyStatus().Encryptions; stored < made {
			t.Errorf("%d are stored, %d were made", stored, made)
		}
	}
}

func TestRotateIfDue(t *testing.T) {
	t.Parallel()
	ctx, root := context.Background(), newRoot(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := formatted(t, inmem.New(), root, Options{Now: func() time.Time { return now }})
	due := func(want bool) {
		t.Helper()
		if rotated, err := b.RotateIfDue(ctx); rotated != want || err != nil {
			t.Errorf("rotated %v, %v; want %v", rotated, err, want)
		}
	}
	set := func(c RotationConfig) {
		t.Helper()
		if err := b.SetRotationConfig(ctx, c); err != nil {
			t.Fatal(err)
		}
		if got, err := b.RotationConfig(ctx); got != c || err != nil {
			t.Errorf("read back %+v, %v", got, err)
		}
	}
	if c, err := b.RotationConfig(ctx); c != DefaultRotation() || err != nil {
		t.Errorf("the default is %+v, %v", c, err)
	}
	now = now.AddDate(50, 0, 0)
	due(false)
	b.ring.Load().active.count.used.Add(maxOperations)
	due(true)
	due(false)
	set(RotationConfig{Enabled: true, Interval: 48 * time.Hour, MaxOperations: minOperations})
	due(false)
	now = now.Add(48*time.Hour - 1)
	due(false)
	now = now.Add(1)
	due(true)
	due(false)
	b.ring.Load().active.count.used.Add(minOperations)
	due(true)
	set(RotationConfig{Interval: 24 * time.Hour, MaxOperations: minOperations})
	b.ring.Load().active.count.used.Add(maxOperations)
	now = now.AddDate(1, 0, 0)
	due(false)
	if s := b.KeyStatus(); s.Term != 4 {
		t.Errorf("term %d", s.Term)
	}
}

func TestRotationConfigBounds(t *testing.T) {
	t.Parallel()
	b := formatted(t, inmem.New(), newRoot(t), Options{})
	for c, want := range map[RotationConfig]error{
		{Interval: 24*time.Hour - 1, MaxOperations: maxOperations}: ErrInterval,
		{Interval: -1, MaxOperations: maxOperations}:               ErrInterval,
		{MaxOperations: minOperations - 1}:                         ErrMaxOperations,
		{MaxOperations: maxOperations + 1}:                         ErrMaxOperations,
	} {
		wantError(t, b.SetRotationConfig(context.Background(), c), want)
	}
}

func TestTermsAreBounded(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	r := b.ring.Load()
	for id := uint32(2); id <= maxTerms; id++ { // by hand: rotating costs the square of it
		term, err := b.makeTerm(id)
		if err != nil {
			t.Fatal(err)
		}
		r.terms = append(r.terms, term)
	}
	_, err := b.Rotate(t.Context())
	wantError(t, err, ErrTerms, "8192")
	tx := b.Begin()
	tx.ReplaceRoot(newRoot(t), 2)
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("the largest keyring does not fit into a commit: %v", err)
	}
	tx = b.Begin() // with the condition on the large one
	tx.ReplaceRoot(root, 3)
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("the largest keyring does not fit into a commit: %v", err)
	}
	if fresh := unsealed(t, store, root, 3); len(fresh.ring.Load().terms) != maxTerms {
		t.Error("terms are missing")
	}
}

// TestCountsCannotBeRolledBack: an attacker who writes the storage puts back an older number of
// encryptions, removes it, or damages it, while the barrier is sealed or while it serves. The
// process counts on from what it made, and rotates the term, also where its schedule is off.
func TestCountsCannotBeRolledBack(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]func(old []byte) storage.Op{
		"an older one": func(old []byte) storage.Op { return storage.Put(countsPath, old) },
		"none":         func([]byte) storage.Op { return storage.Delete(countsPath) },
		"a damaged one": func(old []byte) storage.Op {
			bad := bytes.Clone(old)
			bad[len(bad)-1] ^= 1
			return storage.Put(countsPath, bad)
		},
	} {
		for _, sealed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, sealed %v", name, sealed), func(t *testing.T) {
				t.Parallel()
				ctx, store, root, log := t.Context(), inmem.New(), newRoot(t), &bytes.Buffer{}
				o := Options{Counts: &CountMemory{}, Log: slog.New(slog.NewTextHandler(log, nil))}
				b := formatted(t, store, root, o)
				if err := b.SetRotationConfig(ctx, RotationConfig{MaxOperations: minOperations}); err != nil {
					t.Fatal(err)
				}
				old, err := store.Get(ctx, countsPath)
				if err != nil {
					t.Fatal(err)
				}
				writeMany(t, b, 3*countBlock)
				made := b.KeyStatus().Encryptions
				if sealed {
					if err := b.Seal(ctx); err != nil {
						t.Fatal(err)
					}
				}
				if err := store.Commit(ctx, storage.Batch{Ops: []storage.Op{attack(old)}}); err != nil {
					t.Fatal(err)
				}
				if sealed {
					b = New(store, o)
					if err := b.Unseal(ctx, root, 1); err != nil {
						t.Fatal(err)
					}
				}
				if now := b.KeyStatus().Encryptions; now < made {
					t.Errorf("%d encryptions are counted, %d were made", now, made)
				}
				if rotated, err := b.RotateIfDue(ctx); !rotated || err != nil {
					t.Errorf("rotated %v, %v", rotated, err)
				}
				if rotated, err := b.RotateIfDue(ctx); rotated || err != nil {
					t.Errorf("the new term: rotated %v, %v", rotated, err)
				}
				if !strings.Contains(log.String(), "due for rotation") {
					t.Error("the log does not say so")
				}
			})
		}
	}
}

// TestCountsOfAnotherNodeAreNoRollBack: a leader stores a bound, another one lowers it to the exact
// number, and neither is suspected; nor is a restart in order.
func TestCountsOfAnotherNodeAreNoRollBack(t *testing.T) {
	t.Parallel()
	ctx, store, root := t.Context(), inmem.New(), newRoot(t)
	first, second := Options{Counts: &CountMemory{}}, Options{Counts: &CountMemory{}}
	b := formatted(t, store, root, first)
	for i := range 6 {
		writeMany(t, b, 100)
		if err := b.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		o := first
		if i%3 == 0 {
			o = second
		}
		b = New(store, o)
		if err := b.Unseal(ctx, root, 1); err != nil {
			t.Fatal(err)
		}
		watcher := New(store, second) // reads, and never writes
		if err := watcher.Unseal(ctx, root, 1); err != nil {
			t.Fatal(err)
		}
		if rotated, err := b.RotateIfDue(ctx); rotated || err != nil {
			t.Fatalf("turn %d: rotated %v, %v", i, rotated, err)
		}
		if err := watcher.Seal(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
