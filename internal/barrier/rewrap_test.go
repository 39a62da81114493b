package barrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// rewrapAll re-encrypts all entries, in pages.
func rewrapAll(t testing.TB, b *Barrier, page int) (total Rewrapped) {
	t.Helper()
	for after := ""; ; {
		paths, err := b.NextEntries(context.Background(), after, page)
		if err != nil {
			t.Fatal(err)
		}
		if len(paths) == 0 {
			return total
		}
		after = paths[len(paths)-1]
		done, err := b.Rewrap(context.Background(), paths)
		if err != nil {
			t.Fatal(err)
		}
		total.add(done.Tally)
		total.Damaged = append(total.Damaged, done.Damaged...)
	}
}

func TestNextEntriesVisitsAllInOrder(t *testing.T) {
	t.Parallel()
	store := inmem.New()
	b := formatted(t, store, newRoot(t), Options{})
	for _, path := range []string{"a", "a-b", "a/b", "a/b/c", "a/b-c", "ab", "b/1", "b/2/x/y", "c"} {
		put(t, b, path, "v")
	}
	var want []string
	if err := store.Snapshot(t.Context(), func(key string, _ []byte) error {
		want = append(want, key)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	for page := 1; page <= len(want)+1; page++ {
		var got []string
		for after := ""; ; {
			paths, err := b.NextEntries(t.Context(), after, page)
			if err != nil {
				t.Fatal(err)
			}
			if len(paths) == 0 {
				break
			}
			got, after = append(got, paths...), paths[len(paths)-1]
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d show %q, want %q", page, got, want)
		}
	}
}

func TestRewrapAndRetire(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	for i := range 100 {
		put(t, b, fmt.Sprintf("logical/m/%d", i), fmt.Sprint("value ", i))
	}
	large := string(bytes.Repeat([]byte("x"), 900<<10))
	put(t, b, "logical/m/large", large)
	rotate(t, b)
	put(t, b, "logical/m/new", "by term 2")
	rotate(t, b)
	if _, err := b.Retire(t.Context(), 3, store, noPace, nil); !errors.Is(err, ErrTermInUse) {
		t.Fatalf("retiring terms in use: %v", err)
	}
	if _, err := b.Retire(t.Context(), 4, store, noPace, nil); !errors.Is(err, ErrNoTerm) {
		t.Fatalf("retiring the active term: %v", err)
	}
	was, err := store.Get(t.Context(), "logical/m/7")
	if err != nil {
		t.Fatal(err)
	}

	if done := rewrapAll(t, b, 16); done.Entries != 102 || len(done.Damaged) > 0 {
		t.Errorf("rewrapped %+v", done)
	}
	sameCensus(t, store, b)
	retired := b.ring.Load().find(1)
	gone, err := b.Retire(t.Context(), 3, store, noPace, nil)
	if err != nil || !slices.Equal(gone, []uint32{1, 2}) {
		t.Fatalf("Retire = %v, %v", gone, err)
	}
	if !bytes.Equal(retired.key.Expose(), make([]byte, keySize)) && len(retired.key.Expose()) > 0 {
		t.Error("the key of a retired term is still in memory")
	}
	if _, err := b.Retire(t.Context(), 3, store, noPace, nil); !errors.Is(err, ErrNoTerm) {
		t.Errorf("retiring again: %v", err)
	}
	for _, each := range []*Barrier{b, unsealed(t, store, root, 1)} {
		holds(t, each, "logical/m/7", "value 7")
		holds(t, each, "logical/m/large", large)
		if terms := each.Terms(9); len(terms) != 1 || terms[0].Term != 3 {
			t.Errorf("terms %+v", terms)
		}
	}
	if term := rotate(t, b); term != 4 {
		t.Errorf("after a retirement a rotation makes term %d", term)
	}

	// An entry of a retired term that is put back does not open.
	if err := store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("logical/m/7", was)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), "logical/m/7"); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("an entry of a retired term: %v", err)
	}
	if done := rewrapAll(t, b, 16); !slices.Equal(done.Damaged, []string{"logical/m/7"}) {
		t.Errorf("damaged %q", done.Damaged)
	}
	if _, err := b.Retire(t.Context(), 4, store, noPace, nil); !errors.Is(err, ErrTermInUse) {
		t.Errorf("retiring while an entry is damaged: %v", err)
	}
}

// A write of others always wins against a rewrap, and none is lost.
func TestRewrapLosesNoWrite(t *testing.T) {
	t.Parallel()
	store := inmem.New()
	b := formatted(t, store, newRoot(t), Options{})
	const keys, rounds = 8, 60
	write := func(k, round int) { put(t, b, fmt.Sprintf("k%d", k), fmt.Sprint(round)) }
	for k := range keys {
		write(k, 0)
	}
	var wg sync.WaitGroup
	for k := range keys {
		wg.Go(func() {
			for round := 1; round <= rounds; round++ {
				write(k, round)
				holds(t, b, fmt.Sprintf("k%d", k), fmt.Sprint(round))
			}
		})
	}
	for range 20 {
		rotate(t, b)
		rewrapAll(t, b, 3)
	}
	wg.Wait()
	for k := range keys {
		holds(t, b, fmt.Sprintf("k%d", k), fmt.Sprint(rounds))
	}
	rewrapAll(t, b, 3)
	sameCensus(t, store, b)
	if _, err := b.Retire(t.Context(), b.KeyStatus().Term, store, noPace, nil); err != nil {
		t.Error(err)
	}
}

// A commit by an old term whose outcome is unknown may arrive late: until it cannot, no term that
// it may name is retired.
func TestRetireWaitsForLostCommits(t *testing.T) {
	t.Parallel()
	hub := inmem.NewHub()
	inner := hub.Open()
	leadership, err := inner.Campaign(t.Context(), []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	store := &flaky{Store: inner}
	now := time.Unix(1, 0)
	b := formatted(t, store, newRoot(t), Options{Now: func() time.Time { return now }})
	b.Fence(leadership.Epoch())
	store.before, store.hold = errLine, &storage.Batch{}
	if err := putOne(b, "late", "by term 1"); !errors.Is(err, errLine) {
		t.Fatal(err)
	}
	rotate(t, b)
	rewrapAll(t, b, 9)
	if _, err := b.Retire(t.Context(), 2, inner, noPace, nil); !errors.Is(err, ErrUnsettled) {
		t.Fatalf("retiring while a commit may arrive: %v", err)
	}
	if err := inner.Commit(t.Context(), *store.hold); err != nil { // it arrives
		t.Fatal(err)
	}
	now = now.Add(settled)
	if _, err := b.Retire(t.Context(), 2, inner, noPace, nil); !errors.Is(err, ErrTermInUse) {
		t.Fatalf("retiring after it has arrived: %v", err)
	}
	rewrapAll(t, b, 9)
	if _, err := b.Retire(t.Context(), 2, inner, noPace, nil); err != nil {
		t.Error(err)
	}
	holds(t, b, "late", "by term 1")
}

// A retirement that fails leaves the terms, one of unknown outcome is settled by reading.
func TestRetireFails(t *testing.T) {
	t.Parallel()
	inner, root := inmem.New(), newRoot(t)
	store := &flaky{Store: inner}
	b := formatted(t, store, root, Options{})
	put(t, b, "a", "1")
	rotate(t, b)
	rewrapAll(t, b, 9)
	store.before = storage.ErrFull
	if _, err := b.Retire(t.Context(), 2, inner, noPace, nil); !errors.Is(err, storage.ErrFull) {
		t.Errorf("Retire = %v", err)
	}
	if n := len(b.Terms(9)); n != 2 {
		t.Errorf("%d terms after a retirement that failed", n)
	}
	store.after = errLine
	if _, err := b.Retire(t.Context(), 2, inner, noPace, nil); err != nil {
		t.Errorf("a retirement that is stored: %v", err)
	}
	sameAsDisk(t, b, inner, root, 1)
	if n := len(b.Terms(9)); n != 1 {
		t.Errorf("%d terms", n)
	}
}

// A term under which more bytes are stored than configured is rotated.
func TestRotateByBytes(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	config := DefaultRotation()
	config.MaxBytes = 1
	if err := b.SetRotationConfig(t.Context(), config); !errors.Is(err, ErrMaxBytes) {
		t.Fatal(err)
	}
	config.MaxBytes = minBytes
	if err := b.SetRotationConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if got, err := unsealed(t, store, root, 1).RotationConfig(t.Context()); err != nil || got != config {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, want := range []uint32{1, 2, 2} {
		if _, err := b.RotateIfDue(t.Context()); err != nil || b.KeyStatus().Term != want {
			t.Fatalf("term %d, %v; want %d", b.KeyStatus().Term, err, want)
		}
		if want == 1 {
			put(t, b, "large", string(make([]byte, 600<<10)))
			put(t, b, "large2", string(make([]byte, 600<<10)))
		}
	}
}
