package policy

import (
	"cmp"
	"slices"
	"time"
)

// Grant is what the policies say about one pattern. It is immutable.
type Grant struct {
	capabilities     Capability // Deny excludes all others
	allowed, denied  map[string][]any
	required         []string // in lower case
	minWrap, maxWrap time.Duration
	limit            int     // maximum names in a list; 0: unlimited
	filter           *filter // nil: lists are not filtered
	by               []giver // the policies that contribute, sorted by name
}

// giver is a policy and the capabilities that it contributes.
type giver struct {
	name         string
	capabilities Capability
}

// Granting lists the policies that grant any of the capabilities.
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

// Limit returns the maximum number of names in a list (pagination_limit); 0 means unlimited.
func (g *Grant) Limit() int {
	if g == nil {
		return 0
	}
	return g.limit
}

// Filters reports whether lists are filtered (list_scan_response_keys_filter_path): a name is shown
// only if the token has any capability on its [Grant.PathOf].
func (g *Grant) Filters() bool { return g != nil && g.filter != nil }

// PathOf returns the path that decides whether a name in a folder's list is shown.
func (g *Grant) PathOf(folder, name string) string { return g.filter.path(folder, name) }

// As returns the policy under a name, which [Grant.Granting] reports.
func (p *Policy) As(name string) *Policy {
	named := &Policy{Name: p.Name, rules: slices.Clone(p.rules)}
	for i := range named.rules {
		g := *named.rules[i].grant
		g.by = []giver{{name, g.capabilities}}
		named.rules[i].grant = &g
	}
	return named
}

// merge combines what two policies say about the same pattern.
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

// mergeParameters appends the lists of values; an empty list, which means any value, stays empty.
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

// smallest returns the smaller of two values of which 0 means none.
func smallest[N int | time.Duration](a, b N) N {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
