package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"log/slog"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/seals"
)

// Node is one process. Its methods are safe for concurrent use.
type Node struct {
	cfg Config
	log *slog.Logger

	// transition serialises whatever changes the state, the keys or a ceremony. A request that only
	// reads or writes data never holds it.
	transition sync.Mutex
	held       bool // sealed by an operator: shares or a restart unseal it; guarded by transition

	seals     atomic.Pointer[seals.Set]
	role      atomic.Pointer[RoleState]      // nil while sealed, and between two roles
	state     atomic.Pointer[nodeState]      // known without the barrier
	unsealing atomic.Pointer[unsealProgress] // shares given to sys/unseal; stored under transition
	wake      chan struct{}                  // makes Run check everything at once

	tampered   atomic.Pointer[error] // the alarm of attest.go; nil: none
	restored   atomic.Bool           // a snapshot replaced the data: the anchor follows
	ceremonies *ceremony.Manager
	counts     barrier.CountMemory // of encryptions, for the life of the process
	keeper     *sealKeeper
	migration  *sealMigration // nil: none is configured
	trials     *sealTrials
	snapshots  *snapshotScheduler
	glass      *glassBreaker

	pastSeals atomic.Pointer[[]seals.Seal] // see loadPastSeals
	commits   commitWatch

	handOver *barrier.HandOver               // nil without a cluster
	replica  *ha.Replica                     // nil without a cluster
	core     atomic.Pointer[barrier.Barrier] // the keys of a node of a cluster, nil while sealed; it never writes
}

// firstRead bounds the wait for the storage at the start. [Node.Run] asks an unavailable one again.
const firstRead = time.Second

// New returns a node that has read its storage once, so that its first answer says whether it is
// initialised. Where the storage is unavailable the node reports itself as sealed. [Node.Run] does
// the rest.
func New(cfg Config) (*Node, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Log, wake: make(chan struct{}, 1)}
	n.state.Store(&nodeState{})
	n.seals.Store(cfg.Seals)
	n.ceremonies = newCeremonies(n)
	if cfg.Devices != nil {
		cfg.Devices.Protect(func() []seals.Seal { return protectedKeys(n) })
	}
	if cfg.Metrics != nil {
		cfg.Metrics.Sampled(KeysOf(n).sample)
		cfg.Metrics.Help("sealgate.transcript.unsigned",
			"Records of the transcript that the key in a device has not signed yet.")
		cfg.Metrics.Sampled(func(m *metrics.Sample) {
			if a := n.writer(); a != nil {
				m.Gauge("sealgate.transcript.unsigned", float64(a.cosigner.Unsigned()))
			}
		})
	}
	if cfg.BreakGlass && cfg.Anchor == nil {
		n.log.Warn("break_glass = true without an anchor: an attacker who can replace the whole storage and reach " +
			"this node while it " +
			"is sealed can have it serve a storage of his own; configure an anchor, or remove the setting when it is not needed")
	}
	n.migration = newSealMigration(n)
	n.keeper, n.trials, n.glass = &sealKeeper{n: n}, &sealTrials{n: n}, &glassBreaker{}
	n.snapshots = newSnapshotScheduler(n)
	if err := n.newReplica(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), firstRead)
	defer cancel()
	if err := n.load(ctx); err != nil {
		n.log.Warn("the storage could not be read yet; it is tried again", "error", details(err))
	}
	return n, nil
}

// protectedKeys are the seals whose keys no mount may use, with those that seals had and that are
// not retired.
func protectedKeys(n *Node) []seals.Seal {
	all := protectedSeals(n.seals.Load(), n.state.Load().record)
	if past := n.pastSeals.Load(); past != nil {
		all = append(all, *past...)
	}
	return all
}

// protectedSeals are the seals whose keys no mount may use: those of the configuration, and members
// of the sealed record that this node has no stanza for. Nothing here knows the keys of the latter.
func protectedSeals(set *seals.Set, record *seals.Record) []seals.Seal {
	all := set.Seals()
	if record == nil {
		return all
	}
	for _, p := range record.Parts {
		if _, ok := set.Member(p.Name); !ok {
			all = append(all, seals.Seal{Name: p.Name, Type: p.Type})
		}
	}
	return all
}

// errBetweenRoles is returned to requests between two roles.
var errBetweenRoles = fault.New(fault.Unavailable, "this node is between two roles in its cluster; try again")

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

// writer returns the role of a node that may write; nil on a standby, and while sealed.
func (n *Node) writer() *RoleState {
	if a := n.role.Load(); a != nil && !a.Standby() {
		return a
	}
	return nil
}

// asWriter calls f with the role of a node that may write, while no change of role or of keys runs;
// it does nothing on a standby, and while sealed.
func asWriter(n *Node, f func(a *RoleState)) {
	a := n.writer()
	if a == nil {
		return
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	if n.role.Load() == a {
		f(a)
	}
}

// sealed reports whether the node has no keys.
func (n *Node) sealed() bool {
	if n.Clustered() {
		return n.core.Load() == nil
	}
	return n.role.Load() == nil
}

// Clustered reports whether this is a node of a cluster.
func (n *Node) Clustered() bool { return n.replica != nil }

// Cluster returns the node's part in its cluster. It is nil without a cluster, and can be used all
// the same: see [ha.Replica].
func (n *Node) Cluster() *ha.Replica { return n.replica }

// ForwardWithin is how long a request waits for a leader.
func (n *Node) ForwardWithin() time.Duration { return n.cfg.Timing.Forward }

// poke makes Run check everything at once.
func (n *Node) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *Node) barrierOptions() barrier.Options {
	o := barrier.Options{Now: n.cfg.Now, Rand: n.cfg.Rand, Log: n.log, Counts: &n.counts,
		Outside: outsideBarrier}
	if n.seals.Load().Quorum() != nil || n.cfg.Seals.Quorum() != nil { // or will, after a migration
		o.HandOver = n.handOver
	}
	return o
}
