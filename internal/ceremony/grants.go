package ceremony

import (
	"context"
	"crypto/subtle"
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
// A grant is in the memory of the node that took the last share, and not in the storage: who writes
// the storage could put a used one back. It ends with its use, after [GrantTime], when the node
// seals or stops leading, and when the share set is replaced. The ceremony's record in the
// transcript stays.
type Grants struct {
	m *Manager

	mu     sync.Mutex // a leaf: nothing is locked while it is held
	unused map[recovery.Purpose]grant
}

// grant allows one use of a purpose.
type grant struct {
	nonce    string           // of the ceremony
	accessor string           // of the token that started it
	shareSet recovery.ID      // that authorised it
	barrier  *barrier.Barrier // of the role in which it was given
	expires  time.Time
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
}

// actions has the name of each purpose in commands and routes, and in sentences.
var actions = map[recovery.Purpose]struct{ name, text string }{
	recovery.PurposeAuthorizeRaw:     {"raw", "raw access to the storage"},
	recovery.PurposeAuthorizeRestore: {"restore", "a restore by force"},
	recovery.PurposeAuthorizeSeals:   {"seals", "a change of the seals that lessens protection"},
}

// Start begins the ceremony of a purpose. The token that starts it will use the grant, so that it
// needs an accessor, which batch tokens lack.
func (g *Grants) Start(ctx context.Context, p recovery.Purpose, by Starter) (GrantStatus, error) {
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
	c, err := m.begin(ctx, u.Barrier, p, recovery.Params{}, by)
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
		HoldersGiven: c.GivenBy(shareSet),
	}
}

// Cancel ends the ceremony, if there is one.
func (g *Grants) Cancel(ctx context.Context, p recovery.Purpose, nonce string, by Starter) error {
	return g.m.cancel(ctx, p, nonce, nil, by)
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
	if !c.Authorised() {
		return st, m.store(ctx, u.Barrier, c)
	}
	if err := g.finish(ctx, u.Barrier, c); err != nil {
		return GrantStatus{}, err
	}
	st.Complete, st.Expires = true, g.add(u.Barrier, c).expires
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
		Complete: true, Expires: has.expires,
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

func (g *Grants) add(b *barrier.Barrier, c *recovery.Ceremony) grant {
	has := grant{nonce: c.Nonce, accessor: c.StartedAccessor, shareSet: c.ShareSet, barrier: b,
		expires: g.m.Now().Add(GrantTime)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unused[c.Purpose] = has
	return has
}

// current returns the grant of a purpose. One that has ended is an error, as if there were none.
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
		delete(g.unused, p)
		return grant{}, errUnauthorized(p)
	}
	return has, nil
}

// errUnauthorized is the refusal of an action that no quorum has authorised.
func errUnauthorized(p recovery.Purpose) error {
	a := actions[p]
	return fault.New(fault.Denied, "permission denied: %s needs a quorum of shares: run `sealgate operator authorize "+
		"-purpose=%s -init` with this token, have the holders give their shares, and repeat the call within %d minutes",
		a.text, a.name, int(GrantTime/time.Minute))
}

// Use takes the grant of a purpose for one action of the client, which follows. Where the store has
// no shares, [ErrNoShares] is returned: the configuration alone decides then.
func (g *Grants) Use(p recovery.Purpose, by Starter) error {
	if _, err := g.m.Host.Unsealed(); err != nil {
		return err
	}
	if g.m.shareSet() == nil {
		return ErrNoShares
	}
	has, err := g.current(p)
	if err != nil {
		return err
	}
	if by.Accessor == "" || subtle.ConstantTimeCompare([]byte(has.accessor), []byte(by.Accessor)) != 1 {
		return fault.New(fault.Denied, "permission denied: the shares authorised %s for the token that started the "+
			"ceremony, which is another one", actions[p].text)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unused[p] != has {
		return errUnauthorized(p) // another call has used it
	}
	delete(g.unused, p)
	g.m.Log.Warn(actions[p].text+" that a quorum of shares authorised begins", "by", by.String())
	return nil
}
