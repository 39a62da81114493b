package node

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/recovery"
)

// TestGrantEndsWithTheLeadership: what a quorum authorised at one leader allows nothing at the next
// one, nor at the same node when it leads again: not that change, not another one, and not after
// the storage's writer has put the ceremony back.
func TestGrantEndsWithTheLeadership(t *testing.T) {
	t.Parallel()
	e := &testCluster{harness: newHarness(t), hub: inmem.NewHub()}
	aa, bb := e.box("aa"), e.box("bb")
	for range 2 {
		e.addWith(e.hub.Open(), e.set(aa, bb), nil)
	}
	res, err := e.nodes[0].Init(t.Context(), InitRequest{RecoveryShares: 2, RecoveryThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := e.settled()
	raw := e.hub.Open()
	defer raw.Close()
	const p, entry = recovery.PurposeAuthorizeSeals, "core/ceremony/authorize-seals"
	what, err := SealAdminOf(first).Subject(t.Context(), "remove bb")
	if err != nil {
		t.Fatal(err)
	}
	grants := first.Ceremonies().Grants
	st, err := grants.Start(t.Context(), p, what, admin)
	if err == nil {
		_, err = grants.Give(t.Context(), p, st.Nonce, res.RecoveryKeys[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	before, err := raw.Get(t.Context(), entry)
	if err != nil {
		t.Fatal(err)
	}
	if st, err = grants.Give(t.Context(), p, st.Nonce, res.RecoveryKeys[1]); err != nil || !st.Complete {
		t.Fatalf("%+v, %v", st, err)
	}

	for range 2 { // the other node, and the first one again
		leader, _ := e.settled()
		if err := leader.replica.StepDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		leader, _ = e.settled()
		sa := SealAdminOf(leader)
		for _, change := range []func() (*SealChange, error){
			func() (*SealChange, error) { return sa.Remove(t.Context(), "bb", admin) },
			func() (*SealChange, error) { return sa.Remove(t.Context(), "aa", admin) },
		} {
			if ask := e.asked(change()); !strings.HasPrefix(ask, "remove ") {
				t.Errorf("asks for %q", ask)
			}
		}
		op := storage.Put(entry, before)
		if err := raw.Commit(t.Context(), storage.Batch{Ops: []storage.Op{op}}); err != nil {
			t.Fatal(err)
		}
		for i, share := range res.RecoveryKeys {
			if st, err := leader.Ceremonies().Grants.Give(t.Context(), p, st.Nonce, share); err == nil {
				t.Errorf("share %d counts in a ceremony that was put back: %+v", i+1, st)
			}
		}
		e.asked(sa.Remove(t.Context(), "bb", admin))
	}
	if r := e.nodes[0].state.Load().record; len(r.Parts) != 2 {
		t.Errorf("%d seals are left", len(r.Parts))
	}
}
