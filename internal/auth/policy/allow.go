package policy

import (
	"reflect"
	"strings"
	"time"
)

// Ask describes the access that a request needs.
type Ask struct {
	Path       string
	Fold       int           // the length of the path before a name without case; 0: it has none
	Capability Capability    // any one of these suffices
	Sudo       bool          // sudo is needed too
	WrapTTL    time.Duration // of the wrapped response; 0: not wrapped
	Parameters Parameters    // nil: none
}

// Parameters returns the fields of a request. It is called only if a policy restricts them.
type Parameters interface {
	Fields() (map[string]any, error)
}

const listings = List | Scan

// withParameters are the operations whose fields are checked.
const withParameters = Create | Read | Update | Patch

// Allow returns the grant that allows the request, or nil. The error is that of reading the
// parameters.
func (a *ACL) Allow(q Ask) (*Grant, error) {
	if q.Fold > 0 {
		a = a.fold(q.Path[:q.Fold])
	}
	g := a.find(q.Path, q.Capability&listings != 0)
	if g == nil || g.capabilities&Deny != 0 || g.capabilities&q.Capability == 0 || q.Sudo && g.capabilities&Sudo == 0 {
		return nil, nil
	}
	if g.maxWrap > 0 && (q.WrapTTL == 0 || q.WrapTTL > g.maxWrap) || g.minWrap > 0 && q.WrapTTL < g.minWrap {
		return nil, nil
	}
	if g.maxWrap > 0 && g.minWrap > g.maxWrap { // merged from two policies
		return nil, nil
	}
	if q.Capability&withParameters == 0 || len(g.required) == 0 && len(g.denied) == 0 && len(g.allowed) == 0 {
		return g, nil
	}
	var fields map[string]any
	if q.Parameters != nil {
		var err error
		if fields, err = q.Parameters.Fields(); err != nil {
			return nil, err
		}
	}
	if !g.allowsFields(fields) {
		return nil, nil
	}
	return g, nil
}

// Capabilities returns the capabilities on a path; 0 and Deny both mean none.
func (a *ACL) Capabilities(path string) Capability {
	g := a.find(path, true)
	if g == nil {
		return 0
	}
	return g.capabilities
}

// allowsFields checks the fields: first required, then denied, then allowed parameters.
func (g *Grant) allowsFields(fields map[string]any) bool {
	for _, name := range g.required {
		// By its exact name, as handlers read it: one in another case would be ignored by them.
		if _, ok := fields[name]; !ok {
			return false
		}
	}
	if len(fields) == 0 {
		return true
	}
	if _, all := g.denied["*"]; all {
		return false
	}
	_, others := g.allowed["*"]
	for name, v := range fields {
		name = foldName(name)
		if values, ok := g.denied[name]; ok && (matches(v, values) || matchesElement(v, values)) {
			return false
		}
		if len(g.allowed) == 0 {
			continue
		}
		values, ok := g.allowed[name]
		if !ok && !others || ok && !matches(v, values) {
			return false
		}
	}
	return true
}

// foldName gives the names that encoding/json takes for one the same form: some handlers read
// fields by it. It also ignores the form of the long s; the Kelvin sign has a lower case.
func foldName(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "\u017f", "s")
}

// matchesElement checks a list's elements: a denied value is also denied inside a list.
func matchesElement(v any, values []any) bool {
	list, ok := v.([]any)
	if !ok {
		return false
	}
	for _, e := range list {
		if matches(e, values) {
			return true
		}
	}
	return false
}

// matches reports whether a value is among those of a policy; an empty list means any value. A
// number equals its text, because requests may send either. A text may have "*" at its beginning or
// end.
func matches(v any, values []any) bool {
	if len(values) == 0 {
		return true
	}
	text, scalar := scalarText(v)
	for _, want := range values {
		pattern, ok := scalarText(want)
		switch {
		case ok && scalar && globMatch(pattern, text):
			return true
		case !ok && !scalar && sameShape(want, v):
			return true
		}
	}
	return false
}

// globMatch supports "*" at the beginning, at the end and alone.
func globMatch(pattern, text string) bool {
	if pattern == "*" {
		return true
	}
	rest, front := strings.CutPrefix(pattern, "*")
	middle, back := strings.CutSuffix(rest, "*")
	switch {
	case front && back:
		return strings.Contains(text, middle)
	case front:
		return strings.HasSuffix(text, rest)
	case back:
		return strings.HasPrefix(text, middle)
	}
	return pattern == text
}

// sameShape compares lists and objects; scalars by their texts.
func sameShape(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameShape(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if v, ok := b[k]; !ok || !sameShape(a[k], v) {
				return false
			}
		}
		return true
	}
	x, ok := scalarText(a)
	y, ok2 := scalarText(b)
	if ok && ok2 {
		return x == y
	}
	return reflect.DeepEqual(a, b)
}
