// Package deferred opens the storage of a cluster that is unavailable when a node starts: the node
// starts all the same, and reports why it is sealed.
//
// It guarantees that a store that can be opened at once is returned as it is; that an error which
// waiting cannot resolve, such as a refused password, ends the start; and that otherwise every call
// fails at once with the cause of the last attempt, until an attempt succeeds in the background.
//
// It does not guarantee that a later attempt fails with storage.ErrUnavailable alone: what was
// found when the storage came back, such as another program's data, is the cause then.
package deferred

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// Shared is a store of a cluster, with all optional interfaces of one.
type Shared interface {
	storage.Store
	storage.Elector
	storage.Watcher
	storage.Sequencer
	storage.Snapshotter
	storage.Sizer
}

// Options say how to open a store.
type Options struct {
	Open    func(ctx context.Context) (storage.Store, error)
	First   time.Duration // deadline of the first attempt, for which the start waits; 0 means 2 s
	Attempt time.Duration // deadline of each other attempt; 0 means 7 s
	Pause   time.Duration // between two attempts; 0 means 500 ms
	Log     *slog.Logger
}

// Open opens the store, or starts to wait for it.
func Open(ctx context.Context, o Options) (storage.Store, error) {
	if o.First <= 0 {
		o.First = 2 * time.Second
	}
	if o.Attempt <= 0 {
		o.Attempt = 7 * time.Second // longer than a call's deadline, whose error names the cause
	}
	if o.Pause <= 0 {
		o.Pause = 500 * time.Millisecond
	}
	s := &store{o: o, since: time.Now(), ended: make(chan struct{}), opened: make(chan struct{})}
	inner, err := s.attempt(ctx, o.First)
	if err == nil || !errors.Is(err, storage.ErrUnavailable) || ctx.Err() != nil {
		return inner, err
	}
	o.Log.Warn("the storage is unavailable; the server starts sealed and waits for it", "error", err)
	s.cause.Store(&err)
	s.closing, s.close = context.WithCancel(context.Background())
	go s.wait()
	return s, nil
}

// store is a [Shared] that may not be open yet.
type store struct {
	o       Options
	inner   atomic.Pointer[Shared]
	cause   atomic.Pointer[error]
	since   time.Time
	opened  chan struct{} // closed when inner is set
	closing context.Context
	close   context.CancelFunc
	ended   chan struct{} // closed when wait has returned
}

func (s *store) attempt(ctx context.Context, within time.Duration) (storage.Store, error) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	inner, err := s.o.Open(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil && !errors.Is(err, storage.ErrUnavailable) {
		err = fmt.Errorf("%w: it did not respond within %s: %w", storage.ErrUnavailable, within, err)
	}
	return inner, err
}

// wait opens the store, however long that takes.
func (s *store) wait() {
	defer close(s.ended)
	timer := time.NewTimer(s.o.Pause)
	defer timer.Stop()
	for {
		select {
		case <-s.closing.Done():
			return
		case <-timer.C:
		}
		inner, err := s.attempt(s.closing, s.o.Attempt)
		shared, ok := inner.(Shared)
		switch {
		case err == nil && ok:
			s.inner.Store(&shared)
			close(s.opened)
			s.o.Log.Info("the storage is available")
			return
		case err == nil:
			err = errors.Join(fmt.Errorf("%w: it is not the storage of a cluster", storage.ErrForeign), inner.Close())
		case s.closing.Err() != nil:
			return
		}
		if before := *s.cause.Load(); before.Error() != err.Error() {
			s.o.Log.Warn("the storage cannot be opened; retrying", "error", err)
		}
		s.cause.Store(&err)
		timer.Reset(s.o.Pause)
	}
}

// ready returns the open store, or why there is none.
func (s *store) ready() (Shared, error) {
	if inner := s.inner.Load(); inner != nil {
		return *inner, nil
	}
	if s.closing.Err() != nil {
		return nil, storage.ErrClosed
	}
	return nil, *s.cause.Load()
}

// Failing implements storage.Reporter.
func (s *store) Failing() *storage.Failure {
	if inner := s.inner.Load(); inner != nil {
		if r, ok := (*inner).(storage.Reporter); ok {
			return r.Failing()
		}
		return nil
	}
	err := *s.cause.Load()
	class := storage.ClassOf(err)
	if class == "" {
		class = storage.Unresponsive
	}
	return &storage.Failure{Class: class, Err: err, Since: s.since}
}

// Acknowledged implements storage.Acknowledger.
func (s *store) Acknowledged() (highest uint64, lost bool) {
	if inner := s.inner.Load(); inner != nil {
		if a, ok := (*inner).(storage.Acknowledger); ok {
			return a.Acknowledged()
		}
	}
	return 0, false
}

func (s *store) Get(ctx context.Context, key string) ([]byte, error) {
	inner, err := s.ready()
	if err != nil {
		return nil, err
	}
	return inner.Get(ctx, key)
}

func (s *store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	inner, err := s.ready()
	if err != nil {
		return nil, err
	}
	return inner.List(ctx, prefix, after, limit)
}

func (s *store) Commit(ctx context.Context, b storage.Batch) error {
	inner, err := s.ready()
	if err != nil {
		return err
	}
	return inner.Commit(ctx, b)
}

// Close ends the waiting, and closes the store if it is open.
func (s *store) Close() error {
	s.close()
	<-s.ended
	if inner := s.inner.Load(); inner != nil {
		return (*inner).Close()
	}
	return nil
}

// Campaign waits until the store is open, as it waits for an election.
func (s *store) Campaign(ctx context.Context, identity []byte) (storage.Leadership, error) {
	select {
	case <-s.opened:
	case <-s.closing.Done():
		return nil, storage.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return (*s.inner.Load()).Campaign(ctx, identity)
}

func (s *store) Leader(ctx context.Context) (identity []byte, epoch uint64, err error) {
	inner, err := s.ready()
	if err != nil {
		return nil, 0, err
	}
	return inner.Leader(ctx)
}

func (s *store) Watch(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	inner, err := s.ready()
	if err != nil {
		return nil, err
	}
	return inner.Watch(ctx, prefix)
}

func (s *store) Revision(ctx context.Context) (uint64, error) {
	inner, err := s.ready()
	if err != nil {
		return 0, err
	}
	return inner.Revision(ctx)
}

func (s *store) Snapshot(ctx context.Context, visit func(key string, value []byte) error) error {
	inner, err := s.ready()
	if err != nil {
		return err
	}
	return inner.Snapshot(ctx, visit)
}

func (s *store) Size(ctx context.Context) (int64, error) {
	inner, err := s.ready()
	if err != nil {
		return 0, err
	}
	return inner.Size(ctx)
}
