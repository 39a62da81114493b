// Package node is one Sealgate process between its storage and its clients: it is uninitialised, sealed or
// active, and every way from one state to another is a file of this package (init.go, unseal.go, activate.go, seal.go).
//
// In a cluster (see [Config].Cluster, office.go, follow.go) an unsealed node is a standby or the leader, in turn. It guarantees that nothing is
// written but by the leader in office, in whose name every commit is fenced; that a standby answers only what it has proven to be current; that a
// leader answers only while it is certain of its office; that what is under way goes on at the next leader; and that no change of role asks a seal.
// It does not guarantee that a standby can follow a new root key: where that takes the seal and the seal is away, it forwards, and cannot lead.
//
// It guarantees that a node always starts, whatever its seals or its storage do: what is away keeps it
// sealed, is told with class and remedy, and is tried again; that initialising, rekeying and rotating are one storage
// commit each, so that a crash leaves the state before or the state after; and that what is in memory follows what is on disk.
//
// It knows no provider and no protocol: the seals come in as a [seals.Set], what is behind a mount as a [mount.Factory].
package node

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// Keys of the records that stand outside the barrier, because they are needed before it is open.
const (
	keySealed      = "core/seal"           // the sealed root key: seals.Record
	keyShareCounts = "core/recovery-shape" // how many recovery shares there are: display only, see shape
)

// Paths of this package's entries behind the barrier.
const (
	pathCluster  = "core/cluster"
	pathShareSet = "core/custody/" // + target
)

// Config is what a node is made of.
type Config struct {
	Store       storage.Store
	StorageType string // as clients are told: "bbolt", "inmem", ...
	Seals       *seals.Set
	ClusterName string                   // "" = made at initialisation
	Engines     map[string]mount.Factory // secrets engines, by type
	AuthMethods map[string]mount.Factory // auth methods, by type
	Mounts      []mount.Entry            // made at initialisation beside those that are always there; development servers have some
	RootToken   string                   // of a development server; "" = random

	Trail   *audit.Trail      // nil: nothing is audited
	Metrics *metrics.Registry // nil: nothing is counted

	// Cluster makes it a node of a cluster, by this name. The store must be a [storage.Elector], [storage.Watcher] and [storage.Sequencer]. Nil: it
	// is alone, whatever the store can do.
	Cluster *Member

	Log  *slog.Logger
	Now  func() time.Time
	Rand io.Reader

	Timing Timing
}

// Timing is how often the node looks after itself. Zero values are the defaults; every wait is jittered by a quarter.
type Timing struct {
	Probe        time.Duration // between proofs that the seals would unseal: 10 s; those that cost money have a pace of their own, see seals.MeteredPace
	ProbeFailing time.Duration // the same while one of them would not: 2 s
	Look         time.Duration // between looks at what became of their keys: 10 min
	RetryMin     time.Duration // first wait after a failed attempt to unseal: 500 ms, doubled up to
	RetryMax     time.Duration // 4 s
	Care         time.Duration // between looks whether the barrier key is due for rotation, or a kept answer for wiping: 1 min
	Ceremony     time.Duration // how long a ceremony may take: 24 h
	Answer       time.Duration // how long a serving node keeps the answer to the last share of a rekey: 10 min; negative = not at all

	// Of a cluster.
	Stagger      time.Duration // up to so long a node waits before it asks the seals at its start, so that not all nodes ask at once: 500 ms
	Pause        time.Duration // how long a node that stepped down lets others stand for election first: 10 s
	Drain        time.Duration // how long requests under way may go on in a role that is over: 5 s
	BecomeLeader time.Duration // how long reading everything again may take in a new role: 20 s
	Prove        time.Duration // within which the storage must prove that a standby is current: 1 s
	Echo         time.Duration // between a standby's announcements to the leader: 1 s
	Forward      time.Duration // how long a request waits for a leader: 10 s
	HandOver     time.Duration // how long a new root key is handed over to nodes under a seal of people: 10 min
}

func (t *Timing) defaults() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&t.Probe, 10 * time.Second}, {&t.ProbeFailing, 2 * time.Second}, {&t.Look, 10 * time.Minute}, {&t.RetryMin, 500 * time.Millisecond},
		{&t.RetryMax, 4 * time.Second}, {&t.Care, time.Minute}, {&t.Answer, 10 * time.Minute}, {&t.Ceremony, recovery.DefaultExpiry},
		{&t.Stagger, 500 * time.Millisecond}, {&t.Pause, 10 * time.Second}, {&t.Drain, 5 * time.Second}, {&t.BecomeLeader, 20 * time.Second},
		{&t.Prove, time.Second}, {&t.Echo, time.Second}, {&t.Forward, 10 * time.Second}, {&t.HandOver, 10 * time.Minute},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
}

// Node is one process. Its methods are safe for concurrent use.
type Node struct {
	cfg Config
	log *slog.Logger

	// transition serialises whatever changes the state or a ceremony. It is never held by a request that only reads
	// or writes data.
	transition sync.Mutex
	held       bool // sealed by an operator: shares or a restart unseal it; guarded by transition

	seals      atomic.Pointer[seals.Set]
	role       atomic.Pointer[RoleState]      // nil while sealed, and between two roles
	state      atomic.Pointer[nodeState]      // what is known without the barrier
	unsealing  atomic.Pointer[unsealProgress] // shares given to sys/unseal; stored under transition
	ceremonies *ceremony.Manager
	wake       chan struct{} // asks Run to look again at once
	keys       keyCare       // of Run alone

	// Of a cluster; see office.go.
	core              atomic.Pointer[barrier.Barrier] // the keys, nil while sealed; it never writes
	roleLoop          atomic.Pointer[roleLoop]        // stored under transition
	leader            atomic.Pointer[Leader]
	changed           signal        // role, or leader
	stepDownRequested chan struct{} // asks the leader to step down
	retire            chan struct{} // closed when the node is about to stop
	retireOnce        sync.Once
	pauseUntil        atomic.Int64 // Unix ns; 0: this node may be elected
	roll              roll
	leaderCache       storedLeaderCache
	degradedBy        atomic.Pointer[error]
}

// facts are what a node knows of itself while it may be sealed; immutable once published.
type nodeState struct {
	known       bool               // storage was read at least once
	record      *seals.Record      // nil while uninitialised
	shareCounts shareCounts        // recovery shares, for display
	shareSet    *recovery.ShareSet // whose shares are asked for: of the Shamir seal, or (once unsealed) the recovery custody
	previous    *recovery.ShareSet // the people before, while their shares still unseal: see seals.Previous
	clusterName string             // known once unsealed
	trouble     error              // why the node is not unsealed, as far as it is not the operator's wish
}

// firstLook bounds the wait for the storage at the start; one that is away is asked again by [Node.Run].
const firstLook = time.Second

// New returns a node that has looked at its storage, so that its first answer tells whether it is initialised; where the storage is
// away it says that it is sealed. [Node.Run] does the rest, and goes on until its context ends.
func New(cfg Config) (*Node, error) {
	if cfg.Store == nil || cfg.Seals == nil {
		return nil, errors.New("node: needs a store and a set of seals")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if err := cfg.checkCluster(); err != nil {
		return nil, err
	}
	cfg.Timing.defaults()
	n := &Node{cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1), stepDownRequested: make(chan struct{}), retire: make(chan struct{})}
	n.state.Store(&nodeState{})
	n.ceremonies = newCeremonies(n)
	n.seals.Store(cfg.Seals)
	ctx, cancel := context.WithTimeout(context.Background(), firstLook)
	defer cancel()
	if err := n.load(ctx); err != nil {
		n.log.Warn("the storage could not be read yet", "error", err)
	}
	return n, nil
}

// RoleState is what requests need while the node is unsealed. A request that holds one while
// the node seals gets barrier.ErrSealed from it.
type RoleState struct {
	barrier     *barrier.Barrier
	tokens      *token.Store
	mounts      *mount.Table
	authMethods *mount.Table
	stop        func() // ends what runs for it, and waits

	// Of a cluster, as the rest of this struct of one role: a leader's has an office, a standby's a follower.
	leadership storage.Leadership
	follower   *follower
	inflight   *inflight // of a cluster
	settings   atomic.Uint64
}

// Store is the encrypted storage.
func (a *RoleState) Store() *barrier.Barrier { return a.barrier }

// Raw is the encrypted storage entry by entry, for sys/raw.
func (a *RoleState) Raw() *Raw { return &Raw{a.barrier} }

// Tokens is the store of tokens, and the point that authorises requests.
func (a *RoleState) Tokens() *token.Store { return a.tokens }

// Mounts is the table of what lies behind which path.
func (a *RoleState) Mounts() *mount.Table { return a.mounts }

// Role returns what a request needs, or a fault of kind Sealed.
func (n *Node) Role() (*RoleState, error) {
	if a := n.role.Load(); a != nil {
		return a, nil
	}
	if !n.sealed() {
		return nil, errBetweenRoles
	}
	return nil, barrier.FaultSealed
}

// sealed reports whether the node has no keys.
func (n *Node) sealed() bool {
	if n.Clustered() {
		return n.core.Load() == nil
	}
	return n.role.Load() == nil
}

// ReplaceSeals makes a sealed node use a set that was made from a changed configuration, at once; the old set is returned, for the caller to
// close. An active node refuses: its root key is sealed to the set that it has.
func (n *Node) ReplaceSeals(set *seals.Set) (old *seals.Set, err error) {
	n.transition.Lock()
	defer n.transition.Unlock()
	if !n.sealed() {
		return nil, fault.New(fault.Invalid, "the node is unsealed; a changed seal configuration takes effect when it is restarted")
	}
	n.forgetShares()
	set.Succeed(n.seals.Load())
	old = n.seals.Swap(set)
	n.poke()
	return old, nil
}

// change publishes new facts made from the old ones. The caller holds transition.
func (n *Node) change(f func(*nodeState)) {
	next := *n.state.Load()
	f(&next)
	n.state.Store(&next)
}

// poke makes Run look at once.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Node) barrierOptions() barrier.Options {
	return barrier.Options{Now: n.cfg.Now, Rand: n.cfg.Rand, Log: n.log, HandOver: n.Clustered() && n.seals.Load().NeedsShares()}
}

// load reads what stands outside the barrier. The caller holds transition.
func (n *Node) load(ctx context.Context) error {
	record, err := readRecord(ctx, n.cfg.Store)
	if err != nil {
		return err
	}
	sh, err := readShareCounts(ctx, n.cfg.Store)
	if err != nil {
		return err
	}
	custodians, previous, err := readUnsealShareSets(record)
	if err != nil {
		return err
	}
	n.change(func(f *nodeState) {
		f.known, f.record, f.shareCounts, f.previous = true, record, sh, previous
		if custodians != nil {
			f.shareSet = custodians
		}
	})
	return nil
}

// readUnsealShareSets returns the custodies that stand in a sealed record: of the people who unseal, and of those before them as long as they can.
func readUnsealShareSets(r *seals.Record) (custodians, previous *recovery.ShareSet, err error) {
	if r == nil || len(r.ShareSet) == 0 {
		return nil, nil, nil
	}
	custodians, err = recovery.UnmarshalShareSet(r.ShareSet)
	if err == nil && r.Previous != nil {
		previous, err = recovery.UnmarshalShareSet(r.Previous.ShareSet)
	}
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal, "the record of who holds the unseal shares cannot be read; restore %s from a backup", keySealed)
	}
	return custodians, previous, nil
}

func readRecord(ctx context.Context, s storage.Store) (*seals.Record, error) {
	raw, err := s.Get(ctx, keySealed)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "storage cannot be read: %v", err)
	}
	r, err := seals.UnmarshalRecord(raw)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the sealed root key (storage entry %s) cannot be read: %v; restore it from a backup", keySealed, err)
	}
	return r, nil
}
