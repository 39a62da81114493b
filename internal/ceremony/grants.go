package ceremony

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
)

// GrantTime is the time in which an authorisation is used, counted from the last share.
const GrantTime = 10 * time.Minute

// Grants are dual control: raw access to the storage and restores by force need a token and a
// quorum of shares. The token starts a ceremony of that purpose; with the last share it has a
// grant, for one use.
//
// A grant is in the memory of the node that took the last share, and not in the storage: an
// attacker who writes the storage could put a used one back. It ends with its use, after
// [GrantTime], when the node seals or stops leading, and when the share set is replaced. The
// ceremony's record in the transcript stays.
//
// A grant for the seals is for one change, which the ceremony describes: see [Subject].
type Grants struct {
	m *Manager

	mu        sync.Mutex // a leaf: nothing is locked while it is held
	unused    map[recovery.Purpose]grant
	enrolling *enrolling // nil: no ceremony collects shares that are combined
}

// Subject is what a quorum authorises, beyond its purpose.
type Subject struct {
	Change string // in words; the call that uses the grant must describe itself by the same
	Ask    string // how -change asks for it; "": it is not asked for by -change
	// Enroll has the shares combined: the holders become custodians whose shares decrypt.
	Enroll bool
}

// grant allows one use of a purpose.
type grant struct {
	nonce    string           // of the ceremony
	accessor string           // of the token that started it
	shareSet recovery.ID      // that authorised it
	barrier  *barrier.Barrier // of the role in which it was given
	expires  time.Time
	change   string
	enrolled *recovery.ShareSet // with its keys; nil: none is enrolled
}

// GrantStatus is the state of a ceremony that authorises one use.
type GrantStatus struct {
	Nonce              string
	Started            bool
	Progress, Required int
	Complete           bool
	Expires            time.Time // of the grant, once complete
	StartedBy          string    // display name of the token that will use the grant
	HoldersGiven       []string
	Change             string // what is authorised
}

// actions has the name of each purpose in commands and routes, and in sentences.
var actions = map[recovery.Purpose]struct{ name, text string }{
	recovery.PurposeAuthorizeRaw:     {"raw", "raw access to the storage"},
	recovery.PurposeAuthorizeRestore: {"restore", "a restore by force"},
	recovery.PurposeAuthorizeSeals:   {"seals", "a change of the seals that lessens protection"},
}

// Start begins the ceremony of a purpose. The token that starts it will use the grant, so that it
// needs an accessor, which batch tokens lack. For the seals the subject has a change.
func (g *Grants) Start(ctx context.Context, p recovery.Purpose, what Subject, by Starter) (GrantStatus, error) {
	m := g.m
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, err := m.Host.Unsealed()
	if err != nil {
		return GrantStatus{}, err
	}
	if m.shareSet() == nil {
		return GrantStatus{}, ErrNoShares
	}
	if by.Accessor == "" {
		return GrantStatus{}, fault.New(fault.Invalid, "a batch token has no accessor, by which the shares could authorise "+
			"its call; use a service token")
	}
	if p == recovery.PurposeAuthorizeSeals && what.Change == "" {
		return GrantStatus{}, fault.New(fault.Invalid, "the change that is to be authorised is missing, as in "+
			"-change=\"remove hsm\": the holders of the shares see it, and nothing else is allowed")
	}
	c, err := m.begin(ctx, u.Barrier, p, recovery.Params{Change: what.Change, Enroll: what.Enroll}, by)
	if err != nil {
		return GrantStatus{}, err
	}
	return g.status(c), nil
}

// Status returns the state of the ceremony.
func (g *Grants) Status(ctx context.Context, p recovery.Purpose) (GrantStatus, error) {
	u, err := g.m.Host.Unsealed()
	if err != nil {
		return GrantStatus{}, err
	}
	c, err := g.m.read(ctx, u.Barrier, p)
	if err != nil {
		return GrantStatus{}, err
	}
	return g.status(c), nil
}

func (g *Grants) status(c *recovery.Ceremony) (st GrantStatus) {
	shareSet := g.m.shareSet()
	if shareSet != nil {
		st.Required = shareSet.Threshold
	}
	if c == nil {
		return st
	}
	return GrantStatus{
		Nonce: c.Nonce, Started: true, Progress: c.Progress(), Required: c.Required, StartedBy: c.StartedBy,
		HoldersGiven: c.GivenBy(shareSet), Change: c.Params.Change,
	}
}

// Cancel ends the ceremony, if there is one.
func (g *Grants) Cancel(ctx context.Context, p recovery.Purpose, nonce string, by Starter) error {
	err := g.m.cancel(ctx, p, nonce, nil, by)
	if err == nil && p == recovery.PurposeAuthorizeSeals {
		g.dropShares()
	}
	return err
}

// Give takes one share. With the last share the ceremony ends with its record, and the token that
// started it has a grant. The last share again, with the same nonce, returns the same answer until
// the grant is used.
func (g *Grants) Give(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) (GrantStatus, error) {
	m := g.m
	if st, ok := g.given(ctx, p, nonce, share); ok {
		return st, nil
	}
	if _, err := m.check(ctx, p, nonce, share); err != nil {
		return GrantStatus{}, err
	}
	m.Lock.Lock()
	defer m.Lock.Unlock()
	u, c, err := m.accept(ctx, p, nonce, share)
	if err != nil {
		return GrantStatus{}, err
	}
	st := g.status(c)
	enrolled, err := g.enroll(c, share)
	if err != nil {
		return GrantStatus{}, err
	}
	if !c.Authorised() {
		enrolled.DestroyKeys() // shares were combined of which a record is missing
		return st, m.store(ctx, u.Barrier, c)
	}
	if err := g.finish(ctx, u.Barrier, c); err != nil {
		enrolled.DestroyKeys()
		return GrantStatus{}, err
	}
	st.Complete, st.Expires = true, g.add(u.Barrier, c, enrolled).expires
	m.Log.Warn("a quorum of shares authorised "+actions[p].text+", once", "by_shares", c.Numbers(),
		"for", Starter{Accessor: c.StartedAccessor, DisplayName: c.StartedBy}.String(), "until", st.Expires)
	return st, nil
}

// given returns the answer to the last share again.
func (g *Grants) given(ctx context.Context, p recovery.Purpose, nonce string, share *secret.Bytes) (GrantStatus, bool) {
	shareSet := g.m.shareSet()
	has, err := g.current(p)
	if err != nil || subtle.ConstantTimeCompare([]byte(has.nonce), []byte(nonce)) != 1 {
		return GrantStatus{}, false
	}
	number, err := shareSet.Identify(share)
	if err != nil {
		return GrantStatus{}, false
	}
	Attribute(ctx, shareSet, number)
	return GrantStatus{
		Nonce: has.nonce, Started: true, Progress: shareSet.Threshold, Required: shareSet.Threshold,
		Complete: true, Expires: has.expires, Change: has.change,
	}, true
}

// finish ends the ceremony with its record, in one commit. The caller holds the manager's lock.
func (g *Grants) finish(ctx context.Context, b *barrier.Barrier, c *recovery.Ceremony) error {
	m := g.m
	tx := b.Begin()
	tx.Delete(ceremonyPath(c.Purpose))
	if err := m.record(ctx, b, tx, c, ending{outcome: transcript.Completed}); err != nil {
		return err
	}
	if err := m.markProven(ctx, b, tx, c.Given[len(c.Given)-1].Number); err != nil {
		return err
	}
	failpoint.Point("authorize.commit")
	return barrier.Fault(m.commit(ctx, tx), "the authorisation could not be recorded; give the share again")
}

func (g *Grants) add(b *barrier.Barrier, c *recovery.Ceremony, enrolled *recovery.ShareSet) grant {
	has := grant{nonce: c.Nonce, accessor: c.StartedAccessor, shareSet: c.ShareSet, barrier: b,
		expires: g.m.Now().Add(GrantTime), change: c.Params.Change, enrolled: enrolled}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unused[c.Purpose].enrolled.DestroyKeys()
	g.unused[c.Purpose] = has
	return has
}

// errNoGrant is returned by current.
var errNoGrant = errors.New("ceremony: no quorum has authorised that")

// current returns the grant of a purpose, or errNoGrant, also for one that has ended.
func (g *Grants) current(p recovery.Purpose) (grant, error) {
	u, err := g.m.Host.Unsealed()
	if err != nil {
		return grant{}, err
	}
	shareSet := g.m.shareSet()
	g.mu.Lock()
	defer g.mu.Unlock()
	has, ok := g.unused[p]
	if !ok || shareSet == nil || has.shareSet != shareSet.ID || has.barrier != u.Barrier ||
		!g.m.Now().Before(has.expires) {
		has.enrolled.DestroyKeys()
		delete(g.unused, p)
		return grant{}, errNoGrant
	}
	return has, nil
}

// errUnauthorized is the refusal of an action that no quorum has authorised.
func errUnauthorized(p recovery.Purpose, what Subject) error {
	return fault.New(fault.Denied, "permission denied: %s needs a quorum of shares: run `%s` with this token, have the "+
		"holders give their shares, and repeat the call within %d minutes", actions[p].text, startCommand(p, what),
		int(GrantTime/time.Minute))
}

// startCommand is the command that asks a quorum for an action.
func startCommand(p recovery.Purpose, what Subject) string {
	command := "sealgate operator authorize -purpose=" + actions[p].name + " -init"
	if what.Ask != "" {
		command += fmt.Sprintf(" -change=%q", what.Ask)
	}
	return command
}

// Use takes the grant of a purpose for one action of the client, which follows. Where the store has
// no shares, [ErrNoShares] is returned: the configuration alone decides then.
func (g *Grants) Use(p recovery.Purpose, by Starter) error { return g.UseFor(p, Subject{}, by) }

// UseFor is [Grants.Use] for the change that the quorum has authorised, and no other.
func (g *Grants) UseFor(p recovery.Purpose, what Subject, by Starter) error {
	has, err := g.allowed(p, what, by)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unused[p].nonce != has.nonce {
		return errUnauthorized(p, what) // another call has used it
	}
	has.enrolled.DestroyKeys()
	delete(g.unused, p)
	g.m.Log.Warn(actions[p].text+" that a quorum of shares authorised begins", "by", by.String())
	return nil
}

// allowed returns the grant that allows a change.
func (g *Grants) allowed(p recovery.Purpose, what Subject, by Starter) (grant, error) {
	if _, err := g.m.Host.Unsealed(); err != nil {
		return grant{}, err
	}
	if g.m.shareSet() == nil {
		return grant{}, ErrNoShares
	}
	has, err := g.current(p)
	if errors.Is(err, errNoGrant) {
		return grant{}, errUnauthorized(p, what)
	}
	if err != nil {
		return grant{}, err
	}
	if by.Accessor == "" || subtle.ConstantTimeCompare([]byte(has.accessor), []byte(by.Accessor)) != 1 {
		return grant{}, fault.New(fault.Denied, "permission denied: the shares authorised %s for the token that started the "+
			"ceremony, which is another one", actions[p].text)
	}
	if has.change != what.Change {
		return grant{}, fault.New(fault.Denied, "permission denied: the shares authorised another change (%s), and this one "+
			"is: %s; to ask for it, run `%s` with this token", has.change, what.Change, startCommand(p, what))
	}
	return has, nil
}
