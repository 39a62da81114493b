package ceremony

import (
	"context"
	"sync"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// Enrolment lets a quorum of recovery shares enrol for break-glass, so that its shares can decrypt
// the root key when every seal is lost, or end that. Each takes a quorum.
//
// The keys of an enrolment follow from the seed that the shares combine to, and the server stores
// no share. So an attempt is in the memory of the active node, and ends with its role: after a
// change of leader the holders give their shares again. The shares are destroyed with the last one,
// and when the attempt ends.
type Enrolment struct {
	m *Manager

	mu      sync.Mutex // a leaf: nothing is locked while it is held
	running map[recovery.Purpose]*enrolmentAttempt
}

// enrolmentAttempt is one attempt. Its fields are guarded by Enrolment.mu.
type enrolmentAttempt struct {
	ceremony *recovery.Ceremony
	shareSet *recovery.ShareSet
	shares   *recovery.Unsealing
	barrier  *barrier.Barrier // of the role in which it began
}

// EnrolmentStatus is the state of an attempt.
type EnrolmentStatus struct {
	Nonce              string
	Started            bool
	Progress, Required int
	Complete           bool
	StartedBy          string
	HoldersGiven       []string
	Enrolled           bool // before the attempt ends; with Complete, after it
}

// Start begins an attempt. p is [recovery.PurposeBreakGlassEnroll] or PurposeBreakGlassRemove.
func (e *Enrolment) Start(_ context.Context, p recovery.Purpose, by Starter) (EnrolmentStatus, error) {
	m := e.m
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := e.applies(p)
	if err != nil {
		return EnrolmentStatus{}, err
	}
	if e.current(p, u) != nil {
		return EnrolmentStatus{}, fault.Wrap(ErrRunning, fault.Invalid, "%s", texts[p].running)
	}
	shareSet := m.shareSet()
	c, err := recovery.Start(p, shareSet, recovery.Params{}, recovery.Origin{
		By: by.DisplayName, Accessor: by.Accessor, Now: m.Now(), Rand: m.Rand, Expiry: m.Expiry,
	})
	if err != nil {
		return EnrolmentStatus{}, StartFault(p, err)
	}
	e.mu.Lock()
	e.running[p] = &enrolmentAttempt{c, shareSet, recovery.NewUnsealing(shareSet, m.Rand), u.Barrier}
	e.mu.Unlock()
	m.Log.Info("ceremony started", "purpose", string(p), "by", by.String())
	return e.status(p, u), nil
}

// applies refuses a purpose that the shares of this node do not allow.
func (e *Enrolment) applies(p recovery.Purpose) (Unsealed, error) {
	u, err := e.m.Host.Unsealed()
	if err != nil {
		return u, err
	}
	state := e.m.Host.ShareState()
	switch {
	case state.ShareSet == nil:
		return u, ErrNoShares
	case state.SharesUnseal:
		return u, fault.New(fault.Invalid, "the shares of this server are one of its seals, and its policy says whether "+
			"they open the data alone; there is no enrolment for break-glass beside that")
	case p == recovery.PurposeBreakGlassEnroll && state.BreakGlass:
		return u, fault.New(fault.Invalid, "the holders of the recovery shares are enrolled for break-glass already")
	case p == recovery.PurposeBreakGlassRemove && !state.BreakGlass:
		return u, fault.New(fault.Invalid, "the holders of the recovery shares are not enrolled for break-glass")
	}
	return u, nil
}

// current returns the attempt of a purpose, nil where there is none. One that can no longer
// complete is forgotten.
func (e *Enrolment) current(p recovery.Purpose, u Unsealed) *enrolmentAttempt {
	now, shareSet := e.m.Now(), e.m.shareSet()
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.running[p]
	if a == nil {
		return nil
	}
	if a.ceremony.Expired(now) || a.barrier != u.Barrier || shareSet == nil || shareSet.ID != a.shareSet.ID {
		a.shares.Reset()
		delete(e.running, p)
		return nil
	}
	return a
}

// Status returns the state of an attempt.
func (e *Enrolment) Status(_ context.Context, p recovery.Purpose) (EnrolmentStatus, error) {
	u, err := e.m.Host.Unsealed()
	if err != nil {
		return EnrolmentStatus{}, err
	}
	return e.status(p, u), nil
}

func (e *Enrolment) status(p recovery.Purpose, u Unsealed) EnrolmentStatus {
	state := e.m.Host.ShareState()
	st := EnrolmentStatus{Enrolled: state.BreakGlass}
	if state.ShareSet != nil {
		st.Required = state.ShareSet.Threshold
	}
	a := e.current(p, u)
	if a == nil {
		return st
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := a.ceremony
	st.Nonce, st.Started, st.StartedBy, st.Required = c.Nonce, true, c.StartedBy, c.Required
	st.Progress, st.HoldersGiven = c.Progress(), c.GivenBy(a.shareSet)
	return st
}

// Cancel ends the attempt, if there is one, and records who did.
func (e *Enrolment) Cancel(ctx context.Context, p recovery.Purpose, nonce string, by Starter) error {
	m := e.m
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	a := e.current(p, u)
	if a == nil {
		return nil
	}
	if err := m.mayCancel(ctx, a.ceremony, nonce, nil, by); err != nil {
		return err
	}
	tx := u.Barrier.Begin()
	if err := m.record(ctx, u.Barrier, tx, a.ceremony, ending{outcome: transcript.Cancelled, by: by}); err != nil {
		return err
	}
	if err := m.commit(ctx, tx); err != nil {
		return barrier.Fault(err, "it could not be cancelled")
	}
	e.forget(p)
	m.Log.Info("ceremony cancelled", "purpose", string(p), "by", by.String(), "progress", a.ceremony.Progress())
	return nil
}

// Forget ends every attempt without a record: the node seals, or leads no more.
func (e *Enrolment) Forget() {
	e.forget(recovery.PurposeBreakGlassEnroll)
	e.forget(recovery.PurposeBreakGlassRemove)
}

func (e *Enrolment) forget(p recovery.Purpose) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.running[p]; a != nil {
		a.shares.Reset()
		delete(e.running, p)
	}
}

// Give takes one share. With the last share the quorum is enrolled, or its enrolment ends, in one
// commit with the record of the transcript. Where that fails, the last share counts as not given.
func (e *Enrolment) Give(ctx context.Context, p recovery.Purpose, nonce string,
	share *secret.Bytes) (EnrolmentStatus, error) {
	m := e.m
	if err := e.check(ctx, p, nonce, share); err != nil { // without the lock, as for every ceremony
		return EnrolmentStatus{}, err
	}
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := e.applies(p)
	if err != nil {
		return EnrolmentStatus{}, err
	}
	a := e.current(p, u)
	if a == nil {
		return EnrolmentStatus{}, errNone(p)
	}
	next := a.ceremony.Clone()
	number, err := next.Give(a.shareSet, nonce, share, m.Now())
	if err != nil {
		return EnrolmentStatus{}, ShareFault(err)
	}
	if next.Authorised() {
		if err := e.finish(ctx, u, a, next, share); err != nil {
			return EnrolmentStatus{}, err
		}
		e.forget(p)
		return EnrolmentStatus{
			Nonce: next.Nonce, Started: true, Complete: true, Progress: next.Progress(), Required: next.Required,
			Enrolled: p == recovery.PurposeBreakGlassEnroll, HoldersGiven: next.GivenBy(a.shareSet),
			StartedBy: next.StartedBy,
		}, nil
	}
	if _, err := a.shares.Give(share); err != nil {
		return EnrolmentStatus{}, ShareFault(err)
	}
	e.mu.Lock()
	a.ceremony = next
	e.mu.Unlock()
	m.Log.Info("share given", "purpose", string(p), "share", number, "progress", next.Progress(),
		"required", next.Required)
	return e.status(p, u), nil
}

// check judges a share without the lock and without changing anything.
func (e *Enrolment) check(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) error {
	u, err := e.applies(p)
	if err != nil {
		return err
	}
	a := e.current(p, u)
	if a == nil {
		return errNone(p)
	}
	e.mu.Lock()
	c := a.ceremony.Clone()
	e.mu.Unlock()
	number, err := c.Give(a.shareSet, nonce, share, e.m.Now())
	if err != nil {
		return ShareFault(err)
	}
	Attribute(ctx, a.shareSet, number)
	return nil
}

// finish combines the shares and commits the changed enrolment. The caller holds the manager's
// lock.
func (e *Enrolment) finish(ctx context.Context, u Unsealed, a *enrolmentAttempt, c *recovery.Ceremony,
	last *secret.Bytes) error {
	m := e.m
	next := a.shareSet.ForRecovery()
	if c.Purpose == recovery.PurposeBreakGlassEnroll {
		key, err := a.shares.With(last)
		if err != nil {
			return ShareFault(err)
		}
		defer key.Destroy()
		if next, err = a.shareSet.ForBreakGlass(key); err != nil {
			return err
		}
		defer next.DestroyKeys()
	}
	tx := u.Barrier.Begin()
	if err := m.record(ctx, u.Barrier, tx, c, ending{outcome: transcript.Completed, next: next}); err != nil {
		return err
	}
	if err := m.markProven(ctx, u.Barrier, tx, c.Given[len(c.Given)-1].Number); err != nil {
		return err
	}
	if err := m.Keys.ReplaceRecovery(ctx, tx, next); err != nil {
		return err
	}
	m.reportHead(ctx)
	if c.Purpose == recovery.PurposeBreakGlassEnroll {
		m.Log.Warn("the recovery shares can decrypt from now on: a quorum of them opens the data when every seal is lost",
			"by_shares", c.Numbers(), "started_by", c.StartedBy)
	} else {
		m.Log.Warn("the recovery shares decrypt nothing from now on: the data does not survive the loss of every seal",
			"by_shares", c.Numbers(), "started_by", c.StartedBy)
	}
	return nil
}
