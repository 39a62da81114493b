package token

import (
	"slices"
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
)

// TestPoliciesWithoutAToken: a caller of another protocol has what its policies say, at once after
// they change, and never what a root token has.
func TestPoliciesWithoutAToken(t *testing.T) {
	t.Parallel()
	e, _ := formatted(t)
	s := opened(t, e, nil)
	write := func(name, text string) {
		t.Helper()
		if err := s.WritePolicy(t.Context(), PolicyWrite{Name: name, Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	need := Need{Path: "transit/encrypt/k", Capability: Update}
	as := func(want bool, policies ...string) {
		t.Helper()
		granting, err := As(t.Context(), s, policies, need)
		if want && (err != nil || !slices.Equal(granting, []string{"one"})) {
			t.Errorf("%v: granted by %v, %v", policies, granting, err)
		}
		if !want && (!fault.Is(err, fault.Denied) || granting != nil) {
			t.Errorf("%v: granted by %v, %v", policies, granting, err)
		}
	}
	as(false, "one")
	as(false)
	write("one", `path "transit/encrypt/k" { capabilities = ["update"] }`)
	as(true, "one")
	as(false, "root")
	as(false, "one", "root")
	write("two", `path "transit/encrypt/k" { capabilities = ["deny"] }`)
	as(false, "one", "two")
	write("one", `path "transit/encrypt/other" { capabilities = ["update"] }`)
	as(false, "one")
}
