package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a policy's text.
const (
	MaxText    = 512 << 10 // bytes
	maxPattern = 2048
)

// Parse parses a policy in HCL, or in JSON if it begins with a brace. The error names the line or
// path.
func Parse(text string) (*Policy, error) {
	switch {
	case len(text) > MaxText:
		return nil, fmt.Errorf("%w: it has %d bytes; at most %d are accepted", ErrSyntax, len(text), MaxText)
	case !utf8.ValidString(text):
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrSyntax)
	}
	top, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	for _, f := range top {
		switch f.name {
		case "name":
			if p.Name, err = f.value.text(f); err != nil {
				return nil, err
			}
		case "path":
			if err := p.addPaths(f); err != nil {
				return nil, err
			}
		default:
			return nil, f.bad("invalid key %q: a policy consists of blocks  path \"...\" { capabilities = [...] }", f.name)
		}
	}
	return p, nil
}

// addPaths reads path "a" { ... }; its block is in the tree under the path, or several times in
// JSON.
func (p *Policy) addPaths(f field) error {
	for _, block := range f.value.object() {
		if f.value.kind != isObject || block.value.kind != isObject {
			return block.bad("path %q must be followed by a block { ... }", block.name)
		}
		r := rule{pattern: strings.TrimPrefix(block.name, "/")}
		if err := checkPattern(r.pattern); err != nil {
			return block.bad("path %q: %v", block.name, err)
		}
		if err := r.read(block.value.fields); err != nil {
			return fmt.Errorf("path %q: %w", block.name, err)
		}
		p.rules = append(p.rules, r)
	}
	if f.value.kind != isObject {
		return f.bad(`a path must be followed by a block: path "secret/*" { ... }`)
	}
	return nil
}

func checkPattern(pattern string) error {
	switch {
	case len(pattern) > maxPattern:
		return fmt.Errorf("it has %d bytes; at most %d are accepted", len(pattern), maxPattern)
	case strings.Contains(pattern, "+*"):
		return fmt.Errorf("invalid use of wildcards ('+*' is forbidden)")
	}
	return nil
}

// read reads the keys of a path's block.
func (r *rule) read(fields []field) (err error) {
	g := &Grant{}
	r.grant = g
	for _, f := range fields {
		switch f.name {
		case "capabilities":
			err = g.readCapabilities(f)
		case "policy":
			err = g.readShorthand(f)
		case "allowed_parameters":
			g.allowed, err = f.parameters()
		case "denied_parameters":
			g.denied, err = f.parameters()
		case "required_parameters":
			g.required, err = f.names()
		case "min_wrapping_ttl":
			g.minWrap, err = f.duration()
		case "max_wrapping_ttl":
			g.maxWrap, err = f.duration()
		case "expiration":
			r.expires, err = f.instant()
		case "comment":
			_, err = f.value.text(f)
		case "pagination_limit":
			g.limit, err = f.count()
		case "list_scan_response_keys_filter_path":
			g.filter, err = f.filter()
		case "mfa_methods", "control_group":
			err = f.bad("%s is not supported, and ignoring it would allow more than the policy says; remove it", f.name)
		default:
			err = f.bad("invalid key %q", f.name)
		}
		if err != nil {
			return err
		}
	}
	if g.maxWrap > 0 && g.maxWrap < g.minWrap {
		return fmt.Errorf("%w: max_wrapping_ttl cannot be less than min_wrapping_ttl", ErrSyntax)
	}
	if g.capabilities&Deny != 0 {
		*g = Grant{capabilities: Deny}
	}
	return nil
}

func (g *Grant) readCapabilities(f field) error {
	names, err := f.texts()
	if err != nil {
		return err
	}
	for _, name := range names {
		c, ok := capabilityOf(name)
		if !ok {
			return f.bad("invalid capability %q; use one of %s", name, strings.Join(capabilityNames, ", "))
		}
		g.capabilities |= c
	}
	return nil
}

func (g *Grant) readShorthand(f field) error {
	name, err := f.value.text(f)
	if err != nil {
		return err
	}
	c, ok := shorthands[name]
	if !ok {
		return f.bad("invalid policy %q; use one of %s", name, strings.Join(slices.Sorted(maps.Keys(shorthands)), ", "))
	}
	g.capabilities |= c
	return nil
}

// names reads a list of parameter names, which are case-insensitive.
func (f field) names() ([]string, error) {
	names, err := f.texts()
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// parameters reads an object of lists of values.
func (f field) parameters() (map[string][]any, error) {
	if f.value.kind != isObject {
		return nil, f.bad("%s must be an object of lists: { \"name\" = [\"value\"] }", f.name)
	}
	out := make(map[string][]any, len(f.value.fields))
	for _, p := range f.value.fields {
		if p.value.kind != isList {
			return nil, p.bad("%s: the values of %q must be a list; [] means any value", f.name, p.name)
		}
		name := strings.ToLower(p.name)
		values := make([]any, len(p.value.list))
		for i, v := range p.value.list {
			values[i] = v.plain()
		}
		out[name] = values
	}
	return out, nil
}

// duration reads seconds, or a text such as "90s" or "1d".
func (f field) duration() (time.Duration, error) {
	text, err := f.value.text(f)
	if err != nil {
		return 0, err
	}
	d, err := parseDuration(text)
	if err != nil || d < 0 {
		return 0, f.bad(`%s must be a duration: seconds, or a text such as "90s" or "24h"`, f.name)
	}
	return d, nil
}

const maxSeconds = 1 << 33 // 272 years: fits a time.Duration

func parseDuration(text string) (time.Duration, error) {
	unit := time.Second
	if days, ok := strings.CutSuffix(text, "d"); ok {
		text, unit = days, 24*time.Hour
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n > maxSeconds/int64(unit/time.Second) {
			return 0, strconv.ErrRange
		}
		return time.Duration(n) * unit, nil
	}
	return time.ParseDuration(text)
}

// count reads a whole number of at least 0.
func (f field) count() (int, error) {
	text, err := f.value.text(f)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, f.bad("%s must be a whole number of at least 0", f.name)
	}
	return n, nil
}

func (f field) instant() (time.Time, error) {
	text, err := f.value.text(f)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, f.bad(`expiration must be a time such as "2030-01-02T15:04:05Z"`)
	}
	return t, nil
}
