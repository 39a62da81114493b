package etcd

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/storage"
)

// member is one endpoint of etcd, with a connection of its own, so that a call can be sent to
// another member while this one does not answer.
type member struct {
	endpoint string
	link     atomic.Pointer[link]  // nil until logged in, if there is a user
	failed   atomic.Pointer[error] // why there is no link
}

// link is a connection to a member.
type link struct {
	client *clientv3.Client
	kv     pb.KVClient // returns gRPC's errors, which name the cause
}

func newLink(client *clientv3.Client) *link {
	return &link{client: client, kv: clientv3.RetryKVClient(client)}
}

// errNotConnected is the failure of a member before its first connection.
var errNotConnected = status.Error(codes.Unavailable, "the first connection is not made yet")

// connected returns the link, or why there is none.
func (m *member) connected() (*link, error) {
	if l := m.link.Load(); l != nil {
		return l, nil
	}
	if err := m.failed.Load(); err != nil {
		return nil, *err
	}
	return nil, errNotConnected
}

func (m *member) close() error {
	if l := m.link.Load(); l != nil {
		if err := l.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// preference is the member that is asked first: the last one that answered when others did not.
type preference struct {
	mu    sync.Mutex
	at    int
	moved chan struct{} // closed when another member becomes the preferred one
}

// current returns the preferred member, and a channel that is closed when another one is.
func (p *preference) current() (int, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(chan struct{})
	}
	return p.at, p.moved
}

func (p *preference) set(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == i {
		return
	}
	p.at = i
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// leave prefers the member after i, if i is preferred.
func (p *preference) leave(i, members int) {
	if at, _ := p.current(); at == i {
		p.set((i + 1) % members)
	}
}

const (
	// hedgeAfter is how long a member may take before another one is asked as well. A frozen member
	// answers nothing and keeps its connections.
	hedgeAfter = 300 * time.Millisecond
	// maxCopies bounds the unanswered copies of one call.
	maxCopies = 8
	// silence is how long etcd may take before the storage counts as failing.
	silence = time.Second
	// pauseBetweenMembers is the delay after every member has refused.
	pauseBetweenMembers = 20 * time.Millisecond
)

// job describes a call for errors and for the record of outages.
type job struct {
	doing string
	write bool
}

// copies counts what was sent of one call.
type copies struct {
	sent int
	open int // without an answer: they may still be executed
}

// reply is a member's answer to a copy.
type reply[T any] struct {
	v   T
	err error
	by  int
}

// ask sends a call to the preferred member. Each time that there was no answer for hedgeAfter it
// sends the call to the next member as well, and at once if a member refuses before it looks at the
// call. The first answer counts. The call must have the same effect however often it is executed.
//
// It gives up when ctx ends, and after Options.OutageTimeout if every member refuses connections or
// the outage has lasted.
func ask[T any](ctx context.Context, s *Store, j job, call func(context.Context, *link) (T, error)) (T, copies, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply[T])
	first, _ := s.preferred.current()
	var c copies
	send := func() {
		i := (first + c.sent) % len(s.members)
		c.sent++
		c.open++
		go func() {
			r := reply[T]{by: i}
			var l *link
			if l, r.err = s.members[i].connected(); r.err == nil {
				r.v, r.err = call(ctx, l)
			}
			select {
			case replies <- r:
			case <-ctx.Done():
			}
		}()
	}
	send()
	timer := time.NewTimer(hedgeAfter)
	defer timer.Stop()
	p := patience{store: s, job: j, begun: time.Now()}
	for {
		select {
		case r := <-replies:
			c.open--
			if !passing(r.err) {
				s.preferred.set(r.by)
				s.note(j, r.err)
				return r.v, c, r.err
			}
			p.refused(r.err)
			switch {
			case p.over(c.open):
				return r.v, c, r.err
			case p.refusals < len(s.members):
				send()
				timer.Reset(hedgeAfter)
			default:
				timer.Reset(pauseBetweenMembers)
			}
		case <-timer.C:
			p.waited()
			if p.over(c.open) {
				var none T
				return none, c, p.cause()
			}
			if c.open == 0 || len(s.members) > 1 && c.open < maxCopies {
				send()
			}
			timer.Reset(hedgeAfter)
		case <-ctx.Done():
			var none T
			return none, c, p.cause()
		}
	}
}

// passing reports errors after which another member, or the same one later, may be asked: there is
// no connection, or no leader of etcd yet, or the login has expired.
func passing(err error) bool {
	if err == nil {
		return false
	}
	return status.Code(err) == codes.Unavailable && !isAny(err, rpctypes.ErrCorrupt) ||
		isAny(err, rpctypes.ErrNoLeader, rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrTimeout,
			rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost, rpctypes.ErrLeaderChanged)
}

// patience decides how long a call continues.
type patience struct {
	store    *Store
	job      job
	begun    time.Time
	refusals int
	last     error
}

// refused records a refusal. When every member has refused, the storage fails.
func (p *patience) refused(err error) {
	p.last = err
	if p.refusals++; p.refusals >= len(p.store.members) {
		p.store.note(p.job, err)
	}
}

// waited records that there was no answer for a while.
func (p *patience) waited() {
	if time.Since(p.begun) >= silence && p.last == nil {
		p.store.note(p.job, errSilent)
	}
}

// over reports whether it is time to give up before the deadline of the call.
func (p *patience) over(open int) bool {
	if time.Since(p.begun) < p.store.o.OutageTimeout {
		return false
	}
	return p.store.outage.Over(open == 0)
}

// cause is the error of a call that nobody answered.
func (p *patience) cause() error {
	if p.last != nil {
		return p.last
	}
	return errSilent
}

var errSilent = status.Error(codes.DeadlineExceeded, "context deadline exceeded")

// note records the outcome of a call for [storage.Reporter].
func (s *Store) note(j job, err error) {
	if err == nil {
		s.outage.Worked(j.write)
		return
	}
	s.outage.Failed(j.write, s.explain(context.Background(), j.doing, err))
}

// Failing implements storage.Reporter.
func (s *Store) Failing() *storage.Failure { return s.outage.Failing() }
