package limits

import (
	"sync"
	"testing"
)

func TestBytes(t *testing.T) {
	t.Parallel()
	var free Bytes
	if !free.Take(1<<60, false) {
		t.Error("without a bound something is refused")
	}
	var b Bytes
	b.Limit(800)
	if !b.Take(700, false) || b.Take(1, false) {
		t.Error("large requests get all but an eighth")
	}
	if !b.Take(100, true) || b.Take(1, true) {
		t.Error("small requests get the rest, and no more")
	}
	b.Return(700)
	b.Return(100)
	if used, most := b.Used(); used != 0 || most != 800 {
		t.Errorf("%d of %d", used, most)
	}
	if b.Take(1<<62, true) || b.Take(801, true) {
		t.Error("more than there is")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for range 100 {
		wg.Go(func() {
			if b.Take(10, false) {
				mu.Lock()
				defer mu.Unlock()
				got++
			}
		})
	}
	wg.Wait()
	if got != 70 {
		t.Errorf("%d of 100 concurrent requests; want 70", got)
	}
}
