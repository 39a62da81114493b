package node

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// startFrom runs a node whose configuration migrates from one set of seals to another.
func (h *harness) startFrom(from, to *seals.Set) (n *Node, stop func()) {
	h.t.Helper()
	h.from = from
	defer func() { h.from = nil }()
	return h.start(to)
}

// migrate gives shares to a node whose migration is pending, and checks Vault's rules on the way.
func (h *harness) migrate(n *Node, shares []*secret.Bytes) {
	h.t.Helper()
	eventually(h.t, "a pending migration", func() bool {
		st, err := n.SealStatus(h.t.Context())
		return err == nil && st.Migration && st.Sealed
	})
	if err := n.Unseal(h.t.Context(), shares[0], false); fault.KindOf(err) != fault.Internal ||
		!strings.Contains(err.Error(), "migrate option not provided and seal migration is pending") {
		h.t.Fatal(err)
	}
	for _, s := range shares {
		if err := n.Unseal(h.t.Context(), s, true); err != nil {
			h.t.Fatal(err)
		}
	}
	eventually(h.t, "the migration", func() bool {
		st, err := n.SealStatus(h.t.Context())
		return err == nil && !st.Migration && !st.Sealed
	})
}

// TestSealMigration: Shamir to an automatic seal, to another one, and back, each by -migrate; the
// shares stay the same and change their role, all data reads, and the next start needs no
// migration.
func TestSealMigration(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	shares := res.Keys
	for _, s := range shares[:2] {
		if err := n.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	h.write(n, "a", "1")
	if err := n.Unseal(t.Context(), shares[0], true); err != nil {
		t.Fatal("an unsealed node answers any share:", err)
	}
	stop()
	aa, bb := h.box("aa"), h.box("bb")

	n, stop = h.startFrom(h.shamirSeals(), h.set(aa))
	h.migrate(n, shares[:2])
	if r := h.record(); len(r.ShareSet) != 0 || r.Generation != 2 || r.Parts[0].Name != "aa" {
		t.Fatalf("%+v", r)
	}
	h.mustRead(n, "a", "1")
	stop()
	n, stop = h.startFrom(h.shamirSeals(), h.set(aa)) // the same configuration again
	eventually(t, "unsealed automatically", isActive(n))
	h.authorises(n, recovery.Recovery, shares[1:])
	stop()

	n, stop = h.startFrom(h.set(aa), h.set(bb))
	h.migrate(n, shares[1:])
	h.mustRead(n, "a", "1")
	stop()
	n, stop = h.start(h.set(bb))
	eventually(t, "unsealed automatically", isActive(n))
	h.authorises(n, recovery.Recovery, shares[:2])
	stop()

	n, stop = h.startFrom(h.set(bb), h.shamirSeals())
	left := h.copyFor(h.set(bb))
	h.migrate(n, shares[:2])
	if r := h.record(); len(r.ShareSet) == 0 || len(r.QuorumTag) == 0 || r.Parts[0].Type != "shamir" {
		t.Fatalf("%+v", r)
	}
	h.writtenAfter(n, left)
	h.mustRead(n, "a", "1")
	stop()
	n, _ = h.start(h.shamirSeals())
	if err := n.Unseal(t.Context(), shares[0], true); err == nil ||
		!strings.Contains(err.Error(), "no migration seal found") {
		t.Fatal(err)
	}
	for _, s := range shares[1:] {
		if err := n.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	h.mustRead(n, "a", "1")
	h.authorises(n, recovery.Barrier, shares[1:])
	names, err := n.Ceremonies().Transcripts(t.Context())
	if got := strings.Join(names, " "); err != nil || strings.Count(got, "seal-migrate") != 3 {
		t.Errorf("transcript: %s, %v", got, err)
	}
}

// authorises starts a rekey and gives it shares, then cancels it.
func (h *harness) authorises(n *Node, target recovery.Target, shares []*secret.Bytes) {
	h.t.Helper()
	st, _, err := n.Ceremonies().RekeyStart(h.t.Context(), target, recovery.Params{Shares: 3, Threshold: 2,
		Verification: true}, admin)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, _, err := n.Ceremonies().RekeyGive(h.t.Context(), target, st.Nonce, shares[0]); err != nil {
		h.t.Fatal("the share is no longer valid:", err)
	}
	if err := n.Ceremonies().RekeyCancel(h.t.Context(), target, st.Nonce, admin); err != nil {
		h.t.Fatal(err)
	}
}

// TestSealMigrationRefused: a wrong share, a new seal that does not work, and a store without
// recovery shares migrate nothing; the seal that fails is tried again once it works.
func TestSealMigrationRefused(t *testing.T) {
	h := newHarness(t)
	aa, bb := h.box("aa"), h.box("bb")
	n, stop := h.start(h.set(aa))
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	stop()
	n, _ = h.startFrom(h.set(aa), h.set(bb))
	wrong := secret.New([]byte(strings.Repeat("w", 32)))
	eventually(t, "pending", func() bool { st, err := n.SealStatus(t.Context()); return err == nil && st.Migration })
	if err := n.Unseal(t.Context(), wrong, true); err == nil || len(h.record().Parts) != 1 || isActive(n)() {
		t.Fatal("a wrong share:", err)
	}
	bb.Wrapper.(*flaky).set(seals.Fail(seals.Unreachable, errTest, "connect it"))
	err = n.Unseal(t.Context(), res.RecoveryKeys[0], true)
	if err == nil || !strings.Contains(err.Error(), "connect it") || h.record().Parts[0].Name != "aa" {
		t.Fatal("a new seal that does not work:", err)
	}
	bb.Wrapper.(*flaky).set(nil)
	eventually(t, "the migration", func() bool { n.poke(); return h.record().Parts[0].Name == "bb" })

	bare := newHarness(t)
	n, stop = bare.start(bare.set(aa))
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	stop()
	n, _ = bare.startFrom(bare.set(aa), bare.set(bb))
	eventually(t, "pending", func() bool { st, err := n.SealStatus(t.Context()); return err == nil && st.Migration })
	if err := n.Unseal(t.Context(), wrong, true); err == nil || !strings.Contains(err.Error(), "operator seals add") {
		t.Fatal("no recovery shares:", err)
	}
}

// TestSealMigrationRolling: the nodes of a cluster are restarted one after the other with the new
// configuration and unsealed with -migrate; the first of them that leads migrates, and the others
// follow.
func TestSealMigrationRolling(t *testing.T) {
	e, res := newTestCluster(t, 2, true)
	for _, n := range e.nodes {
		for _, s := range res.Keys[:2] {
			if err := n.Unseal(t.Context(), s, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	leader, role := e.settled()
	if err := e.put(role, "kept", "yes"); err != nil {
		t.Fatal(err)
	}
	aa := e.box("aa")
	restart := func(old *Node) *Node {
		t.Helper()
		for i, n := range e.nodes {
			if n == old {
				e.stops[i]()
				e.nodes, e.stops = append(e.nodes[:i:i], e.nodes[i+1:]...), append(e.stops[:i:i], e.stops[i+1:]...)
				break
			}
		}
		n := e.addWith(e.hub.Open(), e.set(aa), e.shamirSeals())
		eventually(t, "a pending migration", func() bool {
			st, err := n.SealStatus(t.Context())
			return err == nil && st.Initialized && st.Migration
		})
		for _, s := range res.Keys[:2] {
			if err := n.Unseal(t.Context(), s, true); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	first := restart(e.standbys(leader)[0])
	e.settled()
	if first.writer() != nil || len(leader.state.Load().record.ShareSet) == 0 {
		t.Fatal("a standby must not migrate")
	}
	for i, n := range e.nodes {
		if n == leader {
			e.stops[i]()
		}
	}
	eventually(t, "the migration by the new leader", func() bool {
		return first.writer() != nil && first.state.Load().record.Parts[0].Name == "aa"
	})
	last := e.addWith(e.hub.Open(), e.set(aa), e.shamirSeals())
	eventually(t, "a restarted node unseals automatically", func() bool {
		a := last.role.Load()
		return a != nil && a.Standby()
	})
	raw, err := last.role.Load().barrier.Get(t.Context(), "kept")
	if err != nil || string(raw) != "yes" {
		t.Fatal(string(raw), err)
	}
}

// TestSealMigrationByReplacedShares: a standby waits with a migration that a quorum has authorised
// until it leads. If the shares are replaced meanwhile, those of the old quorum do not come back.
func TestSealMigrationByReplacedShares(t *testing.T) {
	e, res := newTestCluster(t, 1, true)
	leader := e.nodes[0]
	for _, s := range res.Keys[:2] {
		if err := leader.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	e.settled()
	waiting := e.addWith(e.hub.Open(), e.set(e.box("aa")), e.shamirSeals())
	eventually(t, "a pending migration", func() bool {
		st, err := waiting.SealStatus(t.Context())
		return err == nil && st.Initialized && st.Migration
	})
	for _, s := range res.Keys[:2] {
		if err := waiting.Unseal(t.Context(), s, true); err != nil {
			t.Fatal(err)
		}
	}
	e.settled()
	e.rekey(leader, recovery.Barrier, recovery.Params{Shares: 3, Threshold: 2}, res.Keys[:2])
	next := leader.state.Load().shareSet.ID
	e.settled()
	e.stops[0]()
	eventually(t, "the end of the migration", func() bool {
		return waiting.writer() != nil && waiting.migration.plan.Load() == nil
	})
	if f := waiting.state.Load(); f.record.Parts[0].Type != "shamir" || f.shareSet.ID != next {
		t.Errorf("a replaced quorum has migrated the seals: %s", planOf(f.record))
	}
}

// TestCustodiansBesideASeal: a server that shares unseal gets an automatic seal while it serves;
// the custodians can still unseal it when the seal is gone; then they leave, and their shares
// authorise.
func TestCustodiansBesideASeal(t *testing.T) {
	h := newHarness(t)
	people := func() seals.Seal { return h.shamirSeals().Seals()[0] }
	n, stop := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	give := func(n *Node) {
		t.Helper()
		for _, s := range res.Keys[:2] {
			if err := n.Unseal(t.Context(), s, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	give(n)
	h.write(n, "a", "1")
	aa := h.box("aa")
	if _, err := n.ReplaceSeals(t.Context(), h.set(people(), aa)); err != nil {
		t.Fatal(err)
	}
	h.change(SealAdminOf(n).Add(t.Context(), "aa", "", admin))
	if err := n.RotateRoot(t.Context()); err != nil || len(h.record().QuorumTag) == 0 {
		t.Fatal("a rotation keeps both:", err)
	}
	stop()
	n, stop = h.start(h.set(people(), aa))
	eventually(t, "unsealed by the seal", isActive(n))
	h.authorises(n, recovery.Barrier, res.Keys)
	stop()

	aa.Wrapper.(*flaky).set(seals.Fail(seals.KeyGone, errTest, "none"))
	n, stop = h.start(h.set(people(), aa))
	eventually(t, "sealed", func() bool { return warns(t, n, "not unsealed") })
	give(n)
	h.mustRead(n, "a", "1")
	f, err := SealAdminOf(n).Forecast(t.Context())
	if err != nil || f.WouldUnseal {
		t.Fatalf("%+v, %v", f, err)
	}
	aa.Wrapper.(*flaky).set(nil)
	h.refused("-purpose=seals -init")(SealAdminOf(n).Remove(t.Context(), "shamir", admin))
	grants := n.Ceremonies().Grants
	what, err := SealAdminOf(n).Subject(t.Context(), "remove shamir")
	if err != nil {
		t.Fatal(err)
	}
	st, err := grants.Start(t.Context(), recovery.PurposeAuthorizeSeals, what, admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.Keys[1:] {
		if _, err := grants.Give(t.Context(), recovery.PurposeAuthorizeSeals, st.Nonce, s); err != nil {
			t.Fatal(err)
		}
	}
	h.change(SealAdminOf(n).Remove(t.Context(), "shamir", admin))
	if r := h.record(); len(r.ShareSet) != 0 || len(r.Parts) != 1 {
		t.Fatalf("%+v", r)
	}
	h.authorises(n, recovery.Recovery, res.Keys)
	stop()
	n, _ = h.start(h.set(aa))
	eventually(t, "unsealed by the seal alone", isActive(n))
	h.mustRead(n, "a", "1")
	if sealed, err := n.SealStatus(t.Context()); err != nil || sealed.Threshold != 2 || sealed.Shares != 3 {
		t.Fatalf("%+v, %v", sealed, err)
	}
}
