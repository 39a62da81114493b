package seals

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Plan is which seals hold a part of the root key, and which of them unseal together: Threshold
// terms. A term is one member, or a group of members with a threshold of its own. Groups are one
// level deep, and each member is named once.
//
//	any(hsm, kms)                      either of the two
//	2 of (hsm, kms, custodians)        any two of the three
//	any(hsm_a, hsm_b) and custodians   both terms: one of the HSMs, and the custodians
//	2 of (hsm, any(kms_a, kms_b), custodians)
type Plan struct {
	Members   []string
	Threshold int    // terms needed; 0 and 1 mean any of them
	Terms     []Term // consecutive members; nil: each member is a term
}

// Term is one term of a policy: the next Size members, of which Threshold are needed.
type Term struct{ Threshold, Size int }

// grouped reports whether a term has more than one member.
func (t Term) grouped() bool { return t.Size > 1 }

// Grouped reports whether the policy has groups.
func (p Plan) Grouped() bool { return slices.ContainsFunc(p.Terms, Term.grouped) }

// terms returns the terms, one for each member where there are no groups.
func (p Plan) terms() []Term {
	if p.Terms != nil {
		return p.Terms
	}
	return slices.Repeat([]Term{{1, 1}}, len(p.Members))
}

// normal returns the plan with its one representation: no terms without groups.
func (p Plan) normal() Plan {
	p.Threshold = max(1, p.Threshold)
	switch {
	case len(p.Terms) == 1 && p.Threshold == 1:
		p.Threshold, p.Terms = p.Terms[0].Threshold, nil
	case !p.Grouped():
		p.Terms = nil
	}
	return p
}

// String returns the policy in words. Without groups: "any of hsm, kms" or "2 of hsm, kms, cloud".
func (p Plan) String() string {
	if p.Grouped() {
		return p.Expression()
	}
	list := strings.Join(p.Members, ", ")
	if p.Threshold <= 1 {
		return "any of " + list
	}
	return fmt.Sprintf("%d of %s", p.Threshold, list)
}

// Expression returns the policy as [ParsePlan] reads it.
func (p Plan) Expression() string {
	var texts []string
	rest := p.Members
	for _, t := range p.terms() {
		members := rest[:t.Size]
		rest = rest[t.Size:]
		if !t.grouped() {
			texts = append(texts, members[0])
			continue
		}
		texts = append(texts, combination(t.Threshold, members))
	}
	if len(texts) == p.Threshold && len(texts) > 1 && p.Grouped() {
		return strings.Join(texts, " and ")
	}
	return combination(p.Threshold, texts)
}

func combination(threshold int, of []string) string {
	list := "(" + strings.Join(of, ", ") + ")"
	if threshold <= 1 {
		return "any" + list
	}
	return fmt.Sprintf("%d of %s", threshold, list)
}

// Check refuses a policy that cannot unseal, or names a seal twice.
func (p Plan) Check() error {
	if len(p.Members) == 0 || len(p.Members) > maxSeals {
		return Fail(Misconfigured, fmt.Errorf("a policy of %d seals", len(p.Members)),
			"name 1 to %d seals in the policy", maxSeals)
	}
	for i, m := range p.Members {
		if slices.Contains(p.Members[:i], m) {
			return Fail(Misconfigured, fmt.Errorf("seal %q is named twice", m), "name each seal once")
		}
	}
	terms, size := p.terms(), 0
	for _, t := range terms {
		size += t.Size
		if t.Size < 1 || t.Threshold < 1 || t.Threshold > t.Size {
			return unmet(t.Threshold, t.Size)
		}
	}
	if size != len(p.Members) || p.Threshold < 1 || p.Threshold > len(terms) {
		return unmet(p.Threshold, len(terms))
	}
	return nil
}

func unmet(threshold, of int) error {
	return Fail(Misconfigured, fmt.Errorf("%d of %d seals cannot unseal", threshold, of),
		"choose a threshold from 1 to the number of seals")
}

// With returns the plan with one more member, as a term of its own.
func (p Plan) With(name string) Plan {
	next := Plan{Members: append(slices.Clone(p.Members), name), Threshold: p.Threshold}
	if p.Grouped() {
		next.Terms = append(slices.Clone(p.Terms), Term{1, 1})
	}
	return next
}

// Without returns the plan without a member. Its thresholds stay; [Plan.Check] says whether they
// can still be met.
func (p Plan) Without(name string) Plan {
	return p.only(func(m string) bool { return m != name })
}

// only returns the plan with the members that keep accepts. A group that cannot be met any more
// stays as it is, because it is Check that refuses it; an empty one goes.
func (p Plan) only(keep func(name string) bool) Plan {
	next := Plan{Threshold: p.Threshold}
	rest := p.Members
	for _, t := range p.terms() {
		left := Term{Threshold: t.Threshold}
		for _, m := range rest[:t.Size] {
			if keep(m) {
				next.Members = append(next.Members, m)
				left.Size++
			}
		}
		rest = rest[t.Size:]
		if left.Size > 0 {
			next.Terms = append(next.Terms, left)
		}
	}
	return next.normalUnlessUnmet()
}

// normalUnlessUnmet keeps the terms where one of them can not be met, which a plan without terms
// could not say.
func (p Plan) normalUnlessUnmet() Plan {
	if p.Check() != nil {
		return p
	}
	return p.normal()
}

// Opens reports whether the members that has accepts unseal together.
func (p Plan) Opens(has func(name string) bool) bool {
	met, rest := 0, p.Members
	for _, t := range p.terms() {
		n := 0
		for _, m := range rest[:t.Size] {
			if has(m) {
				n++
			}
		}
		rest = rest[t.Size:]
		if n >= t.Threshold {
			met++
		}
	}
	return met > 0 && met >= p.Threshold
}

// OpensWith reports whether the named members unseal together.
func (p Plan) OpensWith(names []string) bool {
	return p.Opens(func(m string) bool { return slices.Contains(names, m) })
}

// beyond reports whether some of the given seals open p and do not open q.
func (p Plan) beyond(q Plan, seals []string) bool {
	if !p.Grouped() && !q.Grouped() {
		return p.countsBeyond(q, seals)
	}
	return p.choiceBeyond(q, seals)
}

// countsBeyond is beyond for two policies without groups: the best choice has every seal that p
// alone names, and as many of both as q lets pass.
func (p Plan) countsBeyond(q Plan, seals []string) bool {
	alone, both := 0, 0
	for _, m := range seals {
		switch {
		case !slices.Contains(p.Members, m):
		case slices.Contains(q.Members, m):
			both++
		default:
			alone++
		}
	}
	return alone+min(both, max(1, q.Threshold)-1) >= max(1, p.Threshold)
}

// choiceBeyond is beyond by trying every choice of at most 16 seals.
func (p Plan) choiceBeyond(q Plan, seals []string) bool {
	for set := range 1 << len(seals) {
		has := func(m string) bool {
			i := slices.Index(seals, m)
			return i >= 0 && set>>i&1 == 1
		}
		if p.Opens(has) && !q.Opens(has) {
			return true
		}
	}
	return false
}

// WeakerThan reports whether p protects less than a configured policy q demands, for a node that
// has the given seals. Where the members of q are not known, its threshold counts.
func (p Plan) WeakerThan(q Plan, seals []string) bool {
	if len(q.Members) == 0 {
		return !p.Grouped() && p.Threshold < q.Threshold
	}
	return p.beyond(q, seals)
}

// Lessens reports whether the policy next protects less than p: seals of p unseal that do not under
// p, or a new seal unseals together with seals that could not do so with any seal of p in its
// place.
func (p Plan) Lessens(next Plan) bool {
	for set := range 1 << len(next.Members) {
		var old, added []string
		for i, m := range next.Members {
			switch {
			case set>>i&1 == 0:
			case slices.Contains(p.Members, m):
				old = append(old, m)
			default:
				added = append(added, m)
			}
		}
		if next.OpensWith(slices.Concat(old, added)) && !p.reaches(old, len(added)) {
			return true
		}
	}
	return false
}

// reaches reports whether some seals unseal together with at most n others.
func (p Plan) reaches(seals []string, n int) bool {
	if p.OpensWith(seals) {
		return true
	}
	if n == 0 {
		return false
	}
	return slices.ContainsFunc(p.Members, func(m string) bool {
		return !slices.Contains(seals, m) && p.reaches(append(slices.Clone(seals), m), n-1)
	})
}

// Raises reports whether seals that unseal under p do not under the policy next.
func (p Plan) Raises(next Plan) bool { return p.beyond(next, p.Members) }

// sameOn reports whether two policies agree for every choice of the seals that both name.
func (p Plan) sameOn(q Plan) bool {
	if !p.Grouped() && !q.Grouped() {
		return p.Threshold == q.Threshold
	}
	both := slices.DeleteFunc(slices.Clone(p.Members), func(m string) bool { return !slices.Contains(q.Members, m) })
	return !p.beyond(q, both) && !q.beyond(p, both)
}

// ParsePlan reads a policy:
//
//	policy = combination of terms | term { "and" term }
//	term   = NAME | combination of names
//	combination of x = ( "any" | "all" | NUMBER "of" ) "(" x { "," x } ")"
func ParsePlan(text string) (Plan, error) {
	if len(text) > maxPolicy {
		return Plan{}, badPolicy("it has more than %d bytes", maxPolicy)
	}
	r := &policyReader{words: policyWords(text)}
	p, err := r.policy()
	if err != nil {
		return Plan{}, err
	}
	return p.normal(), nil
}

const maxPolicy = 2048

func badPolicy(format string, args ...any) error {
	return Fail(Misconfigured, fmt.Errorf("the seal policy cannot be read: "+format, args...),
		"write it as in: any(hsm_a, hsm_b) and custodians; or: 2 of (hsm, kms, custodians)")
}

// policyWords splits a policy into names, numbers and punctuation.
func policyWords(text string) (out []string) {
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		n := strings.IndexAny(text, "(), \t\n")
		switch n {
		case -1:
			n = len(text)
		case 0:
			n = 1
		}
		out = append(out, text[:n])
		text = text[n:]
	}
	return out
}

// policyReader reads the words of a policy in order.
type policyReader struct{ words []string }

func (r *policyReader) at(i int) string {
	if i < len(r.words) {
		return r.words[i]
	}
	return ""
}

func (r *policyReader) skip(word string) error {
	if got := r.at(0); got != word {
		return badPolicy("%q is expected instead of %q", word, got)
	}
	r.words = r.words[1:]
	return nil
}

// policy reads all words.
func (r *policyReader) policy() (Plan, error) {
	p, err := r.term(1)
	if err != nil || len(r.words) == 0 {
		return p, err
	}
	all := []Plan{p}
	for len(r.words) > 0 {
		if err := r.skip("and"); err != nil {
			return Plan{}, err
		}
		next, err := r.term(0)
		if err != nil {
			return Plan{}, err
		}
		all = append(all, next)
	}
	return join(all, len(all))
}

// term reads a name, or a combination of terms of a lower depth.
func (r *policyReader) term(depth int) (Plan, error) {
	threshold, begins := r.combination()
	switch {
	case !begins:
		return r.name()
	case depth < 0:
		return Plan{}, badPolicy("groups are one level deep")
	}
	var list []Plan
	for more := true; more; {
		item, err := r.term(depth - 1)
		if err != nil {
			return Plan{}, err
		}
		list = append(list, item)
		if more = r.at(0) == ","; more {
			r.words = r.words[1:]
		}
	}
	if err := r.skip(")"); err != nil {
		return Plan{}, err
	}
	if threshold < 0 {
		threshold = len(list)
	}
	return join(list, threshold)
}

// combination skips the beginning of one, and returns how many of the list are needed; -1: all.
func (r *policyReader) combination() (threshold int, begins bool) {
	number, err := strconv.Atoi(r.at(0))
	skip := 2
	switch {
	case r.at(0) == "any" && r.at(1) == "(":
		threshold = 1
	case r.at(0) == "all" && r.at(1) == "(":
		threshold = -1
	case err == nil && number >= 0 && r.at(1) == "of" && r.at(2) == "(":
		threshold, skip = number, 3
	default:
		return 0, false
	}
	r.words = r.words[skip:]
	return threshold, true
}

func (r *policyReader) name() (Plan, error) {
	name := r.at(0)
	if name == "" || strings.ContainsAny(name, "(),") {
		return Plan{}, badPolicy("the name of a seal is expected instead of %q", name)
	}
	r.words = r.words[1:]
	return Plan{Members: []string{name}, Threshold: 1}, nil
}

// join makes each plan a term.
func join(list []Plan, threshold int) (Plan, error) {
	out := Plan{Threshold: threshold}
	for _, p := range list {
		if p.Grouped() {
			return Plan{}, badPolicy("groups are one level deep")
		}
		out.Members = append(out.Members, p.Members...)
		out.Terms = append(out.Terms, Term{p.Threshold, len(p.Members)})
	}
	// checked before it is normal: a threshold that cannot be met must not disappear
	return out, out.Check()
}
