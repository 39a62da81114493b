package inmem

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/storage"
)

// watchBuffer is how many events a slow reader may fall behind before its channel is closed.
const watchBuffer = 1024

type watcher struct {
	store  *Store
	prefix string
	events chan storage.Event
}

// Watch implements storage.Watcher. The channel is closed early for a reader that falls more than 1,024 events behind.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	w := &watcher{store: s, prefix: prefix, events: make(chan storage.Event, watchBuffer)}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.closed.Load() {
		return nil, storage.ErrClosed
	}
	s.hub.watchers[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		s.hub.mu.Lock()
		defer s.hub.mu.Unlock()
		s.hub.drop(w)
	})
	return w.events, nil
}

// tell sends an event to whom it concerns. It is called under the lock and never waits.
func (h *Hub) tell(e storage.Event) {
	for w := range h.watchers {
		if !strings.HasPrefix(e.Key, w.prefix) {
			continue
		}
		select {
		case w.events <- e:
		default:
			h.drop(w)
		}
	}
}

// drop ends a watcher under the lock; twice is once.
func (h *Hub) drop(w *watcher) {
	if _, ok := h.watchers[w]; ok {
		delete(h.watchers, w)
		close(w.events)
	}
}
