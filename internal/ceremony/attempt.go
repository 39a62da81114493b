package ceremony

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// Starter is the client that starts or cancels a ceremony. The zero value is a client without a
// token.
type Starter struct {
	Accessor, DisplayName string
	Root                  bool // the token has the root policy
}

// String names the starter for the log.
func (s Starter) String() string {
	if s.Accessor == "" {
		return "a client without a token"
	}
	return fmt.Sprintf("%s (accessor %s)", s.DisplayName, s.Accessor)
}

// Expiry of a ceremony that a client without a token started. That must be possible, because all
// tokens may be lost, but it must not block others for long: until a share is given, it ends soon,
// gives way to a start with a token, and leaves no record.
const (
	tokenlessExpiry = time.Hour
	idleExpiry      = 10 * time.Minute // before the first share
)

// idle reports whether a ceremony was started without a token and has no share yet.
func idle(c *recovery.Ceremony) bool {
	return c.StartedAccessor == "" && c.Required > 0 && c.Progress() == 0
}

// texts are the words by which clients recognise the state of each purpose.
var texts = map[recovery.Purpose]struct{ running, none string }{
	recovery.PurposeRekeyBarrier:  {"rekey already in progress", "no barrier rekey in progress"},
	recovery.PurposeRekeyRecovery: {"rekey already in progress", "no recovery rekey in progress"},
	recovery.PurposeGenerateRoot:  {"root generation already in progress", "no root generation in progress"},

	recovery.PurposeAuthorizeRaw: {"authorization of raw access already in progress",
		"no authorization of raw access in progress"},
	recovery.PurposeAuthorizeRestore: {"authorization of a restore already in progress",
		"no authorization of a restore in progress"},
	recovery.PurposeAuthorizeSeals: {"authorization of a change of the seals already in progress",
		"no authorization of a change of the seals in progress"},
	recovery.PurposeBreakGlassEnroll: {"an enrolment for break-glass is already in progress",
		"no enrolment for break-glass in progress"},
	recovery.PurposeBreakGlassRemove: {"a removal of the enrolment for break-glass is already in progress",
		"no removal of the enrolment for break-glass in progress"},
}

func errNone(p recovery.Purpose) error {
	return fault.Wrap(ErrNone, fault.Invalid, "%s", texts[p].none)
}

// begin starts a ceremony and stores it. The caller holds the lock.
func (m *Manager) begin(ctx context.Context, b *barrier.Barrier, p recovery.Purpose, params recovery.Params,
	by Starter) (*recovery.Ceremony, error) {
	running, err := m.read(ctx, b, p)
	if err != nil {
		return nil, err
	}
	if running != nil && (by == Starter{} || !idle(running)) {
		return nil, fault.Wrap(ErrRunning, fault.Invalid, "%s", texts[p].running)
	}
	o := recovery.Origin{By: by.DisplayName, Accessor: by.Accessor, Now: m.Now(), Rand: m.Rand, Expiry: m.Expiry}
	if by == (Starter{}) {
		o.Expiry = min(idleExpiry, o.Expiry)
	}
	c, err := recovery.Start(p, m.shareSet(), params, o)
	if err != nil {
		return nil, StartFault(p, err)
	}
	tx := b.Begin()
	tx.Put(ceremonyPath(p), c.Marshal())
	tx.Delete(answerPath(p))
	if err := m.recordLapsed(ctx, b, tx, p); err != nil {
		return nil, err
	}
	if err := m.commit(ctx, tx); err != nil {
		return nil, barrier.Fault(err, "it could not be started")
	}
	m.Log.Info("ceremony started", "purpose", string(p), "by", by.String(),
		"shares", c.Params.Shares, "threshold", c.Params.Threshold)
	return c, nil
}

// cancel ends a ceremony, if there is one, and records who did. A nonce names the ceremony that is
// meant, and no other is ended; "" means the current one. A client without a token needs a share of
// the current share set: the nonce is no secret.
func (m *Manager) cancel(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes,
	by Starter) error {
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	running, err := m.read(ctx, u.Barrier, p)
	if err != nil || running == nil {
		return err
	}
	if err := m.mayCancel(ctx, running, nonce, share, by); err != nil {
		return err
	}
	tx := u.Barrier.Begin()
	tx.Delete(ceremonyPath(p))
	tx.Delete(answerPath(p))
	if err := m.record(ctx, u.Barrier, tx, running, ending{outcome: transcript.Cancelled, by: by}); err != nil {
		return err
	}
	if err := m.commit(ctx, tx); err != nil {
		return barrier.Fault(err, "it could not be cancelled")
	}
	m.Log.Info("ceremony cancelled", "purpose", string(p), "by", by.String(), "progress", running.Progress())
	return nil
}

func (m *Manager) mayCancel(ctx context.Context, c *recovery.Ceremony, nonce string, share *secret.Bytes,
	by Starter) error {
	if nonce != "" && subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(nonce)) != 1 {
		return fault.New(fault.Invalid, "incorrect nonce supplied: another operation is in progress")
	}
	if by != (Starter{}) {
		return nil
	}
	shareSet := m.shareSet()
	if share == nil || shareSet == nil {
		return fault.New(fault.Denied, "permission denied: cancelling needs a token, or a share as 'key' in the body")
	}
	number, err := shareSet.Identify(share)
	if err != nil {
		return ShareFault(err)
	}
	Attribute(ctx, shareSet, number)
	return nil
}

// read returns the current ceremony of a purpose, nil where there is none. One that has lapsed
// counts as none: the next start replaces it.
func (m *Manager) read(ctx context.Context, b *barrier.Barrier, p recovery.Purpose) (*recovery.Ceremony, error) {
	attributeHead(ctx, b)
	c, err := readStored(ctx, b, p)
	if err != nil || c == nil || m.lapsed(c) {
		return nil, err
	}
	return c, nil
}

// readStored returns the stored ceremony of a purpose, lapsed or not; nil where there is none.
func readStored(ctx context.Context, b *barrier.Barrier, p recovery.Purpose) (*recovery.Ceremony, error) {
	raw, err := b.Get(ctx, ceremonyPath(p))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, barrier.Fault(err, "the operation in progress could not be read")
	}
	defer clear(raw) // it can have the keys of a share set
	c, err := recovery.UnmarshalCeremony(raw)
	if err != nil {
		return nil, fmt.Errorf("ceremony: entry %s: %w", ceremonyPath(p), err)
	}
	return c, nil
}

// lapsed reports whether a ceremony can no longer complete: it has expired, or the share set that
// authorises it was replaced.
func (m *Manager) lapsed(c *recovery.Ceremony) bool {
	if c.Expired(m.Now()) {
		return true
	}
	shareSet := m.shareSet()
	if c.Required == 0 {
		return shareSet != nil
	}
	return shareSet == nil || shareSet.ID != c.ShareSet
}

// check judges a share without a lock and without changing anything: a flood of wrong shares cannot
// delay a right one. Where the ceremony has completed it returns the kept answer to this share.
func (m *Manager) check(ctx context.Context, p recovery.Purpose, nonce string,
	share *secret.Bytes) (*RekeyResult, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return nil, err
	}
	c, err := m.read(ctx, u.Barrier, p)
	if err != nil {
		return nil, err
	}
	if c == nil || c.Phase == recovery.Verifying {
		kept, err := m.readAnswer(ctx, u.Barrier, p)
		if err != nil {
			return nil, err
		}
		if reply := kept.open(nonce, share); reply != nil {
			m.Log.Info("the answer to the last share was returned again", "purpose", string(p), "share", kept.number)
			Attribute(ctx, kept.authority, kept.number)
			return reply, nil
		}
	}
	switch {
	case c == nil:
		return nil, errNone(p)
	case c.Phase == recovery.Verifying:
		return nil, fault.Wrap(recovery.ErrVerificationDue, fault.Invalid,
			"rekey operation already finished; verification must be performed: "+
				"give the new shares with the nonce of the verification")
	}
	shareSet := m.shareSet()
	number, err := c.Give(shareSet, nonce, share, m.Now())
	if err != nil {
		return nil, ShareFault(err)
	}
	Attribute(ctx, shareSet, number)
	return nil, nil
}

// accept adds a share that check accepted. It returns the ceremony with the share, not stored yet.
// The caller holds the lock.
func (m *Manager) accept(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) (Unsealed,
	*recovery.Ceremony, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return u, nil, err
	}
	c, err := m.read(ctx, u.Barrier, p)
	if err != nil {
		return u, nil, err
	}
	if c == nil {
		return u, nil, errNone(p)
	}
	first := idle(c)
	if _, err := c.Give(m.shareSet(), nonce, share, m.Now()); err != nil {
		return u, nil, ShareFault(err)
	}
	if first {
		c.Expires = c.Started.Add(min(tokenlessExpiry, m.Expiry))
	}
	return u, c, nil
}

// store writes a ceremony to which a share was added, and that the share's holder has proven it.
func (m *Manager) store(ctx context.Context, b *barrier.Barrier, c *recovery.Ceremony) error {
	tx := b.Begin()
	tx.Put(ceremonyPath(c.Purpose), c.Marshal())
	last := c.Given[len(c.Given)-1].Number
	if err := m.markProven(ctx, b, tx, last); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return barrier.Fault(err, "the share could not be recorded; give it again")
	}
	m.Log.Info("share given", "purpose", string(c.Purpose), "share", last,
		"progress", c.Progress(), "required", c.Required)
	return nil
}
