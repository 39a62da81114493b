package ha

import (
	"context"
	"sync"
)

// Inflight counts the requests that use a role, so that a role that ends can let them finish.
type Inflight struct {
	mu     sync.Mutex
	count  int
	closed bool
	empty  chan struct{} // closed once it is closed and no request is left
}

// NewInflight returns an open counter.
func NewInflight() *Inflight { return &Inflight{empty: make(chan struct{})} }

// Enter counts a request until Leave; false: the role has ended, and the request is not counted.
func (i *Inflight) Enter() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false
	}
	i.count++
	return true
}

// Leave is called once for every Enter that returned true.
func (i *Inflight) Leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.count--; i.closed && i.count == 0 {
		close(i.empty)
	}
}

// Close refuses further requests.
func (i *Inflight) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		if i.closed = true; i.count == 0 {
			close(i.empty)
		}
	}
}

// Drain refuses further requests and waits until all have left, or ctx ends.
func (i *Inflight) Drain(ctx context.Context) {
	i.Close()
	select {
	case <-i.empty:
	case <-ctx.Done():
	}
}
