package node

import (
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// TestAutoRewrapToSurvivors: the root key leaves a seal whose key is disabled, where that is asked
// for and another seal is proven; the last seal never leaves, and without the setting none does.
func TestAutoRewrapToSurvivors(t *testing.T) {
	for _, auto := range []bool{true, false} {
		h := newHarness(t)
		aa, bb := h.box("aa"), h.box("bb")
		set, err := seals.NewSet([]seals.Seal{aa, bb}, seals.Options{Deadline: time.Second, AutoRewrap: auto})
		if err != nil {
			t.Fatal(err)
		}
		n, _ := h.start(set)
		if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "active", isActive(n))
		aa.Wrapper.(*flaky).set(seals.Fail(seals.KeyDisabled, errTest, "enable it"))
		would := func(name string) bool {
			for _, st := range n.seals.Load().Status() {
				if st.Name == name {
					return st.WouldUnseal
				}
			}
			return false
		}
		eventually(t, "the failure", func() bool { return !would("aa") })
		if !auto {
			n.keeper.leaveDoomed(t.Context(), set)
			if len(h.record().Parts) != 2 {
				t.Fatal("a seal left without the setting")
			}
			continue
		}
		eventually(t, "the seal leaves", func() bool { return len(h.record().Parts) == 1 })
		if r := h.record(); r.Parts[0].Name != "bb" || r.Generation != 2 {
			t.Fatalf("%+v", r)
		}
		names, err := n.Ceremonies().Transcripts(t.Context())
		if err != nil || strings.Join(names, " ") != "00000001-seal-remove" {
			t.Errorf("%v, %v", names, err)
		}
		bb.Wrapper.(*flaky).set(seals.Fail(seals.KeyDisabled, errTest, "enable it"))
		eventually(t, "the second failure", func() bool { return !would("bb") })
		if len(h.record().Parts) != 1 {
			t.Fatal("the last seal left")
		}
	}
}
