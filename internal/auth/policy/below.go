package policy

import "strings"

// Below reports whether anything is allowed on a folder, named with a trailing slash, or below it.
// It walks all patterns, so it is not for every request.
func (a *ACL) Below(folder string) bool {
	for pattern, g := range a.exact {
		if g.gives() && (strings.HasPrefix(pattern, folder) || pattern+"/" == folder) {
			return true
		}
	}
	return a.prefixes.below("", folder) || a.segments != nil && a.segments.below(folder)
}

func (g *Grant) gives() bool { return g.capabilities&Deny == 0 && g.capabilities != 0 }

// below checks the texts from a node on: those that are a prefix of the folder, and those below it.
func (r *radix) below(text, folder string) bool {
	if r.here != nil && r.here.grant.gives() {
		return true
	}
	for _, kid := range r.kids {
		path := text + kid.edge
		if (strings.HasPrefix(path, folder) || strings.HasPrefix(folder, path)) && kid.below(path, folder) {
			return true
		}
	}
	return false
}

// below follows the folder's segments; whatever the level after the last segment holds is below the
// folder.
func (l *level) below(folder string) bool {
	segment, rest, more := strings.Cut(folder, "/")
	if !more {
		return l.gives()
	}
	if l.globs.below("", segment) {
		return true
	}
	for _, child := range [...]*level{l.fixed[segment], l.any} {
		if child != nil && (rest == "" && child.end != nil && child.end.grant.gives() || child.below(rest)) {
			return true
		}
	}
	return false
}

// gives reports whether any pattern from here on allows anything.
func (l *level) gives() bool {
	if l.end != nil && l.end.grant.gives() || l.globs.below("", "") {
		return true
	}
	for _, child := range l.fixed {
		if child.gives() {
			return true
		}
	}
	return l.any != nil && l.any.gives()
}
