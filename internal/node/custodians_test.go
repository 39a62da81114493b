package node

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
)

// custodians returns the seal of the unseal custodians.
func (h *harness) custodians() seals.Seal {
	h.t.Helper()
	w, err := shamir.New(seals.Config{Name: "custodians", Type: "shamir"})
	if err != nil {
		h.t.Fatal(err)
	}
	return seals.Seal{Name: "custodians", Type: "shamir", Wrapper: w}
}

// under returns a set with a policy.
func (h *harness) under(policy string, m ...seals.Seal) *seals.Set {
	h.t.Helper()
	p, err := seals.ParsePlan(policy)
	if err != nil {
		h.t.Fatal(err)
	}
	set, err := seals.NewSet(m, seals.Options{Deadline: time.Second, Policy: &p})
	if err != nil {
		h.t.Fatal(err)
	}
	return set
}

// authorize lets a quorum authorise one change of the seals.
func (h *harness) authorize(n *Node, change string, shares []*secret.Bytes) {
	h.t.Helper()
	what, err := SealAdminOf(n).Subject(h.t.Context(), change)
	if err != nil {
		h.t.Fatal(err)
	}
	grants := n.Ceremonies().Grants
	st, err := grants.Start(h.t.Context(), recovery.PurposeAuthorizeSeals, what, admin)
	for _, s := range shares {
		if err == nil {
			st, err = grants.Give(h.t.Context(), recovery.PurposeAuthorizeSeals, st.Nonce, s)
		}
	}
	if err != nil || !st.Complete {
		h.t.Fatalf("%+v, %v", st, err)
	}
}

// readOnly is a store that refuses commits on demand.
type readOnly struct {
	storage.Store
	on atomic.Bool
}

func (s *readOnly) Commit(ctx context.Context, b storage.Batch) error {
	if s.on.Load() {
		return storage.ErrFull
	}
	return s.Store.Commit(ctx, b)
}

// enrolmentFails gives a quorum whose record the store refuses. The last share again gives no
// grant: the shares before are no longer there to be combined.
func (h *harness) enrolmentFails(n *Node, store *readOnly, what ceremony.Subject, quorum []*secret.Bytes) {
	h.t.Helper()
	grants, p := n.Ceremonies().Grants, recovery.PurposeAuthorizeSeals
	st, err := grants.Start(h.t.Context(), p, what, admin)
	for _, s := range quorum[:len(quorum)-1] {
		if err == nil {
			_, err = grants.Give(h.t.Context(), p, st.Nonce, s)
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	store.on.Store(true)
	_, err = grants.Give(h.t.Context(), p, st.Nonce, quorum[len(quorum)-1])
	store.on.Store(false)
	if err == nil {
		h.t.Fatal("an authorisation is complete without its record")
	}
	got, err := grants.Give(h.t.Context(), p, st.Nonce, quorum[len(quorum)-1])
	if err == nil || !strings.Contains(err.Error(), "cancel it, start it again") {
		h.t.Fatalf("the last share again, after its record was not written: %+v, %v", got, err)
	}
	if err := grants.Cancel(h.t.Context(), p, st.Nonce, admin); err != nil {
		h.t.Fatal(err)
	}
}

func lose(lost ...seals.Seal) {
	for _, s := range lost {
		s.Wrapper.(*flaky).set(seals.Fail(seals.KeyGone, errTest, "restore it"))
	}
}

// restarted starts a node that does not unseal automatically, and gives it shares. It returns their
// error.
func (h *harness) restarted(set *seals.Set, shares []*secret.Bytes) (n *Node, stop func(), err error) {
	h.t.Helper()
	n, stop = h.start(set)
	eventually(h.t, "sealed", func() bool { return warns(h.t, n, "not unsealed") })
	for _, s := range shares {
		if err = n.Unseal(h.t.Context(), s, false); err != nil {
			return n, stop, err
		}
	}
	return n, stop, nil
}

// TestCustodiansAsAMember: custodians are one of three members of which two unseal, from the
// initialisation on. Each single loss unseals, by shares where the seals do not suffice, and each
// double loss does not, and says what is missing. A rekey keeps the policy.
func TestCustodiansAsAMember(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	hsm, kms := h.box("aa"), h.box("bb")
	set := func() *seals.Set { return h.under("2 of (aa, bb, custodians)", hsm, kms, h.custodians()) }
	n, stop := h.start(set())
	if _, err := n.Init(t.Context(), InitRequest{}); err == nil || !strings.Contains(err.Error(), "shares must be") {
		t.Fatalf("initialised without shares: %v", err)
	}
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 3, RecoveryThreshold: 2})
	if err != nil || len(res.RecoveryKeys) != 3 || len(res.Keys) != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	shares := res.RecoveryKeys
	if st, err := n.SealStatus(t.Context()); err != nil || !st.RecoverySeal || st.Threshold != 2 || st.Shares != 3 {
		t.Errorf("%+v, %v", st, err)
	}
	h.losses(n, "survives the loss of any one of aa, bb, custodians", "does not survive the loss of both aa and bb",
		"does not survive the loss of both aa and custodians", "does not survive the loss of both bb and custodians")
	f, err := SealAdminOf(n).Forecast(t.Context())
	if err != nil || !f.WouldUnseal || strings.Join(f.CriticalLosses, " ") != "aa bb" {
		t.Errorf("without shares each seal is needed: %+v, %v", f, err)
	}
	shares = h.rekey(n, recovery.Barrier, recovery.Params{Shares: 3, Threshold: 2}, shares[:2])
	if r := h.record(); r.Plan().Expression() != "2 of (aa, bb, custodians)" {
		t.Errorf("after a rekey: %s", r.Plan())
	}
	stop()

	for _, lost := range []seals.Seal{hsm, kms} {
		lose(lost)
		n, stop, err = h.restarted(set(), shares[1:])
		if err != nil {
			t.Fatalf("without %s: %v", lost.Name, err)
		}
		h.mustRead(n, "a", "1")
		stop()
		lost.Wrapper.(*flaky).set(nil)
	}
	n, stop = h.start(set())
	eventually(t, "active without custodians", isActive(n))
	stop()

	lose(hsm)
	n, stop, err = h.restarted(set(), shares[:1])
	if err != nil || isActive(n)() {
		t.Fatalf("one share and one seal: %v", err)
	}
	if !warns(t, n, "needs 2 of aa, bb, custodians; only bb opened") {
		t.Error("the status does not say what is missing")
	}
	stop()
	lose(hsm, kms)
	_, _, err = h.restarted(set(), shares[:2])
	for _, words := range []string{"only custodians opened", `seal "aa"`, `seal "bb"`} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("custodians alone: %v; want %q", err, words)
		}
	}
}

// TestCustodiansJoinAndLeave: the holders of the recovery shares become a member by a quorum of
// their shares, which stay valid, and leave again.
func TestCustodiansJoinAndLeave(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	hsm, kms := h.box("aa"), h.box("bb")
	all := func() []seals.Seal { return []seals.Seal{hsm, kms, h.custodians()} }
	store := &readOnly{Store: h.store}
	h.store = store
	n, stop := h.start(h.under("2 of (aa, bb)", hsm, kms))
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 3, RecoveryThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	sa, shares := SealAdminOf(n), res.RecoveryKeys
	h.refused(`no seal "custodians" is configured`)(sa.Add(t.Context(), "custodians", "", admin))
	for _, policy := range []string{"2 of (aa, bb)", "2 of (aa, bb, custodians)"} {
		if _, err := n.ReplaceSeals(t.Context(), h.under(policy, all()...)); err != nil {
			t.Fatal(err)
		}
		if policy == "2 of (aa, bb)" {
			h.refused("change seal_policy there")(sa.Add(t.Context(), "custodians", "", admin))
		}
	}
	h.refused("-purpose=seals -init")(sa.Add(t.Context(), "custodians", "", admin))
	h.authorize(n, "remove aa", shares[:2]) // another change
	h.refused("another change")(sa.Add(t.Context(), "custodians", "", admin))

	grants, p := n.Ceremonies().Grants, recovery.PurposeAuthorizeSeals
	what, err := sa.Subject(t.Context(), "add custodians")
	if err != nil || !what.Enroll || what.Change != "add custodians; policy: 2 of (aa, bb, custodians)" {
		t.Fatalf("%+v, %v", what, err)
	}
	st, err := grants.Start(t.Context(), p, what, admin)
	if err == nil {
		_, err = grants.Give(t.Context(), p, st.Nonce, shares[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	grants.Forget() // as where another node leads meanwhile
	_, err = grants.Give(t.Context(), p, st.Nonce, shares[1])
	if err == nil || !strings.Contains(err.Error(), "start it again") {
		t.Fatalf("a quorum of shares that no node has together: %v", err)
	}
	if err := grants.Cancel(t.Context(), p, st.Nonce, admin); err != nil {
		t.Fatal(err)
	}
	h.enrolmentFails(n, store, what, shares[:2])
	h.authorize(n, "add custodians", shares[:2])
	h.change(sa.Add(t.Context(), "custodians", "", admin))
	if r := h.record(); r.Plan().Expression() != "2 of (aa, bb, custodians)" || len(r.QuorumTag) == 0 {
		t.Fatalf("%s", r.Plan())
	}
	h.change(sa.Add(t.Context(), "custodians", "", admin)) // repeated: nothing to do
	h.authorises(n, recovery.Barrier, shares)
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()

	lose(hsm)
	_, stop, err = h.restarted(h.under("2 of (aa, bb)", all()...), shares[:2])
	if err == nil || !strings.Contains(err.Error(), "weaker policy than the configured one") {
		t.Fatalf("the configuration does not name the custodians: %v", err)
	}
	stop()
	n, stop, err = h.restarted(h.under("2 of (aa, bb, custodians)", all()...), shares[:2])
	if err != nil {
		t.Fatal(err)
	}
	h.mustRead(n, "a", "1")
	hsm.Wrapper.(*flaky).set(nil)
	h.authorize(n, "remove custodians", shares[1:])
	h.change(SealAdminOf(n).Remove(t.Context(), "custodians", admin))
	if r := h.record(); r.Plan().Expression() != "2 of (aa, bb)" || len(r.ShareSet) != 0 {
		t.Fatalf("%s", r.Plan())
	}
	h.authorises(n, recovery.Recovery, shares)
	stop()
	n, _ = h.start(h.under("2 of (aa, bb)", hsm, kms))
	eventually(t, "active without custodians", isActive(n))
}

// TestCustodiansInAGroup: any of two HSMs, and the custodians. Nothing unseals without shares, and
// one of the HSMs may be lost. What makes shares necessary needs a quorum, which has them.
func TestCustodiansInAGroup(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	a, b := h.box("aa"), h.box("bb")
	all := func() []seals.Seal { return []seals.Seal{a, b, h.custodians()} }
	const any, both = "any(aa, bb, custodians)", "any(aa, bb) and custodians"
	n, stop := h.start(h.under(any, all()...))
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	h.refused("-purpose=seals -init")(SealAdminOf(n).SetPolicy(t.Context(), both, admin))
	h.authorize(n, "policy "+both, res.RecoveryKeys)
	h.change(SealAdminOf(n).SetPolicy(t.Context(), both, admin))
	stop()

	lose(a)
	n, stop = h.start(h.under(both, all()...))
	eventually(t, "waits for shares", func() bool {
		st, err := n.SealStatus(t.Context())
		return err == nil && st.Initialized && st.Sealed && !st.RecoverySeal && st.Threshold == 1
	})
	if err := n.Unseal(t.Context(), res.RecoveryKeys[0], false); err != nil {
		t.Fatal(err)
	}
	h.mustRead(n, "a", "1")
	stop()
	lose(b)
	n, _ = h.start(h.under(both, all()...))
	if err := n.Unseal(t.Context(), res.RecoveryKeys[0], false); err == nil || !strings.Contains(err.Error(),
		"needs any(aa, bb) and custodians; only custodians opened") {
		t.Fatalf("no HSM is left: %v", err)
	}
	if _, err := n.Ceremonies().Grants.Start(t.Context(), recovery.PurposeAuthorizeSeals, ceremony.Subject{Change: "x"},
		admin); err == nil {
		t.Error("a sealed node started an authorisation")
	}
}

// TestCustodiansAfterBreakGlass: holders who are enrolled for break-glass become custodians. The
// enrolment ends with that: their shares open the root key with the other seals alone.
func TestCustodiansAfterBreakGlass(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	hsm, kms := h.box("aa"), h.box("bb")
	set := func() *seals.Set { return h.under("2 of (aa, bb, custodians)", hsm, kms, h.custodians()) }
	n, stop := h.start(h.under("2 of (aa, bb)", hsm, kms))
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 3, RecoveryThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	h.enrol(n, recovery.PurposeBreakGlassEnroll, res.RecoveryKeys[:2])
	if h.raw(keyBreakGlass) == "" {
		t.Fatal("not enrolled")
	}
	if _, err := n.ReplaceSeals(t.Context(), set()); err != nil {
		t.Fatal(err)
	}
	h.authorize(n, "add custodians", res.RecoveryKeys[:2])
	h.change(SealAdminOf(n).Add(t.Context(), "custodians", "", admin))
	if _, err := h.store.Get(t.Context(), keyBreakGlass); err == nil || n.state.Load().breakGlass {
		t.Error("the quorum alone still opens the root key")
	}
	stop()
	lose(hsm)
	n, _, err = h.restarted(set(), res.RecoveryKeys[:2])
	if err != nil {
		t.Fatal(err)
	}
	h.mustRead(n, "a", "1")
}
