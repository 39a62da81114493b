package ha

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/storage"
)

// Role is the state of one role of a node, as the [Host] builds it.
type Role interface {
	Store() *barrier.Barrier
	Inflight() *Inflight
	// Close ends what runs for the role and wipes its keys. It writes the encryption counts unless ctx
	// has ended.
	Close(ctx context.Context) error
}

// Host builds and serves the roles of a node. Standby and Lead read all state from storage again;
// the caller holds the lock.
type Host interface {
	Standby(ctx context.Context, f *Follower) (Role, error)
	Lead(ctx context.Context, l storage.Leadership) (Role, error)
	// Publish serves requests with next from now on, and returns the role before; nil: no role.
	Publish(next Role) (previous Role)
	// Apply drops what a standby has in memory of an entry that another node has changed. An error
	// means that everything must be read again.
	Apply(ctx context.Context, r Role, key string) error
}

// Timing is how long and how often. All values are positive.
type Timing struct {
	RetryMin, RetryMax time.Duration // between attempts
	Stagger            time.Duration // up to so long nodes wait, so that they do not all act at once
	Pause              time.Duration // how long a node that stepped down lets others be elected first
	Drain              time.Duration // how long requests in flight may use a role that has ended
	Read               time.Duration // how long reading all state for a new role may take
	Prove              time.Duration // how long the storage may take to prove that a standby is current
	Echo               time.Duration // between announcements of a standby to the leader
}

// Config configures a [Replica]. Every field but Metrics, Report and Heard is required.
type Config struct {
	Self   Member        // with an ID
	Store  storage.Store // see [CheckStore]
	Host   Host
	Lock   sync.Locker // the node's: it serialises every change of state
	Timing Timing

	Report func() json.RawMessage // what a standby adds to its announcements; nil: nothing
	Heard  func(json.RawMessage)  // called by a leader with each report, which is not to be kept waiting; may be nil

	Log     *slog.Logger
	Now     func() time.Time
	Metrics *metrics.Registry
}

// Replica is this node as a member of its cluster. It is safe for concurrent use. A nil Replica is
// that of a node without a cluster: it has no leader and no members, and its role never changes.
type Replica struct {
	Config
	elector   storage.Elector
	watcher   storage.Watcher
	sequencer storage.Sequencer

	loop     atomic.Pointer[roleLoop] // stored under Lock
	current  atomic.Pointer[held]     // the role of the loop
	leader   atomic.Pointer[Leader]
	changed  signal // role, or leader
	degraded atomic.Pointer[error]

	stepDown   chan struct{} // asks the leader to step down
	retire     chan struct{} // closed when the node is about to stop
	retireOnce sync.Once
	pauseUntil atomic.Int64 // Unix ns; 0: this node may be elected

	members members
	cache   leaderCache
}

// held is a published role, with its leadership; nil for a standby.
type held struct {
	Role
	leadership storage.Leadership
}

// CheckStore refuses a store that nodes cannot share.
func CheckStore(s storage.Store) error {
	_, elects := s.(storage.Elector)
	_, watches := s.(storage.Watcher)
	_, numbers := s.(storage.Sequencer)
	for what, ok := range map[string]bool{"elect": elects, "watch": watches, "number its commits": numbers} {
		if !ok {
			return errors.New("ha: a cluster needs a store that several nodes share; this one cannot " + what)
		}
	}
	return nil
}

// New returns a Replica that does nothing before [Replica.Start].
func New(c Config) (*Replica, error) {
	if err := CheckStore(c.Store); err != nil {
		return nil, err
	}
	return &Replica{
		Config:    c,
		elector:   c.Store.(storage.Elector),   //nolint:forcetypeassert // checked above
		watcher:   c.Store.(storage.Watcher),   //nolint:forcetypeassert // checked above
		sequencer: c.Store.(storage.Sequencer), //nolint:forcetypeassert // checked above
		stepDown:  make(chan struct{}), retire: make(chan struct{}),
	}, nil
}

// Changed returns a channel that is closed when this node's role or the leader changes. Call it
// before reading either.
func (r *Replica) Changed() <-chan struct{} {
	if r == nil {
		return nil
	}
	return r.changed.wait()
}

// Notify wakes those who wait for [Replica.Changed]: the node's role has changed without this
// package.
func (r *Replica) Notify() { r.changed.notify() }

// Degraded returns why this node has no role, or cannot have the role that it should; nil where it
// can.
func (r *Replica) Degraded() error {
	if r == nil {
		return nil
	}
	if err := r.degraded.Load(); err != nil {
		return *err
	}
	return nil
}

func (r *Replica) setDegraded(err error) { r.degraded.Store(&err) }

// ended is a context that is over: a role that is closed with it writes nothing.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
