package node

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// Starter is who starts or cancels a ceremony. The zero value is somebody without a token.
type Starter struct{ Accessor, DisplayName string }

// String names the starter for records and logs.
func (s Starter) String() string {
	if s.Accessor == "" {
		return "somebody without a token"
	}
	return fmt.Sprintf("%s (accessor %s)", s.DisplayName, s.Accessor)
}

// Every ceremony is stored behind the barrier after each step, at core/ceremony/ and its purpose: one at a time for each
// purpose. Memory holds none, so that a restart or another leader goes on with it.
func ceremonyPath(p recovery.Purpose) string { return pathCeremony + string(p) }

// words are how clients know the ceremonies.
var words = map[recovery.Purpose]struct{ running, none string }{
	recovery.PurposeRekeyBarrier:  {"rekey already in progress", "no barrier rekey in progress"},
	recovery.PurposeRekeyRecovery: {"rekey already in progress", "no recovery rekey in progress"},
	recovery.PurposeGenerateRoot:  {"root generation already in progress", "no root generation in progress"},
}

// begin starts a ceremony and stores it. The caller holds transition.
func (n *Node) begin(ctx context.Context, b *barrier.Barrier, p recovery.Purpose, params recovery.Params, by Starter) (*recovery.Ceremony, error) {
	running, err := n.readCeremony(ctx, b, p)
	if err != nil {
		return nil, err
	}
	if running != nil {
		return nil, fault.New(fault.Invalid, "%s", words[p].running)
	}
	o := recovery.Origin{By: by.DisplayName, Accessor: by.Accessor, Now: n.cfg.Now(), Rand: n.cfg.Rand, Expiry: n.cfg.Timing.Ceremony}
	if by == (Starter{}) {
		o.Expiry = min(tokenlessExpiry, o.Expiry)
	}
	c, err := recovery.Start(p, n.state.Load().shareSet, params, o)
	if err != nil {
		return nil, startFault(p, err)
	}
	tx := b.Begin()
	tx.Put(ceremonyPath(p), c.Marshal())
	tx.Delete(answerPath(p))
	if err := n.overtake(ctx, b, tx, p); err != nil {
		return nil, err
	}
	if err := tx.Commit(ctx); err != nil {
		return nil, storeFault(err, "it could not be started")
	}
	n.log.Info("ceremony started", "purpose", string(p), "by", by.String(), "shares", c.Params.Shares, "threshold", c.Params.Threshold)
	return c, nil
}

// startFault gives the contract's words for parameters that cannot be.
func startFault(p recovery.Purpose, err error) error {
	switch {
	case errors.Is(err, recovery.ErrShape):
		return misconfigured(p, err)
	case errors.Is(err, recovery.ErrParams), errors.Is(err, recovery.ErrPurpose):
		return fault.New(fault.Invalid, "%v", err)
	}
	return err
}

// misconfigured puts the contract's words before what is wrong with new shares.
func misconfigured(p recovery.Purpose, err error) error {
	what := "recovery"
	if p == recovery.PurposeRekeyBarrier {
		what = "rekey seal"
	}
	return fault.Wrap(err, fault.Invalid, "invalid %s configuration: %v", what, err)
}

// cancel ends a ceremony, if there is one, and keeps a record of who did. A nonce says which one is meant, and no other is ended; ""
// means whichever is under way. Somebody without a token ends only what was started without one, and must know the nonce.
func (n *Node) cancel(ctx context.Context, p recovery.Purpose, nonce string, by Starter) error {
	n.transition.Lock()
	defer n.transition.Unlock()
	a, err := n.Role()
	if err != nil {
		return err
	}
	running, err := n.readCeremony(ctx, a.barrier, p)
	if err != nil || running == nil {
		return err
	}
	if err := mayCancel(running, nonce, by); err != nil {
		return err
	}
	tx := a.barrier.Begin()
	tx.Delete(ceremonyPath(p))
	tx.Delete(answerPath(p))
	if err := n.transcribe(ctx, a.barrier, tx, running, ending{outcome: transcript.Cancelled, by: by}); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return storeFault(err, "it could not be cancelled")
	}
	n.log.Info("ceremony cancelled", "purpose", string(p), "by", by.String(), "progress", running.Progress())
	return nil
}

func mayCancel(c *recovery.Ceremony, nonce string, by Starter) error {
	named := subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(nonce)) == 1
	tokenless := by == Starter{}
	switch {
	case tokenless && c.StartedAccessor != "":
		return fault.New(fault.Denied, "permission denied: this was started with a token, and cancelling it needs one")
	case tokenless && !named:
		return fault.New(fault.Denied, "permission denied: cancelling needs a token or, since this was started without one, its nonce in the body")
	case nonce != "" && !named:
		return fault.New(fault.Invalid, "incorrect nonce supplied: another operation is in progress than the one to be cancelled")
	}
	return nil
}

// readCeremony returns the ceremony under way for a purpose. There is none where its time is over, or where the shares that
// were to authorise it were replaced meanwhile: the next one overwrites what is left of it.
func (n *Node) readCeremony(ctx context.Context, b *barrier.Barrier, p recovery.Purpose) (*recovery.Ceremony, error) {
	c, err := n.readStored(ctx, b, p)
	if err != nil || c == nil || n.lapsed(c) {
		return nil, err
	}
	return c, nil
}

// readStored returns what is stored for a purpose, lapsed or not; nil where nothing is.
func (n *Node) readStored(ctx context.Context, b *barrier.Barrier, p recovery.Purpose) (*recovery.Ceremony, error) {
	raw, err := b.Get(ctx, ceremonyPath(p))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, storeFault(err, "the operation under way could not be read")
	}
	c, err := recovery.UnmarshalCeremony(raw)
	if err != nil {
		return nil, fmt.Errorf("node: entry %s: %w", ceremonyPath(p), err)
	}
	return c, nil
}

// lapsed reports whether a ceremony can no longer come to its end.
func (n *Node) lapsed(c *recovery.Ceremony) bool {
	if c.Expired(n.cfg.Now()) {
		return true
	}
	shareSet := n.state.Load().shareSet
	if c.Required == 0 {
		return shareSet != nil
	}
	return shareSet == nil || shareSet.ID != c.ShareSet
}

// look judges a share without changing anything and without a lock: a flood of wrong ones cannot hold up a right one. Where
// the ceremony is over it returns the kept answer, if it is this share's.
func (n *Node) look(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) (*answer, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	c, err := n.readCeremony(ctx, a.barrier, p)
	if err != nil {
		return nil, err
	}
	if c == nil || c.Phase == recovery.Verifying {
		kept, err := n.readAnswer(ctx, a.barrier, p)
		if err != nil {
			return nil, err
		}
		if kept != nil && kept.is(nonce, share) {
			n.log.Info("the answer of the last share was given again", "purpose", string(p), "share", kept.number)
			tell(ctx, kept.authority, kept.number)
			return kept, nil
		}
	}
	switch {
	case c == nil:
		return nil, fault.New(fault.Invalid, "%s", words[p].none)
	case c.Phase == recovery.Verifying:
		return nil, fault.New(fault.Invalid, "rekey operation already finished; verification must be performed: the new shares are to be given with the verification's nonce")
	}
	shareSet := n.state.Load().shareSet
	number, err := c.Give(shareSet, nonce, share, n.cfg.Now())
	if err != nil {
		return nil, giveFault(err)
	}
	tell(ctx, shareSet, number)
	return nil, nil
}

// take accepts a share that look found right. It returns the ceremony with the share in it, not stored yet. The caller holds transition.
func (n *Node) take(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) (*RoleState, *recovery.Ceremony, error) {
	a, err := n.Role()
	if err != nil {
		return nil, nil, err
	}
	c, err := n.readCeremony(ctx, a.barrier, p)
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		return nil, nil, fault.New(fault.Invalid, "%s", words[p].none)
	}
	if _, err := c.Give(n.state.Load().shareSet, nonce, share, n.cfg.Now()); err != nil {
		return nil, nil, giveFault(err)
	}
	return a, c, nil
}

// keep stores a ceremony to which a share was added, and that its holder has proven it.
func (n *Node) keep(ctx context.Context, b *barrier.Barrier, c *recovery.Ceremony) error {
	tx := b.Begin()
	tx.Put(ceremonyPath(c.Purpose), c.Marshal())
	if err := n.noteProven(ctx, b, tx, c.Given[len(c.Given)-1].Number); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return storeFault(err, "the share could not be recorded; give it again")
	}
	n.log.Info("share given", "purpose", string(c.Purpose), "share", c.Given[len(c.Given)-1].Number,
		"progress", c.Progress(), "required", c.Required)
	return nil
}

// giveFault is for the holder of a share: all that can go wrong is the request's fault, and none of the texts tells the nonce.
func giveFault(err error) error { return fault.Wrap(err, fault.Invalid, "%v", err) }
