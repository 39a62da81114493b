package policy

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
)

// ACL is a compiled set of policies. It is immutable, and safe for concurrent use.
//
// The pattern that applies to a path is the first of
//
//  1. the path itself;
//  2. for a list or scan, the path without its trailing slash;
//  3. of the matching patterns with a trailing "*" (any rest) or "+" (one segment), the one whose
//     first wildcard is further right; then one without a trailing "*"; then one with fewer "+";
//     then the longer one; then the last one in byte order;
//  4. for a list or scan, the same for the path without its trailing slash.
type ACL struct {
	exact    map[string]*Grant
	prefixes radix  // "*" at the end and no "+"
	segments *level // patterns with "+"; nil if there are none
	patterns []*candidate
	until    time.Time

	rules  []rule   // what it was compiled from
	folded sync.Map // prefix (string) to *ACL, see fold
}

// Compile compiles policies as of a time; it omits expired rules.
func Compile(now time.Time, policies ...*Policy) *ACL {
	a := &ACL{exact: map[string]*Grant{}}
	for _, p := range policies {
		for _, r := range p.rules {
			if !strings.Contains(r.pattern, "{{") && !a.expired(now, r) {
				a.rules = append(a.rules, r)
			}
		}
	}
	a.compile()
	return a
}

// compile sorts the rules into the tables that requests are looked up in.
func (a *ACL) compile() {
	patterns := map[string]*Grant{}
	for _, r := range a.rules {
		if g := patterns[r.pattern]; g != nil {
			patterns[r.pattern] = g.merge(r.grant)
		} else {
			patterns[r.pattern] = r.grant
		}
	}
	var wild []*candidate
	for pattern, g := range patterns {
		if c := newCandidate(pattern, g); c != nil {
			wild = append(wild, c)
		} else {
			a.exact[pattern] = g
		}
	}
	slices.SortFunc(wild, (*candidate).compare)
	a.patterns = wild
	for i, c := range wild {
		c.rank = i + 1
		if c.plus == 0 {
			a.prefixes.insert(c.text, c)
			continue
		}
		if a.segments == nil {
			a.segments = &level{}
		}
		a.segments.insert(c)
	}
}

// fold returns the ACL for paths whose segment after a prefix is a name without case. A request has
// the name in lower case; so has every rule that names it. Rules that become one are merged, and a
// deny wins.
func (a *ACL) fold(prefix string) *ACL {
	if f, ok := a.folded.Load(prefix); ok {
		return f.(*ACL)
	}
	f, differs := &ACL{exact: map[string]*Grant{}, until: a.until}, false
	for _, r := range a.rules {
		if rest, ok := strings.CutPrefix(r.pattern, prefix); ok {
			name, below, more := strings.Cut(rest, "/")
			lower := strings.ToLower(name)
			if differs = differs || lower != name; more {
				lower += "/"
			}
			r.pattern = prefix + lower + below
		}
		f.rules = append(f.rules, r)
	}
	if f.compile(); !differs {
		f = a
	}
	a.folded.Store(prefix, f)
	return f
}

// expired reports whether a rule has expired, and tracks the next expiry.
func (a *ACL) expired(now time.Time, r rule) bool {
	if r.expires.IsZero() {
		return false
	}
	if !now.Before(r.expires) {
		return true
	}
	if a.until.IsZero() || r.expires.Before(a.until) {
		a.until = r.expires
	}
	return false
}

// Until returns when a rule expires, after which the policies must be compiled again; zero means
// never.
func (a *ACL) Until() time.Time { return a.until }

// candidate is a pattern with wildcards.
type candidate struct {
	text  string // without "*"
	first int    // position of the first wildcard
	glob  bool   // "*" at the end
	plus  int    // number of "+" segments
	rank  int    // from 1; the highest matching rank applies
	grant *Grant
}

// newCandidate returns nil for a pattern without wildcards. "+" is a wildcard only as a whole
// segment, "*" only at the end.
func newCandidate(pattern string, g *Grant) *candidate {
	c := &candidate{grant: g}
	c.text, c.glob = strings.CutSuffix(pattern, "*")
	for s := range strings.SplitSeq(c.text, "/") {
		if s == "+" {
			c.plus++
		}
	}
	switch {
	case c.plus > 0:
		c.first = strings.IndexByte(pattern, '+')
	case c.glob:
		c.first = len(c.text)
	default:
		return nil
	}
	return c
}

// compare orders patterns by precedence, the one that applies last.
func (c *candidate) compare(o *candidate) int {
	return cmp.Or(
		cmp.Compare(c.first, o.first),
		-compareBool(c.glob, o.glob),
		-cmp.Compare(c.plus, o.plus),
		cmp.Compare(len(c.text), len(o.text)),
		strings.Compare(c.text, o.text),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// better returns the one of two candidates, either of which may be nil, that applies.
func better(a, b *candidate) *candidate {
	if a == nil || b != nil && b.rank > a.rank {
		return b
	}
	return a
}

// find returns the grant for a path; nil if no pattern matches.
func (a *ACL) find(path string, listing bool) *Grant {
	if g := a.exact[path]; g != nil {
		return g
	}
	bare, slash := strings.CutSuffix(path, "/")
	if listing && slash {
		if g := a.exact[bare]; g != nil {
			return g
		}
	}
	if c := a.wild(path); c != nil {
		return c.grant
	}
	if listing && slash {
		if c := a.wild(bare); c != nil {
			return c.grant
		}
	}
	return nil
}

// Deciding returns the path of the rule that applies to a path, as a policy writes it; "" if none
// does.
func (a *ACL) Deciding(path string) string {
	if a.exact[path] != nil {
		return path
	}
	c := a.wild(path)
	switch {
	case c == nil:
		return ""
	case c.glob:
		return c.text + "*"
	}
	return c.text
}

func (a *ACL) wild(path string) *candidate {
	best := a.prefixes.longest(path)
	if a.segments == nil {
		return best
	}
	return better(best, a.segments.find(path))
}

// level holds the patterns with "+" after a number of segments.
type level struct {
	fixed map[string]*level
	any   *level     // after a "+"
	end   *candidate // a pattern that ends here
	globs radix      // patterns that end in "*" within the next segment
}

func (l *level) insert(c *candidate) {
	rest := c.text
	for {
		segment, next, more := strings.Cut(rest, "/")
		if !more && c.glob {
			l.globs.insert(segment, c)
			return
		}
		l = l.child(segment)
		if !more {
			l.end = c
			return
		}
		rest = next
	}
}

func (l *level) child(segment string) *level {
	if segment == "+" {
		if l.any == nil {
			l.any = &level{}
		}
		return l.any
	}
	if l.fixed == nil {
		l.fixed = map[string]*level{}
	}
	if l.fixed[segment] == nil {
		l.fixed[segment] = &level{}
	}
	return l.fixed[segment]
}

// find matches the rest of a path. It descends at most as deep as the patterns do.
func (l *level) find(rest string) *candidate {
	segment, next, more := strings.Cut(rest, "/")
	best := l.globs.longest(segment)
	for _, child := range [...]*level{l.fixed[segment], l.any} {
		switch {
		case child == nil:
		case more:
			best = better(best, child.find(next))
		default:
			best = better(best, child.end)
		}
	}
	return best
}

// Paths lists the patterns and their capabilities: exact paths, and patterns with wildcards without
// a trailing "*".
func (a *ACL) Paths() (exact, wild map[string]Capability) {
	exact, wild = map[string]Capability{}, map[string]Capability{}
	for path, g := range a.exact {
		exact[path] = g.capabilities
	}
	for _, c := range a.patterns {
		wild[c.text] = c.grant.capabilities
	}
	return exact, wild
}
