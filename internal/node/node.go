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
	"github.com/sealgate/sealgate/internal/auth"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// Keys of the records that stand outside the barrier, because they are needed before it is open.
const (
	keySealed = "core/seal"           // the sealed root key: seals.Record
	keyShape  = "core/recovery-shape" // how many recovery shares there are: display only, see shape
)

// Paths of this package's entries behind the barrier.
const (
	pathCluster  = "core/cluster"
	pathCustody  = "core/custody/"  // + target
	pathCeremony = "core/ceremony/" // + purpose
	pathAnswer   = "core/answer/"   // + purpose
	pathBackup   = "core/backup/"   // + target
	pathProven   = "core/proven/"   // + target
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
	Stagger    time.Duration // up to so long a node waits before it asks the seals at its start, so that not all nodes ask at once: 500 ms
	Pause      time.Duration // how long a node that stepped down lets others stand for election first: 10 s
	Drain      time.Duration // how long requests under way may go on in a role that is over: 5 s
	TakeOffice time.Duration // how long reading everything again may take in a new role: 20 s
	Prove      time.Duration // within which the storage must prove that a standby is current: 1 s
	Echo       time.Duration // between a standby's announcements to the leader: 1 s
	Forward    time.Duration // how long a request waits for a leader: 10 s
	HandOver   time.Duration // how long a new root key is handed over to nodes under a seal of people: 10 min
}

func (t *Timing) defaults() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&t.Probe, 10 * time.Second}, {&t.ProbeFailing, 2 * time.Second}, {&t.Look, 10 * time.Minute}, {&t.RetryMin, 500 * time.Millisecond},
		{&t.RetryMax, 4 * time.Second}, {&t.Care, time.Minute}, {&t.Answer, 10 * time.Minute}, {&t.Ceremony, recovery.DefaultExpiry},
		{&t.Stagger, 500 * time.Millisecond}, {&t.Pause, 10 * time.Second}, {&t.Drain, 5 * time.Second}, {&t.TakeOffice, 20 * time.Second},
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
	active     atomic.Pointer[Active]    // nil while sealed, and between two roles
	facts      atomic.Pointer[facts]     // what is known without the barrier
	unsealing  atomic.Pointer[gathering] // shares given to sys/unseal; stored under transition
	answerEnds atomic.Int64              // Unix ns when kept answers are wiped; 0: not before they are known to have arrived; stored under transition
	wake       chan struct{}             // asks Run to look again at once
	keys       keyCare                   // of Run alone

	// Of a cluster; see office.go.
	core        atomic.Pointer[barrier.Barrier] // the keys, nil while sealed; it never writes
	tenure      atomic.Pointer[tenure]          // stored under transition
	leader      atomic.Pointer[Leader]
	changed     signal        // role, or leader
	stepDown    chan struct{} // asks the leader to step down
	retire      chan struct{} // closed when the node is about to stop
	retireOnce  sync.Once
	pauseUntil  atomic.Int64 // Unix ns; 0: this node may be elected
	roll        roll
	inOfficeNow officeCache
	ail         atomic.Pointer[error]
}

// facts are what a node knows of itself while it may be sealed; immutable once published.
type facts struct {
	known       bool              // storage was read at least once
	record      *seals.Record     // nil while uninitialised
	shape       shape             // recovery shares, for display
	custody     *recovery.Custody // whose shares are asked for: of the Shamir seal, or (once unsealed) the recovery custody
	former      *recovery.Custody // the people before, while their shares still unseal: see seals.Former
	clusterName string            // known once unsealed
	trouble     error             // why the node is not unsealed, as far as it is not the operator's wish
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
	n := &Node{cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1), stepDown: make(chan struct{}), retire: make(chan struct{})}
	n.facts.Store(&facts{})
	n.seals.Store(cfg.Seals)
	ctx, cancel := context.WithTimeout(context.Background(), firstLook)
	defer cancel()
	if err := n.load(ctx); err != nil {
		n.log.Warn("the storage could not be read yet", "error", err)
	}
	return n, nil
}

// Active is what requests need while the node is unsealed. A request that holds one while
// the node seals gets barrier.ErrSealed from it.
type Active struct {
	barrier     *barrier.Barrier
	tokens      *auth.Store
	mounts      *mount.Table
	authMethods *mount.Table
	stop        func() // ends what runs for it, and waits

	// Of a cluster, as the rest of this struct of one role: a leader's has an office, a standby's a follower.
	office   storage.Leadership
	follower *follower
	gate     *gate // of a cluster
	settings atomic.Uint64
}

// Store is the encrypted storage.
func (a *Active) Store() *barrier.Barrier { return a.barrier }

// Raw is the encrypted storage entry by entry, for sys/raw.
func (a *Active) Raw() *Raw { return &Raw{a.barrier} }

// Tokens is the store of tokens, and the point that authorises requests.
func (a *Active) Tokens() *auth.Store { return a.tokens }

// Mounts is the table of what lies behind which path.
func (a *Active) Mounts() *mount.Table { return a.mounts }

// errSealed has the words that command-line clients look for.
var errSealed = fault.New(fault.Sealed, "Vault is sealed")

// Active returns what a request needs, or a fault of kind Sealed.
func (n *Node) Active() (*Active, error) {
	if a := n.active.Load(); a != nil {
		return a, nil
	}
	if !n.sealed() {
		return nil, errNoOffice
	}
	return nil, errSealed
}

// sealed reports whether the node has no keys.
func (n *Node) sealed() bool {
	if n.Clustered() {
		return n.core.Load() == nil
	}
	return n.active.Load() == nil
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
func (n *Node) change(f func(*facts)) {
	next := *n.facts.Load()
	f(&next)
	n.facts.Store(&next)
}

// poke makes Run look at once.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Node) barrierOptions() barrier.Options {
	return barrier.Options{Now: n.cfg.Now, Rand: n.cfg.Rand, Log: n.log, HandOver: n.Clustered() && n.seals.Load().NeedsPeople()}
}

// load reads what stands outside the barrier. The caller holds transition.
func (n *Node) load(ctx context.Context) error {
	record, err := readRecord(ctx, n.cfg.Store)
	if err != nil {
		return err
	}
	sh, err := readShape(ctx, n.cfg.Store)
	if err != nil {
		return err
	}
	people, former, err := readPeople(record)
	if err != nil {
		return err
	}
	n.change(func(f *facts) {
		f.known, f.record, f.shape, f.former = true, record, sh, former
		if people != nil {
			f.custody = people
		}
	})
	return nil
}

// readPeople returns the custodies that stand in a sealed record: of the people who unseal, and of those before them as long as they can.
func readPeople(r *seals.Record) (people, former *recovery.Custody, err error) {
	if r == nil || len(r.People) == 0 {
		return nil, nil, nil
	}
	people, err = recovery.UnmarshalCustody(r.People)
	if err == nil && r.Former != nil {
		former, err = recovery.UnmarshalCustody(r.Former.People)
	}
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal, "the record of who holds the unseal shares cannot be read; restore %s from a backup", keySealed)
	}
	return people, former, nil
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
