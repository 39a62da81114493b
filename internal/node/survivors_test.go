package node

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// limited is a seal that knows by what it ends.
type limited struct {
	*flaky
	limits atomic.Pointer[[]seals.Limit]
}

func (l *limited) Limits(context.Context) ([]seals.Limit, error) {
	if p := l.limits.Load(); p != nil {
		return *p, nil
	}
	return nil, nil
}

// TestExpiringCredential: the forecast and the alarm name a credential that ends, and the root key
// leaves its seal in the last day; one that is renewed changes nothing.
func TestExpiringCredential(t *testing.T) {
	h := newHarness(t)
	aa, bb := h.box("aa"), h.box("bb")
	ends := &limited{flaky: aa.Wrapper.(*flaky)}
	aa.Wrapper = ends
	set, err := seals.NewSet([]seals.Seal{aa, bb}, seals.Options{Deadline: time.Second, AutoRewrap: true})
	if err != nil {
		t.Fatal(err)
	}
	n, _ := h.start(set)
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	lasts := func(left time.Duration, renews bool) {
		ends.limits.Store(&[]seals.Limit{
			seals.Ends("token", time.Time{}, h.clock().Add(left), renews, "replace it"),
			{What: "PIN tries", Danger: "a single try is left", Remedy: "ask"},
		})
	}
	forecast := func() *Forecast {
		f, err := SealAdminOf(n).Forecast(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	lasts(time.Hour, true)
	eventually(t, "the danger", func() bool { return len(forecast().Dangers) == 1 })
	if f := forecast(); len(f.Expires) != 0 || len(h.record().Parts) != 2 {
		t.Fatalf("a renewed credential counts: %+v", f)
	}
	lasts(10*24*time.Hour, false)
	eventually(t, "the expiry", func() bool { return len(forecast().Expires) == 1 })
	if e := forecast().Expires[0]; e.What != "its token expires" || !e.Soon || len(h.record().Parts) != 2 {
		t.Fatalf("%+v", e)
	}
	lasts(time.Hour, false)
	eventually(t, "the seal leaves", func() bool { return len(h.record().Parts) == 1 })
	if h.record().Parts[0].Name != "bb" {
		t.Fatalf("%+v", h.record().Parts)
	}
}

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
