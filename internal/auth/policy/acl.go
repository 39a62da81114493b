package policy

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// ACL is several policies, compiled into what answers for a path. It never changes.
//
// The pattern that counts is
//
//  1. the path itself;
//  2. of a list or scan: the path without the slash at its end;
//  3. of the patterns with "*" at their end (any rest) or "+" (one segment) that match: the one whose first wildcard is further
//     right; then one without "*" at its end; then one with fewer "+"; then the longer; then the one later in the alphabet;
//  4. of a list or scan: the same without the slash at the path's end.
type ACL struct {
	exact    map[string]*Grant
	prefixes radix  // "*" at the end and no "+"
	segments *level // patterns with "+"; nil where there are none
	patterns []*candidate
	until    time.Time
}

// Compile makes an ACL of policies, as of a time: what has expired is left out.
func Compile(now time.Time, policies ...*Policy) *ACL {
	a := &ACL{exact: map[string]*Grant{}}
	patterns := map[string]*Grant{}
	for _, p := range policies {
		for _, r := range p.rules {
			if strings.Contains(r.pattern, "{{") || a.expired(now, r) {
				continue
			}
			if g := patterns[r.pattern]; g != nil {
				patterns[r.pattern] = g.merge(r.grant)
			} else {
				patterns[r.pattern] = r.grant
			}
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
	return a
}

// expired reports whether a rule is over, and remembers the next one's end.
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

// Until is when a rule expires, so that the policies must be compiled again; zero: never.
func (a *ACL) Until() time.Time { return a.until }

// candidate is a pattern with wildcards.
type candidate struct {
	text  string // without "*"
	first int    // where the first wildcard is
	glob  bool   // "*" at the end
	plus  int    // segments that are "+"
	rank  int    // from 1; the highest that matches counts
	grant *Grant
}

// newCandidate gives nil for a pattern without wildcards. "+" is one as a whole segment, "*" at the end alone.
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

// compare puts the one that counts behind the other.
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

// better is the one of two, either of which may be nil, that counts.
func better(a, b *candidate) *candidate {
	if a == nil || b != nil && b.rank > a.rank {
		return b
	}
	return a
}

// find gives what holds for a path; nil where nothing is said.
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

func (a *ACL) wild(path string) *candidate {
	best := a.prefixes.longest(path)
	if a.segments == nil {
		return best
	}
	return better(best, a.segments.find(path))
}

// level is the patterns with "+" after a number of segments.
type level struct {
	fixed map[string]*level
	any   *level     // behind a "+"
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

// find looks at the rest of a path. It descends at most as far as the patterns do.
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

// Paths lists the patterns with what they allow: those that are paths, and those with wildcards, without "*" at their end.
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
