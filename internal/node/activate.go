package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/cosigner"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// errShareSet is returned when the share set in the sealed record is not the one behind the
// barrier.
var errShareSet = errors.New("node: the record of who holds the unseal shares was changed outside this program")

// activate builds what requests need on an open barrier and publishes it. The caller holds
// transition. On failure the barrier is closed again and the node stays sealed.
func (n *Node) activate(ctx context.Context, b *barrier.Barrier) error {
	n.glass.forget()
	n.glass.broken.Store(false)
	if n.Clustered() {
		return (replicaHost{n}).join(ctx, b)
	}
	a, err := n.assemble(ctx, b, false)
	if err != nil {
		return errors.Join(barrier.Fault(err, "the node could not become active"), b.Seal(ctx))
	}
	if err := (restorer{n}).rotate(ctx, b); err != nil {
		n.log.Error("the data came from a snapshot, and the barrier key could not be rotated; "+
			"it is tried again at the next unseal", "error", err)
	}
	n.ceremonies.StartKeeping()
	n.role.Store(a)
	n.log.Info("unsealed and active", "cluster", n.state.Load().clusterName,
		"term", b.KeyStatus().Term, "generation", b.RootGeneration())
	return nil
}

// assemble opens everything behind the barrier. A standby's role has no workers and writes nothing.
func (n *Node) assemble(ctx context.Context, b *barrier.Barrier, standby bool) (_ *RoleState, err error) {
	defer n.cfg.Metrics.Timer("core.post_unseal").Since(time.Now())
	if !standby {
		if err := b.LoadCensus(ctx); err != nil {
			return nil, err
		}
	}
	if err := n.identify(ctx, b); err != nil {
		return nil, err
	}
	devices, engines := openDevices(n.cfg, b)
	mounts, err := mount.Open(ctx, b, mount.Options{Factories: engines, Rand: n.cfg.Rand, Log: n.log})
	if err != nil {
		return nil, err
	}
	tokens, err := token.Open(ctx, b, token.Options{
		Now: n.cfg.Now, Log: n.log, Rand: n.cfg.Rand, Ended: mounts.RemoveTokenData, Metrics: n.cfg.Metrics,
	})
	if err != nil {
		return nil, err
	}
	authMethods, err := n.openAuthMethods(ctx, b, tokens)
	if err != nil {
		return nil, err
	}
	closeTrail, err := openTrail(ctx, n.cfg.Trail, b, standby)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			closeTrail()
		}
	}()
	if err := loadPastSeals(ctx, n, b); err != nil {
		return nil, barrier.Fault(err, "the keys that seals had before could not be read")
	}
	a := &RoleState{barrier: b, tokens: tokens, mounts: mounts, authMethods: authMethods, devices: devices,
		stop: func() {}, cosigner: cosigner.New(cosigner.Config{Ceremonies: n.ceremonies, Barrier: b, Devices: devices,
			Mounts: mounts.List, Log: n.log, Now: n.cfg.Now})}
	if !standby {
		if err := (integrity{n}).upgradeAttestation(ctx, b); err != nil {
			return nil, err
		}
		if err := (snapshotSigner{n}).ensure(ctx, b); err != nil {
			return nil, err
		}
	}
	if err := (integrity{n}).checkAnchor(ctx, b); err != nil {
		return nil, err
	}
	if !standby {
		if err := BreakGlassOf(n).recordPending(ctx, a); err != nil {
			return nil, err
		}
		warnWithoutShares(n)
		startWorkers(n, a)
	}
	return a, nil
}

// openTrail makes the audit trail use the devices of a role. closeTrail undoes that, where the role
// is not taken after all; the devices of a standby stay, for its next attempt.
func openTrail(ctx context.Context, t *audit.Trail, b *barrier.Barrier, standby bool) (closeTrail func(), err error) {
	switch {
	case t == nil:
		return func() {}, nil
	case standby:
		return func() {}, t.Follow(ctx, b)
	default:
		return t.Deactivate, t.Activate(ctx, b)
	}
}

// startWorkers starts what the active node does in the background.
func startWorkers(n *Node, a *RoleState) {
	a.rewrap = newDataRewrap(n, a.barrier, a.tokens)
	workers := []func(context.Context){a.mounts.Run, a.authMethods.Run, a.tokens.Run, a.rewrap.run, a.rewrap.keepCensus}
	if a.devices != nil {
		workers = append(workers, a.devices.Run, a.cosigner.Run)
	}
	a.stop = start(append(workers, n.snapshots.worker(a.barrier))...)
}

// warnWithoutShares says at each start that dual control is off: no quorum can authorise anything.
func warnWithoutShares(n *Node) {
	if n.state.Load().shareSet == nil {
		n.log.Warn("nobody holds shares of this store, so no quorum authorises raw storage access and restores by force: " +
			"one token is enough where the configuration allows them; make recovery shares with `sealgate operator " +
			"rotate-keys -target=recovery -init`")
	}
}

// openDevices opens the registry of a role, and the engines that use it.
func openDevices(cfg Config, b *barrier.Barrier) (*device.Registry, map[string]mount.Factory) {
	if cfg.Devices == nil {
		return nil, cfg.Engines
	}
	r := cfg.Devices.Open(b)
	engines := maps.Clone(cfg.Engines)
	for kind, factory := range cfg.DeviceEngines {
		engines[kind] = factory(r)
	}
	return r, engines
}

// identify reads what the store says of itself behind the barrier, and refuses a store whose
// records are not the attested ones.
func (n *Node) identify(ctx context.Context, b *barrier.Barrier) error {
	c, err := (integrity{n}).attested(ctx, b)
	if err != nil {
		return err
	}
	if c.Attested != nil && !sameDigest(c.Attested.Record, n.state.Load().recordDigest) {
		if err := n.load(ctx); err != nil { // another node has changed the record since it was loaded
			return err
		}
	}
	shareSet, err := n.trustedShareSet(ctx, b)
	if err != nil {
		return err
	}
	enrolled := shareSet.Decrypts()
	shareSet.DestroyKeys() // they are read again where they are needed
	n.tampered.Store(nil)
	n.change(func(f *nodeState) {
		f.clusterName, f.shareSet, f.breakGlass, f.trouble = c.Name, shareSet, enrolled, nil
	})
	return nil
}

// start runs each function in a goroutine of its own. stop ends them and waits for them.
func start(all ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(func() { f(ctx) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// trustedShareSet reads who holds the shares from behind the barrier, and compares it with the copy
// in the sealed record: an attacker who could change that copy could have the next root key wrapped
// to himself. It has secret keys, which the caller destroys.
func (n *Node) trustedShareSet(ctx context.Context, b *barrier.Barrier) (*recovery.ShareSet, error) {
	target := recovery.Recovery
	plain := n.state.Load().record.ShareSet
	if len(plain) > 0 {
		target = recovery.Barrier
	}
	raw, err := b.Get(ctx, pathShareSet+target.String())
	switch {
	case errors.Is(err, storage.ErrNotFound) && len(plain) == 0:
		return nil, nil // initialised without recovery shares
	case err != nil:
		return nil, fmt.Errorf("reading who holds the shares: %w", err)
	}
	defer clear(raw) // it has keys
	shareSet, err := recovery.UnmarshalShareSet(raw)
	if err != nil {
		return nil, err
	}
	if len(plain) > 0 && !bytes.Equal(shareSet.Public().Marshal(), plain) {
		return nil, fmt.Errorf("%w; restore storage entry %s from a backup", errShareSet, keySealed)
	}
	return shareSet, nil
}

// openAuthMethods opens the table of auth methods, and makes it in a store that was initialised
// before there was one. When a method is disabled, its tokens are revoked, also after a crash in
// between.
func (n *Node) openAuthMethods(ctx context.Context, b *barrier.Barrier, tokens *token.Store) (*mount.Table, error) {
	o := mount.Options{
		Factories: n.cfg.AuthMethods, Rand: n.cfg.Rand, Log: n.log, Now: n.cfg.Now, AuthMethods: true,
		Gone: func(ctx context.Context, path string, at time.Time) error {
			return tokens.RevokePath(ctx, "auth/"+path, at)
		},
	}
	t, err := mount.Open(ctx, b, o)
	if !errors.Is(err, storage.ErrNotFound) {
		return t, err
	}
	ops, err := mount.FormatAuth(n.cfg.Rand)
	if err != nil {
		return nil, err
	}
	if err := b.Commit(ctx, storage.Batch{Ops: ops}); err != nil {
		return nil, err
	}
	return mount.Open(ctx, b, o)
}
