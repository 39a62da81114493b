package inmem

import (
	"context"
	"slices"

	"github.com/sealgate/sealgate/internal/storage"
)

// election is the leader election of a hub. The hub's lock guards it.
type election struct {
	epoch  uint64 // of the last leader
	leader *leadership
	queue  []*leadership
}

// leadership is a waiting candidate, and the leader once elected.
type leadership struct {
	store    *Store
	identity []byte
	epoch    uint64        // set by the election
	elected  chan struct{} // closed by the election
	lost     chan struct{}
}

func (o *election) holds(epoch uint64) bool { return o.leader != nil && o.leader.epoch == epoch }

// elect elects the next candidate if there is no leader.
func (o *election) elect() {
	if o.leader != nil || len(o.queue) == 0 {
		return
	}
	o.leader, o.queue = o.queue[0], o.queue[1:]
	o.epoch++
	o.leader.epoch = o.epoch
	close(o.leader.elected)
}

// dismiss ends the leadership of l if it is the leader.
func (o *election) dismiss(l *leadership) {
	if l == nil || o.leader != l {
		return
	}
	o.leader = nil
	close(l.lost)
	o.elect()
}

// withdraw removes a candidate, or the leader that it has become meanwhile.
func (o *election) withdraw(l *leadership) {
	o.queue = slices.DeleteFunc(o.queue, func(c *leadership) bool { return c == l })
	o.dismiss(l)
}

// withdrawAll withdraws all candidates of a store.
func (o *election) withdrawAll(s *Store) {
	o.queue = slices.DeleteFunc(o.queue, func(c *leadership) bool { return c.store == s })
	if o.leader != nil && o.leader.store == s {
		o.dismiss(o.leader)
	}
}

// Campaign implements storage.Elector: candidates are elected in order of arrival.
func (s *Store) Campaign(ctx context.Context, identity []byte) (storage.Leadership, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	l := &leadership{store: s, identity: slices.Clone(identity), elected: make(chan struct{}), lost: make(chan struct{})}
	s.hub.mu.Lock()
	if s.open.Err() != nil {
		s.hub.mu.Unlock()
		return nil, storage.ErrClosed
	}
	s.hub.election.queue = append(s.hub.election.queue, l)
	s.hub.election.elect()
	s.hub.mu.Unlock()
	err := l.wait(ctx)
	if err != nil {
		s.hub.mu.Lock()
		s.hub.election.withdraw(l)
		s.hub.mu.Unlock()
		return nil, err
	}
	return l, nil
}

func (l *leadership) wait(ctx context.Context) error {
	select {
	case <-l.elected:
		return nil
	case <-l.store.open.Done():
		return storage.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leader implements storage.Elector.
func (s *Store) Leader(ctx context.Context) ([]byte, uint64, error) {
	if err := s.ready(ctx); err != nil {
		return nil, 0, err
	}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	l := s.hub.election.leader
	if l == nil {
		return nil, 0, storage.ErrNotFound
	}
	return slices.Clone(l.identity), l.epoch, nil
}

// Depose ends the current leadership, as a cluster does with an unreachable node; the next
// candidate is elected. It reports whether there was a leader.
func (h *Hub) Depose() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.election.leader
	h.election.dismiss(l)
	return l != nil
}

// Epoch implements storage.Leadership.
func (l *leadership) Epoch() uint64 { return l.epoch }

// Lost implements storage.Leadership.
func (l *leadership) Lost() <-chan struct{} { return l.lost }

// Held implements storage.Leadership.
func (l *leadership) Held() bool {
	l.store.hub.mu.RLock()
	defer l.store.hub.mu.RUnlock()
	return l.store.hub.election.leader == l
}

// Resign implements storage.Leadership.
func (l *leadership) Resign(ctx context.Context) error {
	l.store.hub.mu.Lock()
	defer l.store.hub.mu.Unlock()
	l.store.hub.election.dismiss(l)
	return nil
}
