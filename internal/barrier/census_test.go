package barrier

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func noPace() error { return nil }

// recounted returns the census that a count of the storage gives.
func recounted(t testing.TB, store storage.Store, b *Barrier) Census {
	t.Helper()
	counted := tallies{}
	err := store.(storage.Snapshotter).Snapshot(context.Background(), func(key string, value []byte) error {
		if id, ok := termOf(value); ok && !b.uncounted(key) {
			counted.add(censusKey{id, partOf(key)}, Tally{1, int64(len(value))})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	other := &Barrier{}
	other.census.counts, other.census.exact = counted, true
	return other.Census()
}

func sameCensus(t testing.TB, store storage.Store, b *Barrier) {
	t.Helper()
	got, want := b.Census(), recounted(t, store, b)
	if !got.Exact || !reflect.DeepEqual(got, want) {
		t.Errorf("the census is\n%+v\nwant\n%+v", got, want)
	}
}

// churn makes random commits by several writers, with a rotation in between.
func churn(t testing.TB, b *Barrier, writers, each int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range each {
				var batch storage.Batch
				for range 1 + r.IntN(4) {
					key := fmt.Sprintf("logical/%d/%d", r.IntN(3), r.IntN(40))
					if r.IntN(4) == 0 {
						batch.Ops = append(batch.Ops, storage.Delete(key))
					} else {
						batch.Ops = append(batch.Ops, storage.Put(key, make([]byte, r.IntN(100))))
					}
				}
				if err := b.Commit(context.Background(), batch); err != nil {
					t.Errorf("Commit: %v", err)
				}
				if w == 0 && i == each/2 {
					rotate(t, b)
				}
			}
		})
	}
	wg.Wait()
}

func TestCensusCountsEachCommit(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	sameCensus(t, store, b)
	churn(t, b, 4, 50)
	sameCensus(t, store, b)

	if err := b.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := unsealed(t, store, root, 1)
	if err := again.LoadCensus(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameCensus(t, store, again)
	put(t, again, "logical/1/new", "value")
	if _, err := store.Get(t.Context(), censusPath); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the stored census survived a commit: %v", err)
	}
	sameCensus(t, store, again)

	crashed := unsealed(t, store, root, 1) // without a seal in order
	if err := crashed.LoadCensus(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := crashed.Census(); c.Known || c.Exact {
		t.Errorf("after a crash the census is %+v", c)
	}
	var wg sync.WaitGroup
	wg.Go(func() { churn(t, crashed, 3, 40) })
	if err := crashed.CountAll(t.Context(), store, noPace); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	sameCensus(t, store, crashed)
}

// TestCountBesideCommits: what is changed during a count, behind and before what it has reached,
// is counted once.
func TestCountBesideCommits(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	const n = 3 * countedAtOnce
	key := func(i int) string { return fmt.Sprintf("logical/%d/%05d", i%2, i) }
	for i := 0; i < n; i += 50 {
		var batch storage.Batch
		for j := i; j < min(i+50, n); j++ {
			batch.Ops = append(batch.Ops, storage.Put(key(j), make([]byte, j%90)))
		}
		if err := b.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for what, from := range map[string]storage.Snapshotter{
		"in parts": store, "as a copy": struct{ storage.Snapshotter }{store},
	} {
		b.census.doubt(b, nil)
		random, calls := rand.New(rand.NewPCG(7, 7)), 0
		err := b.CountAll(t.Context(), from, func() error {
			if calls++; calls%2000 > 3 {
				return nil
			}
			if c := b.Census(); c.Exact || !c.Counting {
				t.Errorf("%s: during the count the census is %+v", what, c)
			}
			if calls == 2 {
				rotate(t, b)
			}
			var batch storage.Batch
			for range 20 {
				i := random.IntN(n)
				batch.Ops = append(batch.Ops, storage.Delete(key(random.IntN(n))), storage.Put(key(i), make([]byte, 100)),
					storage.Put(key(i)+"x", nil))
			}
			return b.Commit(t.Context(), batch)
		})
		if err != nil || calls < 4 {
			t.Fatalf("%s: %d calls, %v", what, calls, err)
		}
		sameCensus(t, store, b)
	}
	stop := errors.New("stop")
	if err := b.CountAll(t.Context(), store, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a count that is stopped: %v", err)
	}
	sameCensus(t, store, b)
}

// An older census that is put back is not believed, nor one that was edited.
func TestCensusPutBack(t *testing.T) {
	t.Parallel()
	store, root := inmem.New(), newRoot(t)
	b := formatted(t, store, root, Options{})
	put(t, b, "a", "1")
	if err := b.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := store.Get(t.Context(), censusPath)
	if err != nil {
		t.Fatal(err)
	}
	b = unsealed(t, store, root, 1)
	put(t, b, "b", "2")
	if err := b.Seal(t.Context()); err != nil { // it had not loaded the census
		t.Fatal(err)
	}
	edited := append([]byte(nil), old...)
	edited[len(edited)-1] ^= 1
	for what, record := range map[string][]byte{"older": old, "edited": edited, "empty": {}} {
		if err := store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(censusPath, record)}}); err != nil {
			t.Fatal(err)
		}
		again := unsealed(t, store, root, 1)
		if err := again.LoadCensus(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c := again.Census(); c.Known {
			t.Errorf("a census that is %s was believed: %+v", what, c)
		}
	}
}

// A commit of unknown outcome makes the census inexact, until the next count.
func TestCensusInDoubt(t *testing.T) {
	t.Parallel()
	store := &flaky{Store: inmem.New()}
	b := formatted(t, store, newRoot(t), Options{})
	put(t, b, "a", "1")
	store.after = errLine
	if err := putOne(b, "b", "2"); !errors.Is(err, errLine) {
		t.Fatal(err)
	}
	if c := b.Census(); !c.Known || c.Exact {
		t.Errorf("after a commit of unknown outcome the census is %+v", c)
	}
	put(t, b, "c", "3")
	if err := b.CountAll(t.Context(), store.Store.(storage.Snapshotter), noPace); err != nil {
		t.Fatal(err)
	}
	sameCensus(t, store.Store, b)
	if err := b.CountAll(t.Context(), nil, noPace); !errors.Is(err, ErrCensus) {
		t.Errorf("a storage without snapshots: %v", err)
	}
}

func FuzzCensus(f *testing.F) {
	f.Add(tallies{{1, "core"}: {3, 200}, {2, "logical/x"}: {1, 40}}.marshal(2, 17))
	f.Fuzz(func(t *testing.T, plain []byte) {
		counts, term, encryptions, err := unmarshalCensus(plain)
		if err != nil {
			return
		}
		again, term2, encryptions2, err := unmarshalCensus(counts.marshal(term, encryptions))
		if err != nil || term2 != term || encryptions2 != encryptions || !reflect.DeepEqual(again, counts) {
			t.Errorf("%x: %v", plain, err)
		}
	})
}
