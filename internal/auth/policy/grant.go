package policy

import (
	"cmp"
	"slices"
	"time"
)

// Grant is what holds where a pattern matches. It never changes.
type Grant struct {
	capabilities     Capability // Deny stands alone
	allowed, denied  map[string][]any
	required         []string // in lower case
	minWrap, maxWrap time.Duration
	limit            int     // most names of a list; 0: any number
	filter           *filter // nil: lists are shown whole
	by               []giver // whose capabilities these are, by name
}

// giver is a policy that gives capabilities.
type giver struct {
	name         string
	capabilities Capability
}

// Granting lists the policies that give any of the capabilities.
func (g *Grant) Granting(c Capability) []string {
	if g == nil {
		return nil
	}
	names := make([]string, 0, len(g.by))
	for _, giver := range g.by {
		if giver.capabilities&c != 0 {
			names = append(names, giver.name)
		}
	}
	return names
}

// Limit is how many names of a list are shown at most (pagination_limit); 0: any number.
func (g *Grant) Limit() int {
	if g == nil {
		return 0
	}
	return g.limit
}

// Filters reports whether of a list only the names are shown whose paths, by [Grant.PathOf], the token may do anything on
// (list_scan_response_keys_filter_path).
func (g *Grant) Filters() bool { return g != nil && g.filter != nil }

// PathOf is the path that decides whether a name in the list of a folder is shown.
func (g *Grant) PathOf(folder, name string) string { return g.filter.path(folder, name) }

// As gives the policy as one of this name, to which [Grant.Granting] refers.
func (p *Policy) As(name string) *Policy {
	named := &Policy{Name: p.Name, rules: slices.Clone(p.rules)}
	for i := range named.rules {
		g := *named.rules[i].grant
		g.by = []giver{{name, g.capabilities}}
		named.rules[i].grant = &g
	}
	return named
}

// merge joins what two policies say of the same pattern.
func (g *Grant) merge(o *Grant) *Grant {
	if g.capabilities&Deny != 0 {
		return g
	}
	if o.capabilities&Deny != 0 {
		return o
	}
	return &Grant{
		capabilities: g.capabilities | o.capabilities,
		allowed:      mergeParameters(g.allowed, o.allowed),
		denied:       mergeParameters(g.denied, o.denied),
		required:     slices.Compact(slices.Sorted(slices.Values(slices.Concat(g.required, o.required)))),
		minWrap:      smallest(g.minWrap, o.minWrap),
		maxWrap:      smallest(g.maxWrap, o.maxWrap),
		limit:        smallest(g.limit, o.limit),
		filter:       cmp.Or(g.filter, o.filter),
		by:           slices.Concat(g.by, o.by),
	}
}

// mergeParameters appends the lists of values; an empty list, any value, stays empty.
func mergeParameters(a, b map[string][]any) map[string][]any {
	if len(a) == 0 || len(b) == 0 {
		if len(a) == 0 {
			return b
		}
		return a
	}
	out := make(map[string][]any, len(a)+len(b))
	for name, values := range a {
		out[name] = values
	}
	for name, values := range b {
		have, both := out[name]
		switch {
		case !both:
			out[name] = values
		case len(have) == 0 || len(values) == 0:
			out[name] = nil
		default:
			out[name] = slices.Concat(have, values)
		}
	}
	return out
}

// smallest is the smaller of two of which 0 is none.
func smallest[N int | time.Duration](a, b N) N {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
