package inmem

import (
	"context"

	"github.com/sealgate/sealgate/internal/storage"
)

// Watch implements storage.Watcher. The channel is closed early if the reader falls more than 4,096
// events behind.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	s.hub.mu.Lock() // a watch sees all of a commit or nothing
	defer s.hub.mu.Unlock()
	return s.hub.feed.Subscribe(prefix, ctx, s.open), nil
}
