package storage

import (
	"testing"
	"time"
)

// gatherAll returns the size of a group that begins with one batch.
func gatherAll(p *Pacer, queue <-chan int) int {
	a := Gather(p, queue)
	defer a.End()
	size := 1
	for _, ok := a.Next(size); ok; _, ok = a.Next(size) {
		size++
	}
	return size
}

func TestGroupWaitsForTheCallersOfTheLast(t *testing.T) {
	t.Parallel()
	queue := make(chan int, 1)
	queue <- 1
	go func() { queue <- 2 }()
	p := &Pacer{expected: 3, wait: time.Hour}
	if n := gatherAll(p, queue); n != 3 {
		t.Errorf("the group has %d batches, want 3", n)
	}
	if p.skip != 0 || p.penalty != 0 {
		t.Error("a wait that was worth it makes the next ones rarer")
	}
}

// TestGroupDoesNotWait would otherwise run until its timeout.
func TestGroupDoesNotWait(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]Pacer{
		"a single caller":       {expected: 1, wait: time.Hour},
		"all have arrived":      {expected: 2, wait: time.Hour},
		"after a wait for none": {expected: 9, wait: time.Hour, skip: 1, penalty: 1},
		"nothing was measured":  {},
	} {
		queue := make(chan int, 1)
		queue <- 1
		if n := gatherAll(&p, queue); n != 2 {
			t.Errorf("%s: the group has %d batches, want 2", name, n)
		}
	}
	closed := make(chan int)
	close(closed)
	if n := gatherAll(&Pacer{expected: 9, wait: time.Hour}, closed); n != 1 {
		t.Errorf("at the end of the queue: the group has %d batches, want 1", n)
	}
}

func TestWaitsThatGainNothingBecomeRare(t *testing.T) {
	t.Parallel()
	queue := make(chan int)
	p, waits := &Pacer{}, 0
	for range 1000 {
		p.Wrote(1, 1, 2*time.Nanosecond) // two callers, of which one never comes back
		before := p.skip
		if n := gatherAll(p, queue); n != 1 {
			t.Fatalf("the group has %d batches, want 1", n)
		}
		if p.skip > before {
			waits++
		}
	}
	if waits < 5 || waits > 25 {
		t.Errorf("%d of 1000 groups waited for none, want about 20", waits)
	}
}
