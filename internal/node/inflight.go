package node

import (
	"context"
	"sync"
)

// gate counts the requests that use an [RoleState], so that a leader who steps down lets them finish.
type inflight struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed when the gate is closed and nobody is inside
}

func newInflight() *inflight { return &inflight{empty: make(chan struct{})} }

func (g *inflight) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *inflight) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// shut lets nobody in any more.
func (g *inflight) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		if g.closed = true; g.inside == 0 {
			close(g.empty)
		}
	}
}

// drain shuts the gate and waits until all have left, or ctx ends.
func (g *inflight) drain(ctx context.Context) {
	g.shut()
	select {
	case <-g.empty:
	case <-ctx.Done():
	}
}

// signal is a change that many wait for: each change closes the channel that was handed out before it.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns the channel that the next change closes. To miss none it is asked for before looking at what changes.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
