package hsm

import (
	"context"
	"slices"
	"sync"
)

// pool keeps the lanes that are free. The one that came back last goes out first: its session, and what the library keeps
// for it, are still in the processor's caches. Who waits is served in turn.
type pool struct {
	mu      sync.Mutex
	free    []*sessionWorker
	waiting []chan *sessionWorker
}

// put gives a lane back, or on to who waits longest.
func (p *pool) put(l *sessionWorker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 {
		p.waiting[0] <- l // has room for one
		p.waiting = slices.Delete(p.waiting, 0, 1)
		return
	}
	p.free = append(p.free, l)
}

// take returns a free lane, or nil.
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
	l := p.free[n]
	p.free = p.free[:n]
	return l
}

// wait returns the next lane that comes free.
func (p *pool) wait(ctx context.Context) (*sessionWorker, error) {
	p.mu.Lock()
	if l := p.pop(); l != nil {
		p.mu.Unlock()
		return l, nil
	}
	ch := make(chan *sessionWorker, 1)
	p.waiting = append(p.waiting, ch)
	p.mu.Unlock()
	select {
	case l := <-ch:
		return l, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	i := slices.Index(p.waiting, ch)
	if i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 {
		p.put(<-ch) // it came at the last moment
	}
	return nil, context.Cause(ctx)
}
