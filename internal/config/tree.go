package config

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of a file, checked before it is parsed: the parser of HCL recurses.
const (
	maxFile  = 1 << 20
	maxDepth = 32
)

// A body is the content of a file or block, the same for HCL and JSON.
type body struct {
	fields []field
}

// A field is `name = value`, or a block `name "label"... { }`, whose value is then an object.
type field struct {
	name   string // in lower case: Vault ignores case here
	labels []string
	pos    Pos
	val    value
}

type kind int

const (
	isString kind = iota
	isNumber
	isBool
	isNull
	isList
	isObject
)

// A value holds a scalar as text.
type value struct {
	kind kind
	text string
	list []value
	obj  *body
}

// A block is one stanza in a form that is the same for HCL and JSON.
type block struct {
	pos    Pos
	labels []string
	body   *body
}

// blocks normalises the forms of one stanza:
//
//	listener "tcp" { ... }              HCL
//	listener = { tcp = { ... } }        HCL, as an attribute
//	{"listener": {"tcp": { ... }}}      JSON
//	{"listener": [{"tcp": { ... }}]}    JSON, and any mixture
//
// If all members of an object are objects, their names are labels, up to most labels.
func (f field) blocks(least, most int) ([]block, error) {
	return expand(f.pos, f.labels, f.val, f.name, least, most)
}

func expand(pos Pos, labels []string, v value, name string, least, most int) ([]block, error) {
	switch v.kind {
	case isList:
		var all []block
		for _, e := range v.list {
			bs, err := expand(pos, labels, e, name, least, most)
			if err != nil {
				return nil, err
			}
			all = append(all, bs...)
		}
		return all, nil
	case isObject:
		if len(labels) < most && v.obj.onlyObjects() {
			return expandMembers(labels, v.obj, name, least, most)
		}
		if len(labels) >= least && len(labels) <= most {
			return []block{{pos: pos, labels: labels, body: v.obj}}, nil
		}
	}
	return nil, &Error{pos, fmt.Sprintf("%s must be a block: %s", name, shape(name, least, most))}
}

func expandMembers(labels []string, b *body, name string, least, most int) ([]block, error) {
	var all []block
	for _, m := range b.fields {
		deeper := append(append(slices.Clone(labels), m.name), m.labels...)
		bs, err := expand(m.pos, deeper, m.val, name, least, most)
		if err != nil {
			return nil, err
		}
		all = append(all, bs...)
	}
	return all, nil
}

func (b *body) onlyObjects() bool {
	for _, f := range b.fields {
		if f.val.kind == isObject {
			continue
		}
		if f.val.kind != isList || !slices.ContainsFunc(f.val.list, func(v value) bool { return v.kind == isObject }) {
			return false
		}
	}
	return len(b.fields) > 0
}

func shape(name string, least, most int) string {
	if most == 0 {
		return name + " { ... }"
	}
	s := name + strings.Repeat(` "type"`, min(least, 1)) + strings.Repeat(` "path"`, max(least-1, 0))
	if most > least {
		s += ` ["name"]`
	}
	return s + " { ... }"
}

// tooDeep bounds the nesting, including brackets in strings and comments.
func tooDeep(data []byte) bool {
	depth := 0
	for _, c := range data {
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			depth = max(0, depth-1)
		}
		if depth > maxDepth {
			return true
		}
	}
	return false
}
