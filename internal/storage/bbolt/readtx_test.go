package bbolt

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
)

func idleCount(s *Store) int {
	s.reading.mu.Lock()
	defer s.reading.mu.Unlock()
	return len(s.reading.idle)
}

func TestReadsShareATransactionUntilAWrite(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "k", "1")
	for _, want := range []string{"1", "1"} {
		if v, err := s.Get(t.Context(), "k"); err != nil || string(v) != want {
			t.Fatalf("k = %q, %v, want %q", v, err, want)
		}
		if n := idleCount(s); n != 1 {
			t.Errorf("%d idle transactions after a read, want 1", n)
		}
	}
	tx := s.reading.take()
	put(t, s, "k", "2")
	s.reading.give(tx, true)
	if n := idleCount(s); n != 0 {
		t.Errorf("%d idle transactions of the state before a write, want 0", n)
	}
	if v, err := s.Get(t.Context(), "k"); err != nil || string(v) != "2" {
		t.Errorf("k = %q, %v after the write of 2", v, err)
	}
	unsound := s.reading.take()
	s.reading.give(unsound, false)
	if n := idleCount(s); n != 0 {
		t.Errorf("%d idle transactions after a read that failed, want 0", n)
	}
}

func TestEachWriteIsReadByItsWriter(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, "other", "x")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			key := fmt.Sprintf("k%d", w)
			for i := range 50 {
				want := fmt.Sprint(i)
				if err := s.Commit(context.Background(), storage.Batch{Ops: []storage.Op{storage.Put(key,
					[]byte(want))}}); err != nil {
					t.Error(err)
					return
				}
				if v, err := s.Get(context.Background(), key); err != nil || string(v) != want {
					t.Errorf("%s = %q, %v after the write of %s", key, v, err, want)
					return
				}
				if _, err := s.Get(context.Background(), "other"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
