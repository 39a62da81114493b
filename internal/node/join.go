package node

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// checkCluster completes what the others are told of this node, and refuses a store that cannot be shared.
func (c *Config) checkCluster() error {
	if c.Cluster == nil {
		return nil
	}
	for what, ok := range map[string]bool{
		"elect": is[storage.Elector](c.Store), "watch": is[storage.Watcher](c.Store), "number its commits": is[storage.Sequencer](c.Store),
	} {
		if !ok {
			return errors.New("node: a cluster needs a store that several nodes share; this one cannot " + what)
		}
	}
	m := *c.Cluster
	if m.ID == "" {
		var b [16]byte
		_, _ = crand.Read(b[:]) // never fails
		m.ID = hex.EncodeToString(b[:])
	}
	c.Cluster = &m
	return nil
}

func is[T any](s storage.Store) bool {
	_, ok := s.(T)
	return ok
}

// join makes a node with an open barrier a member of its cluster. The caller holds transition. What follows from it, standing by and being
// elected, goes on by itself.
func (n *Node) join(ctx context.Context, b *barrier.Barrier) error {
	core, err := n.admitted(ctx, b)
	if err != nil {
		return errors.Join(barrier.Fault(err, "the node could not join its cluster"), b.Seal(ended))
	}
	n.core.Store(core)
	n.startRoles()
	n.log.Info("unsealed", "cluster", n.state.Load().clusterName, "generation", b.RootGeneration())
	// What it was opened with is not used any more. Its counts are not written: another node may be counting.
	_ = b.Seal(ended)
	return nil
}

// admitted checks that the node has what its cluster has, and takes the keys.
func (n *Node) admitted(ctx context.Context, b *barrier.Barrier) (*barrier.Barrier, error) {
	raw, err := b.Get(ctx, pathCluster)
	if err != nil {
		return nil, err
	}
	c, err := unmarshalCluster(raw)
	if err != nil {
		return nil, err
	}
	shareSet, err := n.trustedShareSet(ctx, b)
	if err != nil {
		return nil, err
	}
	core, err := b.Clone(&fencedStore{Store: n.cfg.Store})
	if err != nil {
		return nil, err
	}
	n.change(func(f *nodeState) { f.clusterName, f.shareSet, f.trouble = c.Name, shareSet, nil })
	return core, nil
}

// forgetKeys seals a node of a cluster whose office is closed. The caller holds transition.
func (n *Node) forgetKeys() error {
	core := n.core.Swap(nil)
	if core == nil {
		return nil
	}
	_ = core.Seal(ended) // it never encrypted, so there is nothing to write
	if n.cfg.Trail != nil {
		n.cfg.Trail.Deactivate()
	}
	n.changed.tell()
	return nil
}

// writer is what the node that writes works with; nil on a standby, and while sealed.
func (n *Node) writer() *RoleState {
	if a := n.role.Load(); a != nil && a.follower == nil {
		return a
	}
	return nil
}

// firstWait keeps the nodes of a cluster that start at once from asking their seals at once.
func (n *Node) firstWait() time.Duration {
	if n.Clustered() {
		return rand.N(n.cfg.Timing.Stagger)
	}
	return 0
}

// idleWait is how long a node leaves a store alone that is not initialised, or whose people it waits for.
func (n *Node) idleWait() time.Duration {
	if n.Clustered() {
		return jitter(n.cfg.Timing.RetryMin) // another node may initialise it
	}
	return n.cfg.Timing.RetryMax
}

// endHandOver removes root keys that were handed over for long enough.
func (n *Node) endHandOver(ctx context.Context) {
	a := n.writer()
	if a == nil || a.leadership == nil {
		return
	}
	if err := a.barrier.EndHandOver(ctx, n.cfg.Now().Add(-n.cfg.Timing.HandOver).UnixNano()); err != nil && ctx.Err() == nil {
		n.log.Warn("a root key that was handed over to the other nodes could not be removed yet; it is tried again", "error", err)
	}
}

// Standby reports whether this is a standby's: it answers reads that it can prove current, and writes nothing.
func (a *RoleState) Standby() bool { return a.follower != nil }

// Enter takes note that a request uses it, until Leave; false: the role is over, and the request is for the node's next one.
func (a *RoleState) Enter() bool { return a.inflight == nil || a.inflight.enter() }

// Leave is called once for every Enter that was true.
func (a *RoleState) Leave() {
	if a.inflight != nil {
		a.inflight.leave()
	}
}

// Current waits until a standby knows all that was committed before the call. An error says that it cannot prove that, and that the request
// is for the leader.
func (a *RoleState) Current(ctx context.Context) error {
	if a.follower == nil {
		return nil
	}
	return a.follower.current(ctx)
}

// ErrNotHeld is returned for an answer that a leader cannot prove to be current any more.
var ErrNotHeld = fault.New(fault.Unavailable, "this node is no longer sure that it is the active one, so it does not answer; try again")

// Held is nil while it is certain that nothing was written by another leader up to now. It is asked after what is answered was read. A
// standby's reads are proven before: see Current.
func (a *RoleState) Held() error {
	if a.leadership != nil && !a.leadership.Held() {
		return ErrNotHeld
	}
	return nil
}

// SettingsVersion changes whenever settings of the API were changed by another node.
func (a *RoleState) SettingsVersion() uint64 { return a.settings.Load() }

// ForwardWithin is how long a request waits for a leader.
func (n *Node) ForwardWithin() time.Duration { return n.cfg.Timing.Forward }

// ailing keeps why this node has no role, or cannot have a better one.
func (n *Node) setDegraded(err error) { n.degradedBy.Store(&err) }

// Degraded is why this node cannot do its part in the cluster; nil where it can.
func (n *Node) Degraded() error {
	if err := n.degradedBy.Load(); err != nil {
		return *err
	}
	return nil
}
