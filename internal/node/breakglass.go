package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

// BreakGlass unseals a node whose seals have failed with the recovery shares of a quorum that is
// enrolled:
//
//	sealed, the seals failed ──share──▶ collecting ──last share──▶ root key decrypted, barrier open
//	                                                                     │ record of the transcript
//	                                                                     ▼
//	                                                                  serving
//
// The record of who did it is committed before the node serves a request: by the node itself where
// it writes, else by the leader that it announces itself to.
//
// An attempt is in the memory of one node, as for unseal shares. The setting break_glass of that
// node allows it: the record that says whose shares count is outside the barrier, and an
// attacker who can replace the whole storage could make the node serve his own that way.
type BreakGlass struct{ n *Node }

// BreakGlassOf returns the break-glass of a node.
func BreakGlassOf(n *Node) BreakGlass { return BreakGlass{n} }

// glassBreaker is the state of a node's break-glass.
type glassBreaker struct {
	attempt atomic.Pointer[glassAttempt]      // stored under transition
	pending atomic.Pointer[transcript.Record] // of the unseal, until the transcript has it
	waiting atomic.Pointer[RoleState]         // a standby's role that serves nothing until then
	broken  atomic.Bool                       // no seal unsealed this node, but shares did
	left    atomic.Bool                       // and its root key was replaced since: see sealLeftBehind
}

// glassRecord is the stored break-glass record, with the share set in it. Neither is authentic
// before the record opens.
type glassRecord struct {
	*recovery.BreakGlass
	shareSet *recovery.ShareSet
}

// glassAttempt is the shares given so far. It is immutable but for the shares.
type glassAttempt struct {
	record   *glassRecord
	ceremony *recovery.Ceremony
	shares   *recovery.Unsealing
}

// readGlass reads the break-glass record. One that cannot be decoded counts as none: a node must
// start and unseal with its seals whatever it holds.
func readGlass(ctx context.Context, s storage.Store) (*glassRecord, error) {
	raw, err := s.Get(ctx, keyBreakGlass)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storageFault(err, "the storage cannot be read")
	}
	r, of, err := recovery.UnmarshalBreakGlass(raw)
	if err != nil {
		return nil, nil
	}
	return &glassRecord{r, of}, nil
}

// forget destroys the shares given so far. The caller holds transition.
func (g *glassBreaker) forget() {
	if a := g.attempt.Swap(nil); a != nil {
		a.shares.Reset()
	}
}

// BreakGlassStatus is the public state of a sealed node's break-glass.
type BreakGlassStatus struct {
	Sealed           bool
	Allowed          bool // by the configuration of this node
	Enrolled         bool // there is a record that shares could open; false once unsealed
	Shares, Required int
	Progress         int
	Nonce            string
	Generation       uint64 // of the share set
	UnsealedByShares bool   // this node was unsealed by break-glass, and no seal would unseal it now
}

// Status returns the state of the attempt, from memory alone.
func (g BreakGlass) Status() BreakGlassStatus {
	n := g.n
	f := n.state.Load()
	st := BreakGlassStatus{Sealed: n.sealed(), Allowed: n.cfg.BreakGlass, UnsealedByShares: n.unsealedByShares()}
	if !st.Sealed || f.glass == nil {
		return st
	}
	st.Enrolled, st.Shares, st.Required = true, f.glass.shareSet.Shares, f.glass.shareSet.Threshold
	st.Generation = f.glass.shareSet.Generation
	if a := n.glass.attempt.Load(); a != nil && !a.ceremony.Expired(n.cfg.Now()) {
		st.Progress, st.Nonce = a.ceremony.Progress(), a.ceremony.Nonce
	}
	return st
}

// unsealedByShares reports whether only break-glass could unseal this node again.
func (n *Node) unsealedByShares() bool {
	return n.glass.broken.Load() && !n.sealed() && !n.seals.Load().WouldUnseal()
}

// brokenText is the warning of a node that only break-glass could unseal.
const brokenText = "this server was unsealed by break-glass, and no seal would unseal it again: add a " +
	"seal that works in " +
	"place of the lost ones (sealgate operator seals add NAME -replaces=LOST), or make a new key under the configured " +
	"name and rotate the root key (sealgate write -f sys/rotate/root)"

// allowed refuses break-glass on a node that it is not for.
func (g BreakGlass) allowed(f *nodeState) error {
	n := g.n
	switch {
	case f.record == nil:
		return fault.New(fault.Invalid, "Vault is not initialized")
	case len(f.record.ShareSet) > 0:
		return fault.New(fault.Invalid, "the shares of this server unseal it: run `sealgate operator unseal`")
	case !n.cfg.BreakGlass:
		return fault.New(fault.Denied, "the configuration of this node does not allow break-glass: set break_glass = true "+
			"in it and restart the node, which is sealed anyway")
	case f.trouble == nil:
		return fault.New(fault.Unavailable, "the seals of this node have not failed: break-glass is for the loss of every "+
			"seal; wait until they were tried")
	case f.glass == nil:
		return fault.New(fault.Invalid, "nobody is enrolled for break-glass: the recovery shares of this server decrypt "+
			"nothing; only its seals open the data")
	case f.glass.Cluster != f.record.Cluster || f.glass.Generation != f.record.Generation:
		return fault.New(fault.Invalid, "the break-glass record is of another root key than the sealed record: the storage "+
			"was changed, or restored in part; restore both entries (%s, %s) from one backup", keySealed, keyBreakGlass)
	case n.migration.pending():
		return fault.New(fault.Invalid, "a seal migration is pending; restart the node without it first")
	}
	return nil
}

// Give takes one recovery share. With the last one the node is unsealed. A wrong share is refused
// at once and leaves the others as they are.
func (g BreakGlass) Give(ctx context.Context, share *secret.Bytes) error {
	n := g.n
	if err := g.judge(ctx, share); err != nil || !n.sealed() {
		return err
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	if !n.sealed() {
		return nil
	}
	if err := n.loadVacant(ctx); err != nil {
		return err
	}
	a, err := g.collecting()
	if err != nil {
		return err
	}
	next := a.ceremony.Clone()
	number, err := next.Give(a.record.shareSet, next.Nonce, share, n.cfg.Now())
	if errors.Is(err, recovery.ErrShareRepeated) {
		return nil
	}
	if err != nil {
		return ceremony.ShareFault(err)
	}
	ceremony.Attribute(ctx, a.record.shareSet, number)
	key, err := a.shares.Give(share)
	if err != nil {
		return ceremony.ShareFault(err)
	}
	n.log.Warn("a share for break-glass was given", "share", number, "progress", next.Progress(),
		"required", next.Required)
	if key == nil {
		n.glass.attempt.Store(&glassAttempt{a.record, next, a.shares})
		return nil
	}
	defer key.Destroy()
	n.glass.forget()
	return g.open(ctx, a.record, next, key)
}

// judge refuses a wrong share without a lock, as far as the share set is known.
func (g BreakGlass) judge(ctx context.Context, share *secret.Bytes) error {
	f := g.n.state.Load()
	if !g.n.sealed() || !f.known {
		return nil
	}
	if err := g.allowed(f); err != nil {
		return err
	}
	number, err := f.glass.shareSet.Identify(share)
	if err != nil {
		return ceremony.ShareFault(err)
	}
	ceremony.Attribute(ctx, f.glass.shareSet, number)
	return nil
}

// attemptTime is how long holders have for an attempt.
const attemptTime = recovery.DefaultExpiry

// collecting returns the current attempt, or begins one. The caller holds transition and has loaded
// the state.
func (g BreakGlass) collecting() (*glassAttempt, error) {
	n, f := g.n, g.n.state.Load()
	if err := g.allowed(f); err != nil {
		return nil, err
	}
	a := n.glass.attempt.Load()
	if a != nil && !a.ceremony.Expired(n.cfg.Now()) && slices.Equal(a.record.Tag, f.glass.Tag) {
		return a, nil
	}
	n.glass.forget()
	c, err := recovery.Start(recovery.PurposeBreakGlass, f.glass.shareSet, recovery.Params{}, recovery.Origin{
		Now: n.cfg.Now(), Rand: n.cfg.Rand, Expiry: attemptTime,
	})
	if err != nil {
		return nil, ceremony.StartFault(recovery.PurposeBreakGlass, err)
	}
	return &glassAttempt{f.glass, c, recovery.NewUnsealing(f.glass.shareSet, n.cfg.Rand)}, nil
}

// Cancel ends the attempt and forgets its shares. It takes a share: no other client ends the
// work of a quorum.
func (g BreakGlass) Cancel(ctx context.Context, share *secret.Bytes) error {
	n := g.n
	if err := g.judge(ctx, share); err != nil {
		return err
	}
	n.transition.Lock()
	defer n.transition.Unlock()
	a := n.glass.attempt.Load()
	if a == nil {
		return nil
	}
	number, err := a.record.shareSet.Identify(share)
	if err != nil {
		return ceremony.ShareFault(err)
	}
	n.glass.forget()
	n.log.Warn("an attempt of break-glass was cancelled", "by_share", number)
	return nil
}

// open decrypts the root key and opens the barrier. The caller holds transition.
func (g BreakGlass) open(ctx context.Context, r *glassRecord, c *recovery.Ceremony, key *secret.Bytes) error {
	n := g.n
	if err := (integrity{n}).checkPin(); err != nil {
		return err
	}
	f := n.state.Load()
	root, err := r.Open(key)
	if err == nil {
		err = f.record.VerifyRoot(root)
	}
	if err != nil {
		root.Destroy()
		n.log.Error("ALARM: a quorum gave its shares for break-glass, and the stored records are not those of this server",
			"error", err)
		return fault.Wrap(err, fault.Internal, "nothing was opened: somebody changed the storage entries %s or %s; find "+
			"out who can write the storage, and restore both from one backup", keySealed, keyBreakGlass)
	}
	defer root.Destroy()
	b := barrier.New(n.cfg.Store, n.barrierOptions())
	if err := b.Unseal(ctx, root, f.record.Generation); err != nil {
		return barrier.Fault(err, "the root key was decrypted, but the keyring could not be opened")
	}
	if err := g.trusted(ctx, b, r); err != nil {
		return errors.Join(err, b.Seal(ended))
	}
	record := g.record(c, r.shareSet, f.trouble)
	n.glass.pending.Store(&record)
	if err := n.activate(ctx, b); err != nil {
		n.glass.pending.Store(nil)
		return sealFault(err, "the shares are right, but the node could not be unsealed")
	}
	n.held = false
	n.glass.broken.Store(true)
	n.log.Warn("ALARM: a quorum of recovery shares unsealed this server by break-glass, without any of its seals",
		"holders", strings.Join(c.GivenBy(r.shareSet), ", "))
	n.poke()
	return nil
}

// trusted refuses shares that are not enrolled by what is behind the barrier.
func (g BreakGlass) trusted(ctx context.Context, b *barrier.Barrier, r *glassRecord) error {
	shareSet, err := enrolledSet(ctx, b, nil, false)
	if err != nil {
		return barrier.Fault(err, "the record of who holds the shares could not be read")
	}
	defer shareSet.DestroyKeys()
	record := g.n.state.Load().record
	if !r.Holds(record.Cluster, record.Generation, shareSet) {
		return fault.New(fault.Denied, "the enrolment of these shares for break-glass has ended, and somebody put its "+
			"record back; nothing was opened")
	}
	return nil
}

// record is the record of the transcript. The ceremony is the one that the last share completed.
func (g BreakGlass) record(c *recovery.Ceremony, shareSet *recovery.ShareSet, why error) transcript.Record {
	n := g.n
	r := transcript.Of(c, shareSet)
	r.Cluster, r.Outcome, r.Finished = n.state.Load().record.Cluster, transcript.Completed, n.cfg.Now()
	_, cause, _ := diagnosis(why)
	r.Reason = cut(fmt.Sprintf("unsealed node %s without its seals, which had failed: %s", n.selfName(), cause))
	return r
}

// recordPending commits the record of a break-glass unseal, before the node serves. The role
// writes.
func (g BreakGlass) recordPending(ctx context.Context, a *RoleState) error {
	n := g.n
	record := n.glass.pending.Load()
	if record == nil {
		return nil
	}
	if err := g.append(ctx, a, *record); err != nil {
		return barrier.Fault(err, "the unseal by break-glass could not be recorded, so the node does not serve")
	}
	n.glass.pending.Store(nil)
	return nil
}

// hint says in the status of a sealed node that shares could unseal it.
func (g BreakGlass) hint(f *nodeState) string {
	n := g.n
	if !n.sealed() || f.glass == nil || f.trouble == nil || seals.ClassOf(f.trouble) == "" {
		return ""
	}
	text := fmt.Sprintf("%d of %d recovery shares can unseal this server when its seals are lost: sealgate operator "+
		"break-glass", f.glass.shareSet.Threshold, f.glass.shareSet.Shares)
	if !n.cfg.BreakGlass {
		text += "; set break_glass = true in its configuration and restart it first"
	}
	return text
}
