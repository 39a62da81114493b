package node

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

// losses checks what the list says of the set.
func (h *harness) losses(n *Node, want ...string) {
	h.t.Helper()
	list, err := SealAdminOf(n).List(h.t.Context())
	if err != nil || strings.Join(list.Losses, "; ") != strings.Join(want, "; ") {
		h.t.Errorf("losses: %q, %v; want %q", list.Losses, err, want)
	}
}

// TestSealGroups: the policy gets groups and loses them while the node serves. What protects more
// gets a new root key, and the record has version 3 as long as there are groups.
func TestSealGroups(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	aa, bb, cc, dd := h.box("aa"), h.box("bb"), h.box("cc"), h.box("dd")
	n, stop := h.start(h.set(aa, bb, cc))
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	sa := SealAdminOf(n)
	h.losses(n, "survives the loss of any one of aa, bb, cc", "survives the loss of any two of aa, bb, cc")

	generation := h.record().Generation
	h.change(sa.SetPolicy(t.Context(), "any(aa, bb) and cc", admin))
	if r := h.record(); r.Version != 3 || r.Generation != generation+1 || r.Plan().Expression() != "any(aa, bb) and cc" {
		t.Fatalf("version %d, generation %d, %s", r.Version, r.Generation, r.Plan())
	}
	h.losses(n, "survives the loss of any one of aa, bb", "does not survive the loss of cc",
		"does not survive the loss of both aa and bb")
	h.change(sa.SetPolicy(t.Context(), "2 of (any(aa, bb), cc)", admin)) // the same: nothing to do
	for text, words := range map[string]string{
		"any(aa, bb)": "name each of them once", "any(aa, bb, cc, dd)": "name each of them once",
		"any(aa, any(bb": "cannot be read", "3 of (any(aa, bb), cc)": "cannot unseal",
	} {
		h.refused(words)(sa.SetPolicy(t.Context(), text, admin))
	}
	h.refused("cannot be met")(sa.Remove(t.Context(), "cc", admin))

	if _, err := n.ReplaceSeals(t.Context(), h.set(aa, bb, cc, dd)); err != nil {
		t.Fatal(err)
	}
	h.refused("where seal \"dd\" belongs")(sa.Add(t.Context(), "dd", "", admin))
	h.change(sa.Add(t.Context(), "dd", "any(aa, bb) and any(cc, dd)", admin))
	if n.RotateRoot(t.Context()) != nil || h.record().Plan().Expression() != "any(aa, bb) and any(cc, dd)" {
		t.Fatalf("after a rotation: %s", h.record().Plan())
	}
	left := h.copyFor(h.set(aa, bb, cc, dd))
	h.change(sa.Remove(t.Context(), "cc", admin))
	h.writtenAfter(n, left)
	stop()

	n, stop = h.start(h.set(bb, dd)) // aa is lost
	eventually(t, "active by one of the group", isActive(n))
	h.mustRead(n, "a", "1")
	stop()
	n, stop = h.start(h.set(aa, bb, dd))
	eventually(t, "active", isActive(n))
	h.change(SealAdminOf(n).Policy(t.Context(), 2, admin))
	if r := h.record(); r.Version != 2 || r.Threshold != 2 {
		t.Errorf("without groups: version %d, threshold %d", r.Version, r.Threshold)
	}
	stop()
	n, _ = h.start(h.set(aa, bb))
	eventually(t, "active by two of three", isActive(n))
}

// TestRaisingNeedsProofs: a policy that needs more of the seals than before is refused while a node
// could not satisfy it, so that no administrator locks the cluster out.
func TestRaisingNeedsProofs(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	aa, bb := h.box("aa"), h.box("bb")
	n, _ := h.start(h.set(aa, bb))
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	bb.Wrapper.(*flaky).set(seals.Fail(seals.KeyDisabled, errTest, "enable it"))
	h.refused("has not proven seal bb")(SealAdminOf(n).Policy(t.Context(), 2, admin))
	bb.Wrapper.(*flaky).set(nil)
	h.change(SealAdminOf(n).Policy(t.Context(), 2, admin))
}

// TestOldProgramsKeepGroupsOut: no record is written that the program or the configuration of a
// node would refuse.
func TestOldProgramsKeepGroupsOut(t *testing.T) {
	grouped, err := seals.ParsePlan("any(aa, bb) and cc")
	if err != nil {
		t.Fatal(err)
	}
	all := []sealReport{{Name: "aa", Configured: true}, {Name: "bb", Configured: true}, {Name: "cc", Configured: true}}
	for name, c := range map[string]struct {
		nodeReport
		words string
	}{
		"an older program": {nodeReport{Threshold: 1, Seals: all}, "cannot read a policy with groups"},
		"the same policy":  {nodeReport{Policy: "any(aa, bb) and cc", Record: 3, Seals: all}, ""},
		"a weaker one":     {nodeReport{Policy: "any(aa, bb, cc)", Record: 3, Seals: all}, ""},
		"a stronger one":   {nodeReport{Policy: "3 of (aa, bb, cc)", Record: 3, Seals: all}, "would refuse this record"},
		"another one":      {nodeReport{Policy: "aa and any(bb, cc)", Record: 3, Seals: all}, "asks for aa and any(bb, cc)"},
	} {
		why := reported{nodeReport: c.nodeReport, known: true}.refuses(grouped)
		if (why == "") != (c.words == "") || !strings.Contains(why, c.words) {
			t.Errorf("%s: %q, want %q", name, why, c.words)
		}
	}
}
