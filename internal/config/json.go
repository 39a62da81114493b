package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// parseJSON reads token by token, because a map would lose the first of two equal keys: two
// "listener" members are two listeners.
func parseJSON(name string, data []byte) (*body, error) {
	r := &jsonReader{name: name, data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	if _, err := r.dec.Token(); err != nil { // the opening brace
		return nil, r.syntax(err)
	}
	b, err := r.object()
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &Error{r.pos(), "syntax: unexpected text after the closing brace"}
	}
	return b, nil
}

type jsonReader struct {
	name string
	data []byte
	dec  *json.Decoder
}

func (r *jsonReader) pos() Pos {
	return Pos{r.name, 1 + bytes.Count(r.data[:r.dec.InputOffset()], []byte("\n"))}
}

// syntax replaces the decoder's text and adds the line.
func (r *jsonReader) syntax(err error) error {
	p := r.pos()
	var se *json.SyntaxError
	if errors.As(err, &se) {
		at := min(max(0, int(se.Offset)), len(r.data))
		p.Line = 1 + bytes.Count(r.data[:at], []byte("\n"))
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{p, "syntax: the JSON ends too early: a brace, bracket or quote is missing"}
	}
	return &Error{p, "syntax: invalid JSON: check for a missing or extra comma, quote or brace"}
}

// object reads the members up to the closing brace, after the opening one.
func (r *jsonReader) object() (*body, error) {
	b := &body{}
	for r.dec.More() {
		t, err := r.dec.Token()
		if err != nil {
			return nil, r.syntax(err)
		}
		key, ok := t.(string)
		if !ok {
			return nil, &Error{r.pos(), "syntax: a key in quotes is expected here"}
		}
		f := field{name: strings.ToLower(key), pos: r.pos()}
		if f.val, err = r.value(); err != nil {
			return nil, err
		}
		if key == "//" || key == "_comment" { // two customary forms of a comment in JSON
			continue
		}
		b.fields = append(b.fields, f)
	}
	if _, err := r.dec.Token(); err != nil {
		return nil, r.syntax(err)
	}
	return b, nil
}

func (r *jsonReader) value() (value, error) {
	t, err := r.dec.Token()
	if err != nil {
		return value{}, r.syntax(err)
	}
	switch t := t.(type) {
	case string:
		return value{kind: isString, text: t}, nil
	case json.Number:
		return value{kind: isNumber, text: t.String()}, nil
	case bool:
		if t {
			return value{kind: isBool, text: "true"}, nil
		}
		return value{kind: isBool, text: "false"}, nil
	case json.Delim:
		if t == '{' {
			b, err := r.object()
			return value{kind: isObject, obj: b}, err
		}
		return r.list()
	}
	return value{kind: isNull}, nil
}

func (r *jsonReader) list() (value, error) {
	v := value{kind: isList}
	for r.dec.More() {
		e, err := r.value()
		if err != nil {
			return value{}, err
		}
		v.list = append(v.list, e)
	}
	if _, err := r.dec.Token(); err != nil {
		return value{}, r.syntax(err)
	}
	return v, nil
}
