package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/token"
)

// parse reads one file. Like Vault, it treats a file that starts with a brace as JSON and any other
// as HCL, whatever its name.
func parse(name string, data []byte) (*body, error) {
	if len(data) > maxFile {
		return nil, &Error{Pos{name, 1}, fmt.Sprintf("the file is larger than %d bytes", maxFile)}
	}
	if tooDeep(data) {
		return nil, &Error{Pos{name, 1}, fmt.Sprintf("blocks are nested more than %d deep", maxDepth)}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		return parseJSON(name, data)
	}
	return parseHCL(name, data)
}

func parseHCL(name string, data []byte) (*body, error) {
	f, err := parser.ParseDontErrorOnDuplicateKeys(data)
	if err != nil {
		return nil, syntaxError(name, err)
	}
	list, ok := f.Node.(*ast.ObjectList)
	if !ok {
		return nil, &Error{Pos{name, 1}, "syntax: the file must consist of keys and blocks"}
	}
	return hclBody(name, list)
}

// syntaxError replaces the parser's text, which quotes the file and could thus show a secret
// without quotes.
func syntaxError(name string, err error) error {
	p := Pos{name, 1}
	var at *parser.PosError
	if errors.As(err, &at) {
		p.Line = max(1, at.Pos.Line)
	}
	text := err.Error()
	for _, known := range []struct{ says, means string }{
		{"Unknown token", "a value is missing here, or a string lacks its quotes"},
		{"expected start of object", "a key must be followed by = and a value, or by a block { ... }"},
		{"closing RBRACE", "a block is not closed: } is missing"},
		{"error parsing list", "a list needs commas between its elements and ] at the end"},
		{"parsing list", "invalid list element; a string needs quotes"},
		{"not terminated", "a string or comment is not closed"},
		{"nested object expected", "a block with a label has no = sign"},
		{"heredoc", "the text after << lacks its end marker"},
	} {
		if strings.Contains(text, known.says) {
			return &Error{p, "syntax: " + known.means}
		}
	}
	return &Error{p, "syntax: a key is expected here, then = and a value, or a block { ... }"}
}

func hclBody(file string, list *ast.ObjectList) (*body, error) {
	b := &body{}
	for _, item := range list.Items {
		if len(item.Keys) == 0 {
			return nil, &Error{Pos{file, 1}, "syntax: a value has no key"}
		}
		f := field{pos: Pos{file, max(1, item.Pos().Line)}}
		for i, k := range item.Keys {
			text, err := tokenText(file, k.Token)
			if err != nil {
				return nil, err
			}
			if i == 0 {
				f.name = strings.ToLower(text)
			} else {
				f.labels = append(f.labels, text)
			}
		}
		v, err := hclValue(file, item.Val)
		if err != nil {
			return nil, err
		}
		f.val = v
		b.fields = append(b.fields, f)
	}
	return b, nil
}

func hclValue(file string, n ast.Node) (value, error) {
	switch n := n.(type) {
	case *ast.LiteralType:
		return hclLiteral(file, n.Token)
	case *ast.ListType:
		v := value{kind: isList}
		for _, e := range n.List {
			ev, err := hclValue(file, e)
			if err != nil {
				return value{}, err
			}
			v.list = append(v.list, ev)
		}
		return v, nil
	case *ast.ObjectType:
		b, err := hclBody(file, n.List)
		return value{kind: isObject, obj: b}, err
	}
	return value{}, &Error{Pos{file, 1}, "syntax: a value is missing"}
}

func hclLiteral(file string, t token.Token) (value, error) {
	switch t.Type {
	case token.NUMBER, token.FLOAT:
		return value{kind: isNumber, text: t.Text}, nil
	case token.BOOL:
		return value{kind: isBool, text: t.Text}, nil
	case token.STRING, token.HEREDOC:
		s, err := tokenText(file, t)
		return value{kind: isString, text: s}, err
	}
	return value{}, &Error{Pos{file, max(1, t.Pos.Line)}, "syntax: a string, number, true or false is expected here"}
}

// tokenText unquotes a token. On an invalid escape the library panics with the text.
func tokenText(file string, t token.Token) (s string, err error) {
	defer func() {
		if recover() != nil {
			err = &Error{Pos{file, max(1, t.Pos.Line)}, `syntax: a string has an invalid escape; write \\ for a backslash`}
		}
	}()
	s, ok := t.Value().(string)
	if !ok {
		return "", &Error{Pos{file, max(1, t.Pos.Line)}, "syntax: a name is expected here"}
	}
	return s, nil
}
