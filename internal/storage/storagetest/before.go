package storagetest

import (
	"slices"
	"sync"

	"github.com/sealgate/sealgate/internal/storage"
)

func beforeShowsWhatWasReplaced(s *suite) {
	store := s.open()
	s.commit(store, storage.Put("a", []byte("first value")), storage.Put("short", []byte("xy")), storage.Put("empty", nil))
	var before storage.Before
	commit := func(b storage.Batch, want ...storage.Old) {
		s.t.Helper()
		before = storage.Before{}
		b.Before = &before
		if err := store.Commit(s.ctx, b); err != nil {
			s.t.Fatal(err)
		}
		if !before.Known || !slices.Equal(before.Old, want) {
			s.t.Errorf("Before = %+v, want %+v", before, want)
		}
	}
	none, first := storage.Old{}, storage.Describe([]byte("first value"))
	commit(storage.Batch{Ops: []storage.Op{storage.Put("new", []byte("1")), storage.Put("a", []byte("second"))}},
		none, first)
	second := storage.Describe([]byte("second"))
	commit(storage.Batch{Ops: []storage.Op{
		storage.Delete("absent"), storage.Put("a", []byte("third")), storage.Delete("short"), storage.Put("a", nil),
		storage.Put("empty", []byte("full")),
	}, If: []storage.Condition{storage.IfValue("a", []byte("second"))}},
		none, second, storage.Describe([]byte("xy")), second, storage.Describe(nil))
	commit(storage.Batch{Ops: []storage.Op{storage.Delete("a"), storage.Delete("short")}}, storage.Describe(nil), none)
	beforeAddsUp(s, store)
}

// beforeAddsUp has many writers of few keys: what all saw replaced adds up to what is there.
func beforeAddsUp(s *suite, store storage.Store) {
	var mu sync.Mutex
	total := 0
	var wg sync.WaitGroup
	for writer := range 8 {
		wg.Go(func() {
			for i := range 12 {
				var before storage.Before
				ops := []storage.Op{storage.Put("sum/"+string(rune('a'+i%3)), make([]byte, 1+writer*i))}
				if i%4 == 3 {
					ops[0] = storage.Delete(ops[0].Key)
				}
				if err := store.Commit(s.ctx, storage.Batch{Ops: ops, Before: &before}); err != nil || !before.Known {
					s.t.Errorf("Commit: %v, known %v", err, before.Known)
					return
				}
				mu.Lock()
				total += len(ops[0].Value) - before.Old[0].Size
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"a", "b", "c"} {
		if value, err := store.Get(s.ctx, "sum/"+name); err == nil {
			total -= len(value)
		}
	}
	if total != 0 {
		s.t.Errorf("the sizes of what was replaced are off by %d bytes", total)
	}
}
