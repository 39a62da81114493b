package hsm

import (
	"context"
	"slices"
	"sync"
)

// pool holds the idle session workers. The last one in is the first one out: its session is still
// in the processor's caches. Waiting callers are served in order.
type pool struct {
	mu      sync.Mutex
	free    []*sessionWorker
	waiting []chan *sessionWorker
}

// put returns a worker to the pool, or passes it to the caller that waits longest.
func (p *pool) put(w *sessionWorker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		p.waiting[0] <- w // buffered
		p.waiting = slices.Delete(p.waiting, 0, 1)
		return
	}
	p.free = append(p.free, w)
}

// take returns an idle worker, or nil.
func (p *pool) take() *sessionWorker {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pop()
}

func (p *pool) pop() *sessionWorker {
	n := len(p.free) - 1
	if n < 0 {
		return nil
	}
	w := p.free[n]
	p.free = p.free[:n]
	return w
}

// wait returns the next idle worker.
func (p *pool) wait(ctx context.Context) (*sessionWorker, error) {
	p.mu.Lock()
	if w := p.pop(); w != nil {
		p.mu.Unlock()
		return w, nil
	}
	ch := make(chan *sessionWorker, 1)
	p.waiting = append(p.waiting, ch)
	p.mu.Unlock()
	select {
	case w := <-ch:
		return w, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiting, ch)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 {
		p.put(<-ch) // it arrived at the last moment
	}
	return nil, context.Cause(ctx)
}
