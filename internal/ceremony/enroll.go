package ceremony

import (
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// enrolling collects the shares of a ceremony that makes their holders custodians. Recovery shares
// authorise and decrypt nothing, so that the server has no key of theirs: it is derived once from
// what a quorum gives. The shares are in the memory of the node that takes them alone.
type enrolling struct {
	nonce  string
	shares *recovery.Unsealing
}

// enroll collects a share of a ceremony that enrolls. With the last one it returns the share set in
// its new use, with its keys; nil before. The caller holds the manager's lock.
func (g *Grants) enroll(c *recovery.Ceremony, share *secret.Bytes) (*recovery.ShareSet, error) {
	if !c.Params.Enroll {
		return nil, nil
	}
	shareSet := g.m.shareSet()
	e := g.collector(c, shareSet)
	if e == nil {
		return nil, fault.New(fault.Invalid, "the shares before were given to another node, or before a restart: cancel the "+
			"authorisation, start it again, and have all holders give their shares to the active node")
	}
	key, err := e.shares.Give(share)
	if err != nil {
		return nil, ShareFault(err)
	}
	if key == nil && c.Authorised() {
		// A quorum was combined before, and its record was not written.
		return nil, fault.New(fault.Invalid, "the shares before are no longer in memory, because the authorisation could "+
			"not be recorded: cancel it, start it again, and have all holders give their shares")
	}
	if key == nil {
		return nil, nil
	}
	defer key.Destroy()
	return shareSet.ForBarrier(key)
}

// collector returns what collects the shares of a ceremony; nil where shares are missing in it.
func (g *Grants) collector(c *recovery.Ceremony, shareSet *recovery.ShareSet) *enrolling {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.enrolling; e == nil || e.nonce != c.Nonce {
		if c.Progress() > 1 {
			return nil
		}
		if e != nil {
			e.shares.Reset()
		}
		g.enrolling = &enrolling{c.Nonce, recovery.NewUnsealing(shareSet, g.m.Rand)}
	}
	return g.enrolling
}

// dropShares forgets the shares that were collected.
func (g *Grants) dropShares() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.enrolling != nil {
		g.enrolling.shares.Reset()
		g.enrolling = nil
	}
}

// Enrolled returns a copy of the share set in its new use, which a quorum has authorised for a
// change, with its keys: the caller destroys them. The grant stays, for [Grants.UseFor].
func (g *Grants) Enrolled(p recovery.Purpose, what Subject, by Starter) (*recovery.ShareSet, error) {
	has, err := g.allowed(p, what, by)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unused[p].nonce != has.nonce || has.enrolled == nil {
		return nil, errUnauthorized(p, what)
	}
	enrolled := *has.enrolled
	enrolled.RecordKey = has.enrolled.RecordKey.Clone()
	return &enrolled, nil
}

// Forget drops the grants and the shares that were collected. It is called when the node seals or
// its role changes.
func (g *Grants) Forget() {
	g.dropShares()
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, has := range g.unused {
		has.enrolled.DestroyKeys()
		delete(g.unused, p)
	}
}
