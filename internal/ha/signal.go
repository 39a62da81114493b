package ha

import "sync"

// signal wakes all who wait for a change: each change closes the channel that was returned before
// it.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns the channel that the next change closes. Call it before reading what may change, so
// that no change is missed.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
