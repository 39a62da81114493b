// Package inmem is a store in memory, for tests and the development server.
//
// A [Hub] is one set of data; every [Hub.Open] returns another node's handle to it, with elections,
// fencing, watches and snapshots, so that cluster code can be tested in one process. Commits are
// linearizable; nothing outlives the process.
package inmem

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// Hub is data shared by several stores. Use [NewHub]; the zero value is not ready.
type Hub struct {
	mu       sync.RWMutex
	keys     []string          // sorted
	values   map[string][]byte // values are replaced, never changed, so a snapshot can share them
	size     int64
	commit   uint64 // number of the last commit
	feed     storage.Feed
	election election
}

// NewHub returns an empty hub.
func NewHub() *Hub {
	return &Hub{values: map[string][]byte{}}
}

// Store is one node's handle. It implements storage.Store and every optional interface of package
// storage.
type Store struct {
	hub   *Hub
	open  context.Context // ended by Close
	close context.CancelFunc
}

var (
	_ storage.Store       = (*Store)(nil)
	_ storage.Elector     = (*Store)(nil)
	_ storage.Watcher     = (*Store)(nil)
	_ storage.Sequencer   = (*Store)(nil)
	_ storage.Snapshotter = (*Store)(nil)
	_ storage.Sizer       = (*Store)(nil)
	_ storage.Ranger      = (*Store)(nil)
)

// New returns the only handle to a new hub.
func New() *Store { return NewHub().Open() }

// Open returns another handle.
func (h *Hub) Open() *Store {
	s := &Store{hub: h}
	s.open, s.close = context.WithCancel(context.Background())
	return s
}

// ready is the check at the start of every method.
func (s *Store) ready(ctx context.Context) error {
	if s.open.Err() != nil {
		return storage.ErrClosed
	}
	return ctx.Err()
}

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	s.hub.mu.RLock()
	value, ok := s.hub.values[key]
	s.hub.mu.RUnlock()
	if !ok {
		return nil, storage.ErrNotFound
	}
	return append(make([]byte, 0, len(value)), value...), nil
}

// List implements storage.Store.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	return storage.Names(prefix, after, limit, func(from string) (string, bool, error) {
		i, _ := slices.BinarySearch(s.hub.keys, from)
		if i == len(s.hub.keys) {
			return "", false, nil
		}
		return s.hub.keys[i], true, ctx.Err()
	})
}

// Commit implements storage.Store.
func (s *Store) Commit(ctx context.Context, b storage.Batch) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := b.Check(); err != nil {
		return err
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.open.Err() != nil {
		return storage.ErrClosed
	}
	if b.Epoch != 0 && !s.hub.election.holds(b.Epoch) {
		return fmt.Errorf("%w: epoch %d has ended", storage.ErrFenced, b.Epoch)
	}
	if err := s.hub.check(b.If); err != nil {
		return err
	}
	failpoint.Point("storage.commit.before")
	s.hub.before(b)
	s.hub.apply(b.Ops)
	failpoint.Point("storage.commit.after")
	return nil
}

// check evaluates conditions. The caller holds the lock.
func (h *Hub) check(conditions []storage.Condition) error {
	for _, c := range conditions {
		value, ok := h.values[c.Key]
		if c.Absent == ok || ok && !bytes.Equal(value, c.Value) {
			return fmt.Errorf("%w: %q", storage.ErrConflict, c.Key)
		}
	}
	return nil
}

// before notes what a batch replaces. The caller holds the lock.
func (h *Hub) before(b storage.Batch) {
	if b.Before == nil {
		return
	}
	old := make([]storage.Old, len(b.Ops))
	for i, op := range b.Ops {
		if value, held := h.values[op.Key]; held {
			old[i] = storage.Describe(value)
		}
	}
	*b.Before = storage.Before{Known: true, Old: old}
}

// apply executes operations and notifies the watchers. The caller holds the lock.
func (h *Hub) apply(ops []storage.Op) {
	h.commit++
	for i, op := range ops {
		changed := h.applyOne(op)
		overtaken := slices.ContainsFunc(ops[i+1:], func(later storage.Op) bool { return later.Key == op.Key })
		if changed && !overtaken {
			h.feed.Publish(storage.Event{Key: op.Key, Deleted: op.Delete, Revision: h.commit})
		}
	}
	h.feed.Publish(storage.Event{Revision: h.commit})
}

func (h *Hub) applyOne(op storage.Op) (changed bool) {
	old, held := h.values[op.Key]
	if held {
		h.size -= int64(len(op.Key) + len(old))
	}
	i, _ := slices.BinarySearch(h.keys, op.Key)
	switch {
	case op.Delete && !held:
		return false
	case op.Delete:
		h.keys = slices.Delete(h.keys, i, i+1)
		delete(h.values, op.Key)
		return true
	case !held:
		h.keys = slices.Insert(h.keys, i, op.Key)
	}
	h.values[op.Key] = append([]byte{}, op.Value...)
	h.size += int64(len(op.Key) + len(op.Value))
	return true
}

// Range implements storage.Ranger.
func (s *Store) Range(ctx context.Context, after string, limit int, visit func(key string, value []byte) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.hub.mu.RLock()
	i, found := slices.BinarySearch(s.hub.keys, after)
	if found {
		i++
	}
	keys, values := s.hub.copied(i, min(i+limit, len(s.hub.keys)))
	s.hub.mu.RUnlock()
	return s.each(ctx, keys, values, visit)
}

// Snapshot implements storage.Snapshotter.
func (s *Store) Snapshot(ctx context.Context, visit func(key string, value []byte) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.hub.mu.RLock()
	keys, values := s.hub.copied(0, len(s.hub.keys))
	s.hub.mu.RUnlock()
	return s.each(ctx, keys, values, visit)
}

// copied returns the keys from one index to another, and their values, which no write changes. The
// caller holds mu.
func (h *Hub) copied(from, to int) (keys []string, values [][]byte) {
	keys = slices.Clone(h.keys[from:to])
	values = make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = h.values[key]
	}
	return keys, values
}

// each visits entries without a lock.
func (s *Store) each(
	ctx context.Context, keys []string, values [][]byte, visit func(key string, value []byte) error,
) error {
	for i, key := range keys {
		if err := s.ready(ctx); err != nil {
			return err
		}
		if err := visit(key, slices.Clone(values[i])); err != nil {
			return err
		}
	}
	return nil
}

// Revision implements storage.Sequencer.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	return s.hub.commit, nil
}

// Size implements storage.Sizer with the sum of keys and values.
func (s *Store) Size(ctx context.Context) (int64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	s.hub.mu.RLock()
	defer s.hub.mu.RUnlock()
	return s.hub.size, nil
}

// Close implements storage.Store. The data stays in the hub; a leadership of this handle ends.
func (s *Store) Close() error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.close()
	s.hub.election.withdrawAll(s)
	return nil
}
