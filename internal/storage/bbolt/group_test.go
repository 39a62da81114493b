package bbolt

import (
	"fmt"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

func batchOf(i int) *request {
	return &request{batch: storage.Batch{Ops: []storage.Op{storage.Put(fmt.Sprintf("k%d", i), []byte("v"))}},
		done: make(chan error, 1)}
}

func TestGroupWaitsForTheWritersOfTheLast(t *testing.T) {
	t.Parallel()
	queue := make(chan *request, 4)
	w := &writer{pacer: pacer{expected: 3, wait: time.Hour}}
	queue <- batchOf(1)
	go func() { queue <- batchOf(2) }()
	if group, _ := w.gather(batchOf(0), queue); len(group) != 3 {
		t.Errorf("the group has %d batches, want 3", len(group))
	}
	if w.pacer.skip != 0 {
		t.Error("a wait that was worth it is held against the next one")
	}
}

func TestGroupDoesNotWait(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]pacer{
		"a single writer":      {expected: 1, wait: time.Hour},
		"all have arrived":     {expected: 2, wait: time.Hour},
		"after waits in vain":  {expected: 9, wait: time.Hour, skip: 1, penalty: 1},
		"nothing was measured": {},
	} {
		queue := make(chan *request, 1)
		queue <- batchOf(1)
		w := &writer{pacer: p}
		// A wait would last until the test times out.
		if group, _ := w.gather(batchOf(0), queue); len(group) != 2 {
			t.Errorf("%s: the group has %d batches, want 2", name, len(group))
		}
	}
}

func TestGroupEnds(t *testing.T) {
	t.Parallel()
	closed := make(chan *request)
	close(closed)
	w := &writer{pacer: pacer{expected: 9, wait: time.Hour}}
	if group, last := w.gather(batchOf(0), closed); len(group) != 1 || last != nil {
		t.Errorf("at the end of the queue: %d batches, %v", len(group), last)
	}
	queue := make(chan *request, 1)
	queue <- &request{run: func(*writer) error { return nil }}
	if group, last := w.gather(batchOf(0), queue); len(group) != 1 || last == nil {
		t.Errorf("at a request that is not a batch: %d batches, %v", len(group), last)
	}
}

func TestWaitsInVainBecomeRare(t *testing.T) {
	t.Parallel()
	queue := make(chan *request)
	w := &writer{}
	waits := 0
	for range 1000 {
		w.pacer.wrote(1, 1, 2*time.Nanosecond) // two writers, of which one never comes back
		before := w.pacer.skip
		if group, _ := w.gather(batchOf(0), queue); len(group) != 1 {
			t.Fatalf("the group has %d batches, want 1", len(group))
		}
		if w.pacer.skip > before {
			waits++
		}
	}
	if waits < 5 || waits > 25 {
		t.Errorf("%d of 1000 groups waited in vain, want about 20", waits)
	}
}
