package storagetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/storage"
)

const workers = 8

// together runs f in several goroutines and returns when all are done.
func together(n int, f func(worker int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func contextEnded(s *suite) {
	store := s.open()
	s.commit(store, storage.Put("k", []byte("v")))
	cancelled, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := store.Get(cancelled, "k")
	s.wantError("Get", err, context.Canceled)
	_, err = store.List(cancelled, "", "", 0)
	s.wantError("List", err, context.Canceled)
	s.wantError("Commit", store.Commit(cancelled, storage.Batch{Ops: []storage.Op{storage.Put("k", []byte("w"))}}),
		context.Canceled)
	s.holds(store, "k", []byte("v"))
	late, cancel := context.WithTimeout(s.ctx, -1)
	defer cancel()
	s.wantError("Commit too late", store.Commit(late, storage.Batch{Ops: []storage.Op{storage.Delete("k")}}),
		context.DeadlineExceeded)
	s.holds(store, "k", []byte("v"))
}

func closed(s *suite) {
	store := s.open()
	s.commit(store, storage.Put("k", []byte("v")))
	for range 2 {
		if err := store.Close(); err != nil {
			s.t.Fatalf("Close: %v", err)
		}
	}
	_, err := store.Get(s.ctx, "k")
	s.wantError("Get", err, storage.ErrClosed)
	_, err = store.List(s.ctx, "", "", 0)
	s.wantError("List", err, storage.ErrClosed)
	s.wantError("Commit", store.Commit(s.ctx, storage.Batch{Ops: []storage.Op{storage.Delete("k")}}), storage.ErrClosed)
	if w, ok := store.(storage.Watcher); ok {
		_, err := w.Watch(s.ctx, "")
		s.wantError("Watch", err, storage.ErrClosed)
	}
	if sn, ok := store.(storage.Snapshotter); ok {
		s.wantError("Snapshot", sn.Snapshot(s.ctx, func(string, []byte) error { return nil }), storage.ErrClosed)
	}
	s.holds(s.open(), "k", []byte("v"))
}

// closeUnderTraffic closes a store during writes: acknowledged writes stay, and no call hangs.
func closeUnderTraffic(s *suite) {
	store := s.open()
	var acknowledged sync.Map
	var writes atomic.Int64
	enough := make(chan struct{})
	together(workers+1, func(worker int) {
		if worker == workers {
			<-enough
			if err := store.Close(); err != nil {
				s.t.Errorf("Close: %v", err)
			}
			return
		}
		for i := 0; ; i++ {
			key := fmt.Sprintf("w%d/%d", worker, i)
			err := store.Commit(s.ctx, storage.Batch{Ops: []storage.Op{storage.Put(key, []byte(key))}})
			if err != nil {
				s.wantError("Commit while closing", err, storage.ErrClosed)
				return
			}
			acknowledged.Store(key, true)
			if writes.Add(1) == 100 {
				close(enough)
			}
			if _, err := store.Get(s.ctx, key); err != nil {
				s.wantError("Get while closing", err, storage.ErrClosed)
			}
		}
	})
	again := s.open()
	acknowledged.Range(func(key, _ any) bool {
		s.holds(again, key.(string), []byte(key.(string)))
		return true
	})
}

// commitsAreAtomic writes two keys together, and deletes them together. A reader of one after the
// other may see the second newer than the first, never older.
func commitsAreAtomic(s *suite) {
	store := s.open()
	s.commit(store, storage.Put("x", number(0)), storage.Put("y", number(0)))
	var done atomic.Bool
	const rounds = 200
	together(1+workers, func(worker int) {
		if worker == 0 {
			defer done.Store(true)
			for n := uint64(1); n <= rounds; n++ {
				s.commit(store, storage.Put("x", number(n)), storage.Put("y", number(n)), storage.Put("tail/"+fmt.Sprint(n), nil))
			}
			return
		}
		first, second := "x", "y"
		if worker%2 == 0 {
			first, second = second, first
		}
		for !done.Load() {
			a, errA := store.Get(s.ctx, first)
			b, errB := store.Get(s.ctx, second)
			if errA != nil || errB != nil || binary.BigEndian.Uint64(b) < binary.BigEndian.Uint64(a) {
				s.t.Errorf("%s = %x, %v, then %s = %x, %v: half a commit", first, a, errA, second, b, errB)
				return
			}
		}
	})
}

func oneWinnerPerAbsentKey(s *suite) {
	store := s.open()
	const keys = 25
	var wins [keys]atomic.Int32
	together(workers, func(worker int) {
		for i := range keys {
			key := fmt.Sprintf("k%d", i)
			err := store.Commit(s.ctx, storage.Batch{If: []storage.Condition{storage.IfAbsent(key)},
				Ops: []storage.Op{storage.Put(key, []byte{byte(worker)}), storage.Put(fmt.Sprintf("%s-by-%d", key, worker), nil)}})
			switch {
			case err == nil:
				wins[i].Add(1)
				s.holds(store, key, []byte{byte(worker)})
			case !errors.Is(err, storage.ErrConflict):
				s.t.Errorf("Commit: %v", err)
			}
		}
	})
	for i := range wins {
		if n := wins[i].Load(); n != 1 {
			s.t.Errorf("key %d was taken %d times", i, n)
		}
	}
	if names, err := store.List(s.ctx, "", "", 0); err != nil || len(names) != 2*keys {
		s.t.Errorf("%d names, %v; want %d: a refused batch was partly written", len(names), err, 2*keys)
	}
}

func readsSeeReturnedCommits(s *suite) {
	store := s.open()
	together(workers, func(worker int) {
		for i := range 40 {
			key := fmt.Sprintf("w%d/%d", worker, i)
			s.commitQuietly(store, storage.Put(key, []byte(key)))
			s.holds(store, key, []byte(key))
			if names, err := store.List(s.ctx, fmt.Sprintf("w%d/", worker), "", 0); err != nil || len(names) != i+1 {
				s.t.Errorf("%d names, %v; want %d", len(names), err, i+1)
			}
		}
	})
}

// commitQuietly is commit for goroutines other than the test's own.
func (s *suite) commitQuietly(store storage.Store, ops ...storage.Op) {
	if err := store.Commit(s.ctx, storage.Batch{Ops: ops}); err != nil {
		s.t.Errorf("Commit: %v", err)
	}
}

func compareAndSwapLosesNoUpdates(s *suite) {
	store := s.open()
	s.commit(store, storage.Put("n", number(0)))
	const each = 25
	together(workers, func(int) {
		for done := 0; done < each; {
			old, err := store.Get(s.ctx, "n")
			if err != nil {
				s.t.Errorf("Get: %v", err)
				return
			}
			next := number(binary.BigEndian.Uint64(old) + 1)
			err = store.Commit(s.ctx, storage.Batch{If: []storage.Condition{storage.IfValue("n", old)},
				Ops: []storage.Op{storage.Put("n", next)}})
			switch {
			case err == nil:
				done++
			case !errors.Is(err, storage.ErrConflict):
				s.t.Errorf("Commit: %v", err)
				return
			}
		}
	})
	s.holds(store, "n", number(workers*each))
}
