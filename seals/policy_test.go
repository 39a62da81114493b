package seals

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func mustPlan(t testing.TB, text string) Plan {
	t.Helper()
	p, err := ParsePlan(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestParsePlan: a policy has one meaning and one spelling, and what was printed is read again.
func TestParsePlan(t *testing.T) {
	for text, want := range map[string]string{
		"a":                                   "any(a)",
		"any(a, b)":                           "any(a, b)",
		"any ( a,b )":                         "any(a, b)",
		"2 of (a, b, c)":                      "2 of (a, b, c)",
		"all(a, b)":                           "2 of (a, b)",
		"a and b and c":                       "3 of (a, b, c)",
		"any(a, b) and c":                     "any(a, b) and c",
		"2 of (any(a, b), c)":                 "any(a, b) and c",
		"2 of (a, any(b, c), d)":              "2 of (a, any(b, c), d)",
		"any(a, 2 of (b, c))":                 "any(a, 2 of (b, c))",
		"any(2 of (a, b, c))":                 "2 of (a, b, c)",
		"any(a) and any(b)":                   "2 of (a, b)",
		"any(a, all(b, c)) ":                  "any(a, 2 of (b, c))",
		"2 of (any(a, b), 2 of (c, d, e), f)": "2 of (any(a, b), 2 of (c, d, e), f)",
		"any(any, all, of, and)":              "any(any, all, of, and)",
		"2 of (2, 3)":                         "2 of (2, 3)",
	} {
		p, err := ParsePlan(text)
		if err != nil || p.Expression() != want {
			t.Errorf("%q: %q, %v; want %q", text, p.Expression(), err, want)
			continue
		}
		again, err := ParsePlan(p.Expression())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(p) {
			t.Errorf("%q read again: %+v, %v; want %+v", p.Expression(), again, err, p)
		}
	}
	for _, text := range []string{
		"", " ", "any()", "any(a", "any a", "any(a,)", "0 of (a)", "2 of (a)", "-1 of (a, b)", "3 of (a, b)", "a, b",
		"a or b", "a and", "and(a)", "any(a, a)", "a and any(a, b)", "any(a, any(b, any(c, d)))", "(a)", "a b",
		"any(a, 2 of (b, any(c, d)))", "any(any(a, b), c) and d", "2 of (a, 3 of (b, c))", "9999999999999999999999 of (a)",
		"any(" + strings.Repeat("x", 3000) + ")", "any(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)",
	} {
		if p, err := ParsePlan(text); ClassOf(err) != Misconfigured {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add("2 of (a, any(b, c), d)")
	f.Add("any(a, b) and c")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlan(text)
		if err != nil {
			return
		}
		again, err := ParsePlan(p.Expression())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(p) {
			t.Fatalf("%q printed as %q: %+v, %v", text, p.Expression(), again, err)
		}
	})
}

// TestPolicyChanges: which changes of a policy protect less, and which more.
func TestPolicyChanges(t *testing.T) {
	for _, c := range []struct {
		before, after   string
		lessens, raises bool
	}{
		{"any(a, b)", "2 of (a, b)", false, true},
		{"2 of (a, b)", "any(a, b)", true, false},
		{"2 of (a, b, c)", "a and any(b, c)", false, true},
		{"a and any(b, c)", "2 of (a, b, c)", true, false},
		{"any(a, b) and c", "a and any(b, c)", true, true},
		{"any(a, b)", "any(a, b, c)", false, false}, // c takes the place of one
		{"2 of (a, b)", "2 of (a, b, c)", false, false},
		{"any(a, b) and c", "any(a, b, d) and c", false, false},
		{"2 of (a, b)", "any(c, 2 of (a, b))", true, false}, // c alone, where two were needed
		{"any(a, b) and c", "2 of (any(a, b), c, d)", false, false},
		{"2 of (a, b, c)", "2 of (any(a, b), c)", false, true},
		{"any(a)", "a and b", false, true},
	} {
		before, after := mustPlan(t, c.before), mustPlan(t, c.after)
		if l, r := before.Lessens(after), before.Raises(after); l != c.lessens || r != c.raises {
			t.Errorf("%s to %s: lessens %v, raises %v", c.before, c.after, l, r)
		}
	}
}

// TestCountsAreChoices: without groups, counting finds what trying every choice does.
func TestCountsAreChoices(t *testing.T) {
	var plans []Plan
	for _, members := range [][]string{{"a"}, {"a", "b"}, {"b", "c"}, {"a", "b", "c"}, {"d"}, {"a", "c", "d"}} {
		for threshold := range len(members) {
			plans = append(plans, Plan{Members: members, Threshold: threshold + 1})
		}
	}
	for _, p := range plans {
		for _, q := range plans {
			for _, seals := range [][]string{{}, {"a"}, {"a", "b"}, {"b", "c", "d"}, {"a", "b", "c", "d"}} {
				if got, want := p.countsBeyond(q, seals), p.choiceBeyond(q, seals); got != want {
					t.Errorf("%s beyond %s with %v: %v, want %v", p, q, seals, got, want)
				}
			}
		}
	}
}

func TestWithout(t *testing.T) {
	for _, c := range []struct{ policy, name, want string }{
		{"any(a, b)", "b", "any(a)"},
		{"2 of (a, b)", "b", ""},
		{"any(a, b) and c", "a", "2 of (b, c)"},
		{"any(a, b) and c", "c", ""},
		{"2 of (a, any(b, c), d)", "d", "a and any(b, c)"},
		{"any(a, 2 of (b, c))", "c", ""},
		{"any(a, 2 of (b, c))", "a", "2 of (b, c)"},
		{"any(a, 2 of (b, c, d))", "d", "any(a, 2 of (b, c))"},
	} {
		next := mustPlan(t, c.policy).Without(c.name)
		if err := next.Check(); (err == nil) != (c.want != "") || err == nil && next.Expression() != c.want {
			t.Errorf("%s without %s: %s, %v; want %q", c.policy, c.name, next.Expression(), err, c.want)
		}
	}
}

func newGroupSet(t *testing.T, policy string) (*Set, map[string]*hanging, Plan) {
	t.Helper()
	p := mustPlan(t, policy)
	var members []Seal
	wrappers := map[string]*hanging{}
	for _, n := range p.Members {
		wrappers[n] = &hanging{}
		members = append(members, Seal{Name: n, Type: "test", Wrapper: wrappers[n]})
	}
	s, err := NewSet(members, Options{Policy: &p, Deadline: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return s, wrappers, p
}

// TestGroupsUnseal: every choice of seals unseals where the policy says so, and no other; no seal
// and no choice that does not suffice has the root key.
func TestGroupsUnseal(t *testing.T) {
	for _, policy := range []string{
		"any(a, b) and c", "2 of (a, any(b, c), d)", "any(a, 2 of (b, c))", "2 of (2 of (a, b, c), any(d, e), f)",
		"any(2 of (a, b), 2 of (c, d))", "2 of (a, b, c)", "any(a, b)",
	} {
		s, wrappers, p := newGroupSet(t, policy)
		root := newRoot(t)
		r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
		if err != nil {
			t.Fatal(policy, err)
		}
		want := 2
		if p.Grouped() {
			want = 3
		}
		if r.Version != want {
			t.Errorf("%s: written as version %d", policy, r.Version)
		}
		raw, err := r.Marshal()
		if err != nil {
			t.Fatal(policy, err)
		}
		if r, err = UnmarshalRecord(raw); err != nil || r.Plan().Expression() != p.Expression() {
			t.Fatalf("%s: read back as %v, %v", policy, r.Plan(), err)
		}
		for set := range 1 << len(p.Members) {
			has := func(m string) bool { return set>>slices.Index(p.Members, m)&1 == 1 }
			for name, w := range wrappers {
				w.set(func() {
					if w.fail = nil; !has(name) {
						w.fail = errors.New("unavailable")
					}
				})
				if alone := p.Opens(func(m string) bool { return m == name }); !alone &&
					bytes.Contains(w.plains[0], root.Expose()) {
					t.Errorf("%s: seal %s holds the whole root key", policy, name)
				}
			}
			got, err := s.Unwrap(t.Context(), r, nil)
			if opens := p.Opens(has); opens != (err == nil) || opens && !got.Equal(root) {
				t.Errorf("%s with %0*b (%d seals): %v", policy, len(p.Members), set, bits.OnesCount(uint(set)), err)
			}
		}
	}
}

// TestGroupsDoNotWait: the fastest sufficient seals unseal; a seal that hangs is waited for only
// where the others do not suffice.
func TestGroupsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, wrappers, _ := newGroupSet(t, "2 of (any(a, b), c, d)")
		defer s.Close()
		root := newRoot(t)
		r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		wrappers["a"].hang, wrappers["d"].hang = true, true
		start := time.Now()
		if got, err := s.Unwrap(t.Context(), r, nil); err != nil || !got.Equal(root) || time.Since(start) != 0 {
			t.Errorf("b and c answer: %v after %s", err, time.Since(start))
		}
		wrappers["b"].set(func() { wrappers["b"].fail = errors.New("unavailable") })
		_, err = s.Unwrap(t.Context(), r, nil)
		if took := time.Since(start); err == nil || took != time.Minute {
			t.Errorf("c alone answers: %v after %s", err, took)
		}
		if text := fmt.Sprint(err); !strings.Contains(text, "the root key needs 2 of (any(a, b), c, d); only c opened") {
			t.Errorf("the failure does not say what is missing: %s", text)
		}
	})
}

// TestGroupsAreAuthentic: an attacker who writes the storage cannot change the policy of a record
// with groups, neither against the parts nor against the root tag.
func TestGroupsAreAuthentic(t *testing.T) {
	s, _, _ := newGroupSet(t, "2 of (any(a, b), c, d)")
	s.opts.AllowPolicyChange = true // the configuration's own check is another test's
	root := newRoot(t)
	r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Record){
		"threshold":       func(r *Record) { r.Threshold = 1 },
		"group order":     func(r *Record) { r.Terms = []Term{{1, 1}, {1, 2}, {1, 1}} },
		"group threshold": func(r *Record) { r.Terms = []Term{{2, 2}, {1, 1}, {1, 1}} },
		"no groups":       func(r *Record) { r.Version, r.Terms = 2, nil },
		"a member less":   func(r *Record) { r.Terms, r.Parts = r.Terms[:2], r.Parts[:3] },
		"members exchanged": func(r *Record) {
			r.Parts = append([]Part(nil), r.Parts...)
			r.Parts[0].Name, r.Parts[2].Name = r.Parts[2].Name, r.Parts[0].Name
		},
		"another root key's share": func(r *Record) {
			other, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Parts = append(r.Parts[:2:2], other.Parts[2:]...)
		},
		"key version": func(r *Record) {
			r.Parts = append([]Part(nil), r.Parts...)
			r.Parts[0].KeyVersion = "another"
		},
	} {
		changed := *r
		change(&changed)
		if got, err := s.Unwrap(t.Context(), &changed, nil); err == nil {
			t.Errorf("%s: opened, the right key: %v", name, got.Equal(root))
		}
	}
	if _, err := s.Unwrap(t.Context(), r, nil); err != nil {
		t.Error("unchanged:", err)
	}
}

// TestConfiguredGroups: a record that opens for seals which the configuration does not let unseal
// is refused, and neither a rotation nor a rewrap weakens a stronger record.
func TestConfiguredGroups(t *testing.T) {
	s, _, _ := newGroupSet(t, "any(a, b) and c")
	root := newRoot(t)
	wrapAs := func(policy string) *Record {
		t.Helper()
		r, err := s.WrapAs(t.Context(), mustPlan(t, policy), "cluster", 1, root, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for policy, want := range map[string]string{
		"any(a, b) and c": "", "a and c": "", "a and b and c": "stronger",
		"2 of (a, b, c)": "weaker", "any(a, b)": "weaker", "c": "weaker", "a and any(b, c)": "weaker",
	} {
		r := wrapAs(policy)
		_, err := s.Unwrap(t.Context(), r, nil)
		text, stronger := s.PolicyDrift(r)
		if got := errors.Is(err, ErrWeaker); got != (want == "weaker") || !got && err != nil {
			t.Errorf("%s: %v", policy, err)
		}
		if (text != "") != (want != "") || stronger != (want == "stronger") {
			t.Errorf("%s: drift %q, stronger %v", policy, text, stronger)
		}
		if err := s.CheckReplace(r); (err != nil) != (want == "stronger") {
			t.Errorf("%s: replacing it by the configured policy: %v", policy, err)
		}
		s.Follow(r)
		if got := s.Plan().Expression(); got != r.Plan().Expression() {
			t.Errorf("%s: followed as %s", policy, got)
		}
		s.Follow(nil)
	}
	// A seal that the configuration has and its policy does not name opens nothing alone.
	extra := append(s.Seals(), Seal{Name: "d", Type: "test", Wrapper: &hanging{}})
	p := s.Configured()
	wider, err := NewSet(extra, Options{Policy: &p})
	if err != nil {
		t.Fatal(err)
	}
	planted, err := wider.WrapAs(t.Context(), mustPlan(t, "d"), "cluster", 1, root, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wider.Unwrap(t.Context(), planted, nil); !errors.Is(err, ErrWeaker) {
		t.Errorf("a seal that the policy does not name unsealed: %v", err)
	}
	if _, err := NewSet(s.Seals()[:2], Options{Policy: &p}); ClassOf(err) != Misconfigured {
		t.Errorf("a policy that names a seal without a stanza: %v", err)
	}
}
