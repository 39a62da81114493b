package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/storage"
)

// follower is the single etcd watch that feeds all readers, at the preferred member. It covers the
// data and the commit number, so that each commit has a mark. etcd never splits a revision across
// responses.
type follower struct {
	mu      sync.Mutex
	running bool // readers may subscribe
	feed    storage.Feed
}

// pauseAfterLoss is the delay before a watch that etcd ended is resumed: about an etcd election.
const pauseAfterLoss = 200 * time.Millisecond

// Watch implements storage.Watcher. The channel is closed early if the reader falls more than 4,096
// events behind, or if etcd has compacted events missed during an outage.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	all, err := s.subscribe(ctx, prefix)
	if err != nil {
		return nil, err
	}
	// Read after subscribing: any commit after this call has a higher revision, and comes through
	// the feed.
	floor, err := s.head(ctx)
	if err != nil {
		return nil, err
	}
	events := make(chan storage.Event)
	err = s.launch(func() {
		defer close(events)
		forward(ctx, s.closing, all, events, uint64(floor))
	})
	return events, err
}

// forward forwards the events after floor.
func forward(ctx, closing context.Context, all <-chan storage.Event, events chan<- storage.Event, floor uint64) {
	for e := range all {
		if e.Revision <= floor {
			continue
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return
		case <-closing.Done():
			return
		}
	}
}

// head returns etcd's current revision.
func (s *Store) head(ctx context.Context) (int64, error) {
	resp, err := s.read(ctx, "starting a watch", &pb.RangeRequest{Key: s.keys.commit, CountOnly: true})
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

func (s *Store) subscribe(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	s.follow.mu.Lock()
	defer s.follow.mu.Unlock()
	if !s.follow.running {
		from, err := s.head(ctx)
		if err != nil {
			return nil, err
		}
		w, err := s.watch(ctx, from+1)
		if err != nil {
			return nil, err
		}
		if err := s.launch(func() { s.followOn(w) }); err != nil {
			w.cancel()
			return nil, err
		}
		s.follow.running = true
	}
	return s.follow.feed.Subscribe(prefix, ctx, s.closing), nil
}

// tail is a watch in etcd, at one member.
type tail struct {
	answers clientv3.WatchChan
	cancel  context.CancelFunc
	next    int64           // first revision that was not sent yet
	moved   <-chan struct{} // closed when another member is preferred: this one may be silent
}

// watch starts a watch and waits until etcd has created it.
func (s *Store) watch(ctx context.Context, from int64) (*tail, error) {
	return s.watchRange(ctx, from, s.keys.commit, s.keys.dataEnd)
}

// watchStart is how long a member may take to start a watch before another one is asked.
const watchStart = time.Second

func (s *Store) watchRange(ctx context.Context, from int64, key, end []byte) (*tail, error) {
	limited, cancel := s.limit(ctx, s.o.RequestTimeout)
	defer cancel()
	for {
		w, by, err := s.tryWatch(limited, from, key, end)
		if err == nil {
			return w, nil
		}
		if limited.Err() != nil || !passing(err) && status.Code(err) != codes.DeadlineExceeded {
			return nil, s.explain(ctx, "starting a watch", err)
		}
		s.preferred.leave(by, len(s.members))
		s.pause(limited, pauseBetweenMembers)
	}
}

// tryWatch starts a watch at the preferred member; starting bounds only the start.
func (s *Store) tryWatch(starting context.Context, from int64, key, end []byte) (w *tail, by int, err error) {
	by, moved := s.preferred.current()
	l, err := s.members[by].connected()
	if err != nil {
		return nil, by, err
	}
	starting, done := context.WithTimeout(starting, watchStart)
	defer done()
	watching, cancel := context.WithCancel(s.closing)
	stop := context.AfterFunc(starting, cancel)
	// A member without a leader must report it, or the watch would silently stop.
	answers := l.client.Watch(clientv3.WithRequireLeader(watching), string(key),
		clientv3.WithRange(string(end)), clientv3.WithRev(from), clientv3.WithCreatedNotify())
	first, ok := <-answers
	if !stop() || !ok || first.Err() != nil {
		cancel()
		if err := first.Err(); err != nil {
			return nil, by, err
		}
		return nil, by, status.FromContextError(context.DeadlineExceeded).Err()
	}
	return &tail{answers: answers, cancel: cancel, next: from, moved: moved}, by, nil
}

// followOn publishes etcd's events until Close, or until events are lost for good.
func (s *Store) followOn(w *tail) {
	for {
		err := s.publish(w)
		w.cancel()
		if s.closing.Err() != nil || errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
		if !errors.Is(err, errMoved) {
			s.log.Warn("the watch of etcd was interrupted; resuming it", "error", err)
			s.pause(s.closing, pauseAfterLoss)
		}
		if w = s.again(w.next); w == nil {
			break
		}
	}
	s.follow.mu.Lock()
	defer s.follow.mu.Unlock()
	s.follow.running = false
	s.follow.feed.Break()
}

// again resumes the watch, however long etcd is unavailable. It returns nil at Close, and if the
// history is compacted.
func (s *Store) again(next int64) *tail {
	for s.closing.Err() == nil {
		w, err := s.watch(s.closing, next)
		switch {
		case err == nil:
			return w
		case errors.Is(err, errCompacted), errors.Is(err, ErrDenied):
			s.log.Error("the watch of etcd cannot be resumed; all cached data is read again", "error", err)
			return nil
		}
		s.pause(s.closing, pauseAfterLoss)
	}
	return nil
}

// errMoved ends a watch at a member that is not preferred any more.
var errMoved = errors.New("etcd: another member answers")

// publish publishes events until the watch ends, or another member is preferred.
func (s *Store) publish(w *tail) error {
	for {
		select {
		case answer, ok := <-w.answers:
			if !ok {
				return context.Canceled
			}
			if err := answer.Err(); err != nil {
				return err
			}
			if n := len(answer.Events); n > 0 {
				s.follow.feed.Publish(s.keys.events(answer.Events)...)
				w.next = answer.Events[n-1].Kv.ModRevision + 1
			}
		case <-w.moved:
			return errMoved
		}
	}
}

// events converts etcd's events, with a mark after those of each revision.
func (l layout) events(from []*clientv3.Event) []storage.Event {
	out := make([]storage.Event, 0, len(from)+1)
	for i, e := range from {
		revision := uint64(e.Kv.ModRevision)
		if key, ok := l.name(e.Kv.Key); ok {
			out = append(out, storage.Event{Key: key, Deleted: e.Type == mvccpb.Event_DELETE, Revision: revision})
		}
		if i+1 == len(from) || from[i+1].Kv.ModRevision != e.Kv.ModRevision {
			out = append(out, storage.Event{Revision: revision})
		}
	}
	return out
}
