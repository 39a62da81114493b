package device

import (
	"context"
	"errors"
	"sync"
	"time"
)

// rootedSet is the rooted keys that a registry has open: their leases are renewed, shown and ended
// together.
type rootedSet struct {
	mu  sync.Mutex
	all map[string]*rootedHandle // by mount and name: a handle that is opened anew takes the place
}

func (s *rootedSet) add(h *rootedHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*rootedHandle{}
	}
	id := h.m.path + "\x00" + h.name
	if old := s.all[id]; old != nil && old != h {
		old.leases.stop()
	}
	s.all[id] = h
}

func (s *rootedSet) drop(h *rootedHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := h.m.path + "\x00" + h.name; s.all[id] == h {
		delete(s.all, id)
	}
}

func (s *rootedSet) list() []*rootedHandle {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*rootedHandle
	for _, h := range s.all {
		out = append(out, h)
	}
	return out
}

// RenewLeases renews the leases that are in use and half over, and forgets keys without one.
func (r *Registry) RenewLeases(ctx context.Context) error {
	var errs []error
	for _, h := range r.rooted.list() {
		errs = append(errs, h.renew(ctx))
		if _, _, ok := h.leases.state(r.hub.o.Now()); !ok {
			r.rooted.drop(h)
		}
	}
	return errors.Join(errs...)
}

// LeaseState is the leases under one root key.
type LeaseState struct {
	Count int
	First time.Time // the first to end
}

// Leases returns the leases under an entry.
func (r *Registry) Leases(label string) (s LeaseState) {
	now := r.hub.o.Now()
	for _, h := range r.rooted.list() {
		if h.ref.root.entry != label {
			continue
		}
		if until, _, ok := h.leases.state(now); ok {
			s.Count++
			if s.First.IsZero() || until.Before(s.First) {
				s.First = until
			}
		}
	}
	return s
}

// endLeases wipes all keys that are held.
func (r *Registry) endLeases() {
	for _, h := range r.rooted.list() {
		h.leases.stop()
	}
}
