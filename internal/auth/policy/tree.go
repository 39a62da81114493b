package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/token"
)

// HCL's tree is converted into one in which a block with labels is an object inside an object, as
// in JSON.

type kind uint8

const (
	isScalar kind = iota
	isList
	isObject
)

type value struct {
	kind   kind
	scalar any // string, bool, int64 or float64
	list   []value
	fields []field
}

type field struct {
	name  string
	line  int
	value value
}

// bad returns an error at a field.
func (f field) bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s (line %d)", ErrSyntax, fmt.Sprintf(format, args...), f.line)
}

// maxDepth bounds recursion. A policy has four levels at most, plus lists in lists.
const maxDepth = 32

// tooDeep counts brackets, including those in strings and comments: no valid policy has so many.
func tooDeep(text string) bool {
	depth := 0
	for i := range len(text) {
		switch text[i] {
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

// parseTree parses HCL or JSON. The HCL parser panics on some broken literals, which becomes an
// error.
func parseTree(text string) (fields []field, err error) {
	if tooDeep(text) {
		return nil, fmt.Errorf("%w: blocks and lists are nested more than %d deep", ErrSyntax, maxDepth)
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return parseJSON(text)
	}
	defer func() {
		if p := recover(); p != nil {
			fields, err = nil, fmt.Errorf("%w: it contains an invalid literal", ErrSyntax)
		}
	}()
	file, err := hcl.ParseString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	list, ok := file.Node.(*ast.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%w: it must consist of path blocks", ErrSyntax)
	}
	return readFields(list)
}

func readFields(list *ast.ObjectList) ([]field, error) {
	var out []field
	for _, item := range list.Items {
		v, err := readValue(item.Val)
		if err != nil {
			return nil, err
		}
		line := max(1, item.Pos().Line)
		if len(item.Keys) == 0 {
			return nil, field{line: line}.bad("a value has no key")
		}
		for i := len(item.Keys) - 1; i > 0; i-- {
			v = value{kind: isObject, fields: []field{{keyText(item.Keys[i]), line, v}}}
		}
		out = append(out, field{keyText(item.Keys[0]), line, v})
	}
	return out, nil
}

func keyText(k *ast.ObjectKey) string {
	text, _ := k.Token.Value().(string)
	return text
}

func readValue(n ast.Node) (value, error) {
	switch n := n.(type) {
	case *ast.LiteralType:
		if n.Token.Type == token.STRING && n.Token.Text == "" {
			return value{}, field{line: max(1, n.Pos().Line)}.bad("a value is null")
		}
		return value{scalar: n.Token.Value()}, nil
	case *ast.ListType:
		v := value{kind: isList}
		for _, e := range n.List {
			ev, err := readValue(e)
			if err != nil {
				return value{}, err
			}
			v.list = append(v.list, ev)
		}
		return v, nil
	case *ast.ObjectType:
		fields, err := readFields(n.List)
		return value{kind: isObject, fields: fields}, err
	}
	return value{}, fmt.Errorf("%w: a value is missing", ErrSyntax)
}

// object returns the fields of an object, or of all objects in a list, which is how JSON repeats a
// block.
func (v *value) object() []field {
	if v.kind != isList {
		return v.fields
	}
	all := value{kind: isObject}
	for _, e := range v.list {
		if e.kind != isObject {
			return nil
		}
		all.fields = append(all.fields, e.fields...)
	}
	*v = all
	return v.fields
}

// text returns a string, or a number in its text form.
func (v value) text(f field) (string, error) {
	if v.kind == isScalar {
		if s, ok := scalarText(v.scalar); ok {
			return s, nil
		}
	}
	return "", f.bad("%s must be a string", f.name)
}

// scalarText returns the text form of a scalar of a policy or a request.
func scalarText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case fmt.Stringer: // json.Number
		return v.String(), true
	}
	return "", false
}

func (f field) texts() ([]string, error) {
	if f.value.kind != isList {
		return nil, f.bad("%s must be a list of strings", f.name)
	}
	out := make([]string, len(f.value.list))
	for i, v := range f.value.list {
		s, ok := v.scalar.(string)
		if !ok {
			return nil, f.bad("%s must be a list of strings", f.name)
		}
		out[i] = s
	}
	return out, nil
}

// plain returns the value as encoding/json would decode it.
func (v value) plain() any {
	switch v.kind {
	case isList:
		out := make([]any, len(v.list))
		for i := range v.list {
			out[i] = v.list[i].plain()
		}
		return out
	case isObject:
		out := make(map[string]any, len(v.fields))
		for _, f := range v.fields {
			out[f.name] = f.value.plain()
		}
		return out
	}
	if s, ok := v.scalar.(string); ok {
		return strings.Clone(s) // does not retain the whole document
	}
	return v.scalar
}
