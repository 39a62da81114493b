package node

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/ha"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/internal/uuid"
)

// replicaHost builds and serves the node's roles in its cluster. It implements [ha.Host].
type replicaHost struct{ n *Node }

// newReplica makes the node a member of its cluster, where it has one.
func (n *Node) newReplica() error {
	if n.cfg.Cluster == nil {
		return nil
	}
	t, self := n.cfg.Timing, *n.cfg.Cluster
	if self.ID == "" {
		id, err := uuid.New(nil)
		if err != nil {
			return err
		}
		self.ID = id
	}
	var err error
	if n.handOver, err = barrier.NewHandOver(self.ID, (replicaHost{n}).recipients); err != nil {
		return err
	}
	self.HandOverKey = base64.StdEncoding.EncodeToString(n.handOver.PublicKey())
	r, err := ha.New(ha.Config{
		Self: self, Store: n.cfg.Store, Host: replicaHost{n}, Lock: &n.transition,
		Timing: ha.Timing{
			RetryMin: t.RetryMin, RetryMax: t.RetryMax, Stagger: t.Stagger, Pause: t.Pause, Drain: t.Drain,
			Read: t.BecomeLeader, Prove: t.Prove, Echo: t.Echo,
		},
		Report: SealAdminOf(n).announced, Heard: SealAdminOf(n).heard, Log: n.log, Now: n.cfg.Now, Metrics: n.cfg.Metrics,
	})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	n.replica = r
	return nil
}

// recipients returns the standbys that have announced themselves over mutual TLS, and this node,
// which becomes a standby with the keys that it had when it was unsealed.
func (h replicaHost) recipients() []barrier.Recipient {
	n := h.n
	var all []barrier.Recipient
	for _, m := range n.replica.Members() {
		key, err := base64.StdEncoding.DecodeString(m.HandOverKey)
		if err == nil && len(key) > 0 {
			all = append(all, barrier.Recipient{ID: m.ID, Key: key})
		}
	}
	return all
}

// ended is a context that is over: a barrier that is sealed with it writes nothing.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// join makes a node with an open barrier a member of its cluster, which then follows and campaigns.
// The caller holds transition.
func (h replicaHost) join(ctx context.Context, b *barrier.Barrier) error {
	n := h.n
	err := n.identify(ctx, b)
	var core *barrier.Barrier
	if err == nil {
		core, err = b.Clone(ha.Fence(n.cfg.Store, 0))
	}
	if err != nil {
		return errors.Join(barrier.Fault(err, "the node could not join its cluster"), b.Seal(ended))
	}
	n.core.Store(core)
	n.replica.Start()
	n.log.Info("unsealed", "cluster", n.state.Load().clusterName, "generation", b.RootGeneration())
	// Each role clones core. The counts of b are not written: another node may be counting.
	_ = b.Seal(ended)
	return nil
}

// lockWithoutRole takes transition while no role runs: a leader steps down first.
func (n *Node) lockWithoutRole() {
	for {
		if !n.Clustered() {
			n.transition.Lock()
			return
		}
		n.replica.Stop()
		n.transition.Lock()
		if !n.replica.Running() {
			return
		}
		n.transition.Unlock()
	}
}

// forgetKeys seals a node of a cluster whose roles have ended. The caller holds transition.
func (n *Node) forgetKeys() {
	core := n.core.Swap(nil)
	if core == nil {
		return
	}
	_ = core.Seal(ended) // it never encrypted, so there is nothing to write
	if n.cfg.Trail != nil {
		n.cfg.Trail.Deactivate()
	}
	n.replica.Notify()
}

// errLeftBehind explains why a standby under a Shamir seal cannot follow.
var errLeftBehind = errors.New("the root key was replaced while this node was unavailable, and it can no longer " +
	"fetch the new one: seal this node and unseal it with the current shares")

// errRestoring is why a standby serves nothing while a snapshot replaces all data.
var errRestoring = errors.New("a snapshot is replacing the data")

// errRecorded is why a standby reads everything again once its leader has written to the
// transcript.
var errRecorded = errors.New("the transcript has a new record, which may be the one that this node waits for")

// Standby implements ha.Host.
func (h replicaHost) Standby(ctx context.Context, f *ha.Follower) (role ha.Role, err error) {
	n := h.n
	if st, err := snapshot.Pending(ctx, n.cfg.Store); err != nil || st != nil {
		return nil, errors.Join(err, errRestoring)
	}
	(integrity{n}).checkCommits(ctx)
	trusted := n.state.Load()
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	defer (replicaHost{n}).keepTrusted(trusted, &err)
	b, err := h.enter(ctx, 0)
	if errors.Is(err, barrier.ErrWrongRoot) && n.seals.Load().NeedsShares() {
		n.change(func(f *nodeState) { f.trouble = errLeftBehind })
	}
	if err != nil {
		return nil, err
	}
	a, err := n.assemble(ctx, b, true)
	if err != nil {
		return nil, errors.Join(err, b.Seal(ended))
	}
	a.inflight, a.follower = ha.NewInflight(), f
	if a.unrecorded, err = BreakGlassOf(n).held(ctx, b); err != nil {
		return nil, errors.Join(err, a.Close(ended))
	}
	return a, nil
}

// Lead implements ha.Host.
func (h replicaHost) Lead(ctx context.Context, l storage.Leadership) (role ha.Role, err error) {
	n := h.n
	(integrity{n}).checkCommits(ctx)
	if err := h.finishInterrupted(ctx, l.Epoch()); err != nil {
		return nil, err
	}
	trusted := n.state.Load()
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	defer (replicaHost{n}).keepTrusted(trusted, &err)
	b, err := h.enter(ctx, l.Epoch())
	if err != nil {
		return nil, err
	}
	b.Fence(l.Epoch())
	a, err := n.assemble(ctx, b, false)
	if err != nil {
		return nil, errors.Join(err, b.Seal(ended))
	}
	a.leadership, a.inflight = l, ha.NewInflight()
	if err := (restorer{n}).rotate(ctx, b); err != nil {
		return nil, errors.Join(err, a.Close(ended))
	}
	return a, nil
}

// Publish implements ha.Host.
func (h replicaHost) Publish(next ha.Role) (previous ha.Role) {
	a, _ := next.(*RoleState)
	h.n.trials.due.Store(true)
	if a != nil && a.leadership != nil {
		h.n.ceremonies.StartKeeping()
		h.n.poke() // do at once what is due
	}
	h.n.ceremonies.Grants.Forget()
	h.n.ceremonies.Enrolment.Forget()
	if old := h.n.glass.publish(h.n, a); old != nil {
		return old
	}
	return nil
}

// enter opens a barrier for a role from the keys that the node has. Where another node has replaced
// the root key, it gets the new one: handed over, or from seals that need no shares. The caller
// holds transition and has loaded the state.
func (h replicaHost) enter(ctx context.Context, epoch uint64) (*barrier.Barrier, error) {
	n := h.n
	keys := n.core.Load()
	if keys == nil {
		return nil, barrier.FaultSealed
	}
	err := keys.Reload(ctx)
	if errors.Is(err, barrier.ErrWrongRoot) && !n.seals.Load().NeedsShares() {
		if keys, err = h.unwrapNewRoot(ctx); err == nil {
			n.core.Store(keys)
		} else if n.glass.broken.Load() {
			n.glass.left.Store(true)
			n.poke()
		}
	}
	if err != nil {
		return nil, err
	}
	b, err := keys.Clone(ha.Fence(n.cfg.Store, epoch))
	if err != nil {
		return nil, err
	}
	if err := b.Reload(ctx); err != nil {
		return nil, errors.Join(err, b.Seal(ended))
	}
	return b, nil
}

// unwrapNewRoot asks the seals for the root key that another node has made.
func (h replicaHost) unwrapNewRoot(ctx context.Context) (*barrier.Barrier, error) {
	n := h.n
	record := n.state.Load().record
	root, err := n.seals.Load().Unwrap(ctx, record, nil)
	if err != nil {
		return nil, err
	}
	defer root.Destroy()
	b := barrier.New(ha.Fence(n.cfg.Store, 0), n.barrierOptions())
	if err := b.Unseal(ctx, root, record.Generation); err != nil {
		return nil, err
	}
	n.log.Info("another node replaced the root key; the seals unwrapped the new one", "generation", record.Generation)
	return b, nil
}

// Apply implements ha.Host.
func (h replicaHost) Apply(ctx context.Context, r ha.Role, key string) error {
	a := r.(*RoleState) //nolint:forcetypeassert // the roles are this package's
	switch {
	case key == snapshot.StateKey:
		return errRestoring
	case key == barrier.KeyringPath:
		return h.followKeyring(ctx, a)
	case key == keySealed, key == keyShareCounts, strings.HasPrefix(key, pathShareSet):
		return h.followState(ctx, a)
	case strings.HasPrefix(key, pathSealKeys):
		return loadPastSeals(ctx, h.n, a.barrier)
	case strings.HasPrefix(key, pathTrials):
		h.n.trials.check()
	case key == ceremony.TranscriptHeadPath && a.unrecorded:
		return errRecorded
	case strings.HasPrefix(key, "core/"):
		return h.applyCore(ctx, a, key)
	case strings.HasPrefix(key, "auth/"):
		a.tokens.Forget(key)
	default:
		a.mounts.Invalidate(key)
	}
	return nil
}

// followKeyring takes over another node's change of the keyring, also in the keys that the next
// role of this node begins with: a term that was retired is in no memory.
func (h replicaHost) followKeyring(ctx context.Context, a *RoleState) error {
	if err := a.barrier.Reload(ctx); err != nil {
		return err
	}
	token.ForgetBatch(a.tokens)
	if core := h.n.core.Load(); core != nil {
		return core.Reload(ctx)
	}
	return nil
}

func (h replicaHost) applyCore(ctx context.Context, a *RoleState, key string) error {
	switch {
	case a.mounts.Holds(key):
		return a.mounts.Reload(ctx)
	case a.authMethods.Holds(key):
		return a.authMethods.Reload(ctx)
	case h.n.cfg.Trail != nil && h.n.cfg.Trail.Holds(key):
		return h.n.cfg.Trail.Follow(ctx, a.barrier)
	case strings.HasPrefix(key, device.Prefix):
		if a.devices != nil {
			a.devices.Invalidate(key)
		}
	case strings.HasPrefix(key, "core/config/"), strings.HasPrefix(key, "core/quotas/"):
		a.settings.Add(1)
	}
	a.tokens.Forget(key)
	return nil
}

// followState takes over another node's change of the seals or of the share holders.
func (h replicaHost) followState(ctx context.Context, a *RoleState) (err error) {
	n := h.n
	n.transition.Lock()
	defer n.transition.Unlock()
	before := n.state.Load()
	if err := n.load(ctx); err != nil {
		return err
	}
	defer (replicaHost{n}).keepTrusted(before, &err)
	after := n.state.Load().record
	if after != nil && before.record != nil && after.Generation != before.record.Generation {
		return fmt.Errorf("the root key was replaced: %w", barrier.ErrWrongRoot)
	}
	return n.identify(ctx, a.barrier)
}

// keepTrusted takes back what was loaded from outside the barrier, where it was not found to be
// attested: nothing that authorises or receives a key may come from there while the node is
// unsealed.
func (h replicaHost) keepTrusted(before *nodeState, err *error) {
	n := h.n
	if *err != nil {
		n.change(func(f *nodeState) {
			trouble := f.trouble
			*f = *before
			f.trouble = trouble
		})
	}
}

// suspend ends what answers while this node stays the leader: a restore writes under its epoch. The
// caller holds transition.
func (h replicaHost) suspend(ctx context.Context, a *RoleState) error {
	n := h.n
	if !n.Clustered() {
		return n.deactivate(ctx)
	}
	n.role.CompareAndSwap(a, nil)
	a.inflight.Close()
	n.replica.Notify()
	return a.Close(ended) // its counts are of data that is replaced
}

// leave ends the roles of a suspended node and forgets its keys. The audit trail stays as it is
// until the next role, for the answer to the request that caused this. The caller holds transition:
// a leader's role that is suspended does not wait for it.
func (h replicaHost) leave() {
	n := h.n
	if !n.Clustered() {
		return
	}
	n.replica.Stop()
	if core := n.core.Swap(nil); core != nil {
		_ = core.Seal(ended) // it never encrypted, so there is nothing to write
	}
	n.replica.Notify()
}

// finishInterrupted finishes the restore of a snapshot that another leader left unfinished.
func (h replicaHost) finishInterrupted(ctx context.Context, epoch uint64) error {
	n := h.n
	st, err := snapshot.Pending(ctx, n.cfg.Store)
	if err != nil || st == nil {
		return err
	}
	n.log.Warn("continuing an interrupted restore of a snapshot",
		"cluster", st.Meta.ClusterName, "taken", st.Meta.Created)
	return snapshot.Finish(ctx, n.cfg.Store, epoch)
}
