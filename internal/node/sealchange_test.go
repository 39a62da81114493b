package node

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

// box returns a static seal with a key of its own.
func (h *harness) box(name string) seals.Seal {
	h.t.Helper()
	w, err := static.New(seals.Config{Name: name, Type: "static", Params: map[string]string{
		"current_key": strings.Repeat(name, 32), "current_key_id": name}})
	if err != nil {
		h.t.Fatal(err)
	}
	return seals.Seal{Name: name, Type: "static", Wrapper: &flaky{Wrapper: w}}
}

// change is a change of the seals that must succeed at once.
func (h *harness) change(c *SealChange, err error) *SealChange {
	h.t.Helper()
	if err != nil || !c.Done {
		h.t.Fatalf("%+v, %v", c, err)
	}
	return c
}

// refused is a change that must be refused with words.
func (h *harness) refused(words string) func(*SealChange, error) {
	return func(c *SealChange, err error) {
		h.t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			h.t.Fatalf("%+v, %v; want an error with %q", c, err, words)
		}
	}
}

// TestSealChanges: a seal is added, the policy strengthened and weakened, and a seal removed,
// while the node serves; each time the record is what a fresh start unseals with, and the
// transcript records it.
func TestSealChanges(t *testing.T) {
	h := newHarness(t)
	aa, bb := h.box("aa"), h.box("bb")
	n, stop := h.start(h.set(aa))
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	sa := SealAdminOf(n)
	h.refused("no seal \"bb\" is configured")(sa.Add(t.Context(), "bb", "", admin))

	if _, err := n.ReplaceSeals(t.Context(), h.set(aa, bb)); err != nil {
		t.Fatal(err)
	}
	if r := h.record(); len(r.Parts) != 1 {
		t.Fatal("a reload alone must not add a seal")
	}
	if err := n.RotateRoot(t.Context()); err != nil || len(h.record().Parts) != 1 {
		t.Fatalf("a rotation must not add a seal: %v", err)
	}
	h.change(sa.Add(t.Context(), "bb", "", admin))
	h.change(sa.Add(t.Context(), "bb", "", admin)) // repeated: nothing to do
	list, err := sa.List(t.Context())
	if err != nil || list.Policy != "any of aa, bb" || len(list.Members) != 2 || len(list.Candidates) != 0 ||
		list.Losses[0] != "survives the loss of any one of aa, bb" {
		t.Fatalf("%+v, %v", list, err)
	}
	generation := h.record().Generation
	h.change(sa.Policy(t.Context(), 2, admin))
	if r := h.record(); r.Threshold != 2 || r.Generation != generation+1 {
		t.Fatalf("a stronger policy needs a new root key: %d, generation %d", r.Threshold, r.Generation)
	}
	h.refused("lower the threshold first")(sa.Remove(t.Context(), "aa", admin))
	h.change(sa.Policy(t.Context(), 1, admin))
	left := h.copyFor(h.set(aa, bb))
	h.change(sa.Remove(t.Context(), "aa", admin))
	h.writtenAfter(n, left)
	h.refused("holds no part")(sa.Remove(t.Context(), "aa", admin))
	if _, err := n.ReplaceSeals(t.Context(), h.set(aa)); err == nil ||
		!strings.Contains(err.Error(), "holds the root key and is not in the changed configuration") {
		t.Fatal(err)
	}
	names, err := n.Ceremonies().Transcripts(t.Context())
	if got := strings.Join(names, " "); err != nil ||
		got != "00000001-seal-add 00000002-seal-policy 00000003-seal-policy 00000004-seal-remove" {
		t.Errorf("transcript: %s, %v", got, err)
	}
	stop()
	n, _ = h.start(h.set(bb))
	eventually(t, "active by the new seal alone", isActive(n))
	h.mustRead(n, "a", "1")
}

// copyFor opens a copy of the storage as it is now with a seal that is about to be removed.
func (h *harness) copyFor(set *seals.Set) *barrier.Archive {
	h.t.Helper()
	record := h.record()
	root, err := set.Unwrap(h.t.Context(), record, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	defer root.Destroy()
	opened, err := barrier.OpenArchive([]byte(h.raw(barrier.KeyringPath)), root, record.Generation)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(opened.Close)
	return opened
}

// writtenAfter checks that the keys of a copy do not open what is written now.
func (h *harness) writtenAfter(n *Node, left *barrier.Archive) {
	h.t.Helper()
	if err := left.Check("test/a", []byte(h.raw("test/a"))); err != nil {
		h.t.Fatal("the copy does not open what was there:", err)
	}
	h.write(n, "after", "secret")
	if err := left.Check("test/after", []byte(h.raw("test/after"))); err == nil {
		h.t.Error("a copy of the storage and the seal that was left open what is written from now on")
	}
}

var errTest = errors.New("as the test wants it")

// TestForecast: the forecast follows the proofs, names the single losses that matter, and a node
// whose configuration asks for more than the record is one that would not unseal.
func TestForecast(t *testing.T) {
	h := newHarness(t)
	aa, bb := h.box("aa"), h.box("bb")
	n, _ := h.start(h.set(aa, bb))
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	f, err := SealAdminOf(n).Forecast(t.Context())
	if err != nil || !f.WouldUnseal || !f.AllNodes || len(f.CriticalLosses) != 0 || f.ProvenAt == nil ||
		!strings.Contains(f.Text, "also after the loss of any one seal") {
		t.Fatalf("%+v, %v", f, err)
	}
	bb.Wrapper.(*flaky).set(seals.Fail(seals.KeyDisabled, errTest, "enable it"))
	eventually(t, "one seal left", func() bool {
		f, err = SealAdminOf(n).Forecast(t.Context())
		return err == nil && f.WouldUnseal && len(f.CriticalLosses) == 1 && f.CriticalLosses[0] == "aa"
	})
	aa.Wrapper.(*flaky).set(seals.Fail(seals.Unreachable, errTest, "connect it"))
	eventually(t, "none left", func() bool {
		f, err = SealAdminOf(n).Forecast(t.Context())
		return err == nil && !f.WouldUnseal && strings.Contains(f.Text, "Do not restart") &&
			strings.Contains(f.Nodes[0].Cause, "unreachable")
	})
	strict := reported{nodeReport: nodeReport{Threshold: 2}, node: "b", known: true}
	if f := forecastOf(h.record(), strict); f.WouldUnseal || !strings.Contains(f.Cause, "would refuse this record") {
		t.Errorf("%+v", f)
	}
}

// TestSealAddInCluster: a seal enters the record only after every node has proven that it can use
// it, and the same request continues once the last one can.
func TestSealAddInCluster(t *testing.T) {
	e, _ := newTestCluster(t, 3, false)
	leader, _ := e.settled()
	others := e.standbys(leader)
	good, bad := e.box("bb"), e.box("bb")
	bad.Wrapper.(*flaky).set(seals.Fail(seals.Denied, errTest, "grant the use of the key"))
	main := seals.Seal{Name: "box", Type: "static", Wrapper: e.wrap}
	for i, n := range e.nodes {
		second := good
		if n == others[1] {
			second = bad
		}
		if _, err := n.ReplaceSeals(t.Context(), e.set(main, second)); err != nil {
			t.Fatal(i, err)
		}
	}
	echo := func() { // the nodes of a test have no listener
		for _, o := range others {
			m := o.replica.Self
			m.Report = SealAdminOf(o).announced()
			if err := leader.replica.Echo(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	type answer struct {
		c   *SealChange
		err error
	}
	add := func() answer {
		t.Helper()
		out := make(chan answer, 1)
		go func() {
			c, err := SealAdminOf(leader).Add(t.Context(), "bb", "", admin)
			out <- answer{c, err}
		}()
		for {
			select {
			case a := <-out:
				return a
			case <-time.After(20 * time.Millisecond):
				echo()
			}
		}
	}
	a := add()
	if a.err != nil || a.c.Done || len(a.c.Waiting) != 1 ||
		!strings.Contains(a.c.Waiting[0], others[1].cfg.Cluster.Hostname+": denied") {
		t.Fatalf("%+v, %v", a.c, a.err)
	}
	if len(leader.state.Load().record.Parts) != 1 {
		t.Fatal("a seal entered the record that a standby cannot use")
	}
	bad.Wrapper.(*flaky).set(nil)
	others[1].poke()
	if a = add(); a.err != nil || !a.c.Done || len(leader.state.Load().record.Parts) != 2 {
		t.Fatalf("%+v, %v", a.c, a.err)
	}
	echo()
	list, err := SealAdminOf(leader).List(t.Context())
	if err != nil || len(list.Nodes) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, o := range others {
		eventually(t, "the standby follows", func() bool { return len(o.state.Load().record.Parts) == 2 })
		eventually(t, "the standby proves the new seal at once: its next turn is in an hour", func() bool {
			i := slices.IndexFunc(SealAdminOf(o).report().Seals, func(s sealReport) bool { return s.Name == "bb" })
			return i >= 0 && SealAdminOf(o).report().Seals[i].WouldUnseal
		})
	}
	echo()
	if c, err := SealAdminOf(leader).Policy(t.Context(), 2, admin); err != nil || c.Policy != "2 of box, bb" {
		t.Errorf("raising the policy: %+v, %v", c, err)
	}
}

// asked returns the change that the command in a refusal asks for.
func (h *harness) asked(_ *SealChange, err error) string {
	h.t.Helper()
	if err == nil {
		h.t.Fatal("it was not refused")
	}
	_, rest, _ := strings.Cut(err.Error(), "`sealgate operator authorize -purpose=seals -init -change=")
	quoted, _, ok := strings.Cut(rest, "` with this token")
	change, bad := strconv.Unquote(quoted)
	if !ok || bad != nil {
		h.t.Fatalf("no command in: %v", err)
	}
	return change
}

// TestRefusalsNameTheCommand: the command in a refusal asks the quorum for that very change.
func TestRefusalsNameTheCommand(t *testing.T) {
	h := newHarness(t)
	aa, bb, cc := h.box("aa"), h.box("bb"), h.box("cc")
	n, _ := h.start(h.set(aa, bb))
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	sa := SealAdminOf(n)
	if _, err := n.ReplaceSeals(t.Context(), h.set(aa, bb, cc)); err != nil {
		t.Fatal(err)
	}
	for _, each := range []struct {
		ask string
		do  func() (*SealChange, error)
	}{
		{"add cc: any(aa, bb, cc)", func() (*SealChange, error) { return sa.Add(t.Context(), "cc", "", admin) }},
		{"remove cc", func() (*SealChange, error) { return sa.Remove(t.Context(), "cc", admin) }},
		{"replace bb with cc: any(aa, cc)", func() (*SealChange, error) {
			return sa.Replace(t.Context(), "cc", "", []string{"bb"}, admin)
		}},
		{"policy any(aa, cc)", func() (*SealChange, error) { return sa.Policy(t.Context(), 1, admin) }},
	} {
		switch each.ask {
		case "add cc: any(aa, bb, cc)": // one more seal that unseals alone
			h.change(each.do())
			continue
		case "policy any(aa, cc)":
			h.change(sa.Policy(t.Context(), 2, admin))
		}
		h.authorize(n, "remove aa", res.RecoveryKeys) // another change
		for range 2 {
			if ask := h.asked(each.do()); ask != each.ask {
				t.Fatalf("asks for %q, want %q", ask, each.ask)
			}
			n.Ceremonies().Grants.Forget()
		}
		h.authorize(n, each.ask, res.RecoveryKeys)
		h.change(each.do())
	}
}

// TestSealChangeNeedsQuorum: an administrator alone cannot remove a seal or lower the threshold;
// the grant of a quorum allows it once, and only its token.
func TestSealChangeNeedsQuorum(t *testing.T) {
	h := newHarness(t)
	n, _ := h.start(h.set(h.box("aa"), h.box("bb"), h.box("cc")))
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 2, RecoveryThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	sa, grants := SealAdminOf(n), n.Ceremonies().Grants
	grant := func(change string) {
		t.Helper()
		what, err := sa.Subject(t.Context(), change)
		if err != nil {
			t.Fatal(err)
		}
		st, err := grants.Start(t.Context(), recovery.PurposeAuthorizeSeals, what, admin)
		if err != nil {
			t.Fatal(err)
		}
		for _, share := range res.RecoveryKeys {
			if st, err = grants.Give(t.Context(), recovery.PurposeAuthorizeSeals, st.Nonce, share); err != nil {
				t.Fatal(err)
			}
		}
		if !st.Complete || st.Change != what.Change {
			t.Fatalf("%+v", st)
		}
	}
	const refusal = "-purpose=seals -init"
	h.change(sa.Policy(t.Context(), 2, admin)) // strengthening needs none
	h.refused(refusal)(sa.Policy(t.Context(), 1, admin))
	h.refused(refusal)(sa.Remove(t.Context(), "aa", admin))
	if r := h.record(); r.Threshold != 2 || len(r.Parts) != 3 {
		t.Fatalf("%d of %d", r.Threshold, len(r.Parts))
	}
	if _, err := grants.Start(t.Context(), recovery.PurposeAuthorizeSeals, ceremony.Subject{}, admin); err == nil {
		t.Fatal("an authorisation of any change was started")
	}
	grant("remove aa")
	other := admin
	other.Accessor = "another"
	h.refused("another one")(sa.Remove(t.Context(), "aa", other))
	h.refused("holds no part")(sa.Remove(t.Context(), "zz", admin)) // uses no grant
	h.refused("another change (remove aa; policy: 2 of (bb, cc))")(sa.Remove(t.Context(), "bb", admin))
	h.refused("another change")(sa.Policy(t.Context(), 1, admin))
	h.change(sa.Policy(t.Context(), 3, admin)) // the policy that was authorised is another one now
	h.refused("lower the threshold first")(sa.Remove(t.Context(), "aa", admin))
	grant("policy 2 of (aa, bb, cc)")
	h.change(sa.Policy(t.Context(), 2, admin))
	grant("remove aa")
	h.change(sa.Remove(t.Context(), "aa", admin))
	h.refused(refusal)(sa.Policy(t.Context(), 1, admin))
	grant("policy 1")
	h.change(sa.Policy(t.Context(), 1, admin))
	if r := h.record(); r.Threshold != 1 || len(r.Parts) != 2 {
		t.Fatalf("%d of %d", r.Threshold, len(r.Parts))
	}
}

// TestProtectedSeals: the keys of a seal that holds the root key are protected on a node without
// its stanza, too.
func TestProtectedSeals(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	aa, bb := h.box("aa"), h.box("bb")
	n, _ := h.start(h.set(aa, bb))
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range protectedSeals(h.set(aa), h.record()) {
		names = append(names, s.Name+" "+s.Type)
	}
	if got := strings.Join(names, ", "); got != "aa static, bb static" {
		t.Errorf("protected: %s", got)
	}
	if got := protectedSeals(h.set(aa), nil); len(got) != 1 {
		t.Errorf("without a record: %v", got)
	}
}
