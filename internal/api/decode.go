package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

// decodeObject decodes a body that checkJSON has bounded, as encoding/json does with UseNumber.
// Numbers stay text. null is a nil map.
func decodeObject(body []byte) (map[string]any, error) {
	d := decoder{body: body}
	if data, ok := d.document(); ok {
		return data, nil
	}
	return decodeSlowly(body)
}

// decodeSlowly is the reference: it also has the errors.
func decodeSlowly(body []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var data map[string]any
	if err := d.Decode(&data); err != nil {
		return nil, errDecode(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errDecode(errors.New("more behind it"))
	}
	return data, nil
}

// decoder reads a JSON document in one pass, where encoding/json takes three. It gives up on what
// is not valid, and the reference decides. The document's depth was bounded before.
type decoder struct {
	body []byte
	at   int
	keys [8]string // names of members, which the items of a batch repeat
	next int
}

// document reads the whole body, which must be one object.
func (d *decoder) document() (map[string]any, bool) {
	if d.space(); d.at == len(d.body) || d.body[d.at] != '{' {
		return nil, false
	}
	data, ok := d.object()
	d.space()
	return data, ok && d.at == len(d.body)
}

func (d *decoder) space() {
	for d.at < len(d.body) {
		switch d.body[d.at] {
		case ' ', '\t', '\r', '\n':
			d.at++
		default:
			return
		}
	}
}

// take skips white space and one character, if it is the next one.
func (d *decoder) take(c byte) bool {
	d.space()
	if d.at < len(d.body) && d.body[d.at] == c {
		d.at++
		return true
	}
	return false
}

func (d *decoder) value() (any, bool) {
	d.space()
	if d.at == len(d.body) {
		return nil, false
	}
	switch d.body[d.at] {
	case '{':
		return d.object()
	case '[':
		return d.array()
	case '"':
		return d.text()
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case 'n':
		return nil, d.word("null")
	}
	return d.number()
}

func (d *decoder) word(w string) bool {
	if !bytes.HasPrefix(d.body[d.at:], []byte(w)) {
		return false
	}
	d.at += len(w)
	return true
}

// object reads an object at its brace. Of members with one name the last one counts.
func (d *decoder) object() (map[string]any, bool) {
	d.at++
	data := map[string]any{}
	if d.take('}') {
		return data, true
	}
	for {
		if d.space(); d.at == len(d.body) || d.body[d.at] != '"' {
			return nil, false
		}
		name, ok := d.name()
		if !ok || !d.take(':') {
			return nil, false
		}
		if data[name], ok = d.value(); !ok {
			return nil, false
		}
		switch {
		case d.take(','):
		default:
			return data, d.take('}')
		}
	}
}

func (d *decoder) array() (any, bool) {
	d.at++
	list := []any{}
	if d.take(']') {
		return list, true
	}
	for {
		v, ok := d.value()
		if !ok {
			return nil, false
		}
		list = append(list, v)
		if !d.take(',') {
			return list, d.take(']')
		}
	}
}

// literal finds the end of a string at its quote. plain means that its bytes are its text.
func (d *decoder) literal() (inside []byte, plain, ok bool) {
	start := d.at + 1
	plain = true
	ascii := true
	for i := start; i < len(d.body); i++ {
		switch c := d.body[i]; {
		case c == '"':
			d.at = i + 1
			inside = d.body[start:i]
			return inside, plain && (ascii || utf8.Valid(inside)), true
		case c == '\\':
			plain = false
			i++
		case c < ' ':
			return nil, false, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false, false
}

func (d *decoder) text() (string, bool) {
	start := d.at
	inside, plain, ok := d.literal()
	if !ok || plain {
		return string(inside), ok
	}
	var s string
	err := json.Unmarshal(d.body[start:d.at], &s)
	return s, err == nil
}

// name reads the name of a member; one that was read before is not allocated again.
func (d *decoder) name() (string, bool) {
	start := d.at
	inside, plain, ok := d.literal()
	if !ok {
		return "", false
	}
	if !plain {
		d.at = start
		return d.text()
	}
	for _, k := range d.keys {
		if k == string(inside) {
			return k, true
		}
	}
	name := string(inside)
	d.keys[d.next%len(d.keys)] = name
	d.next++
	return name, true
}

// number reads a number of JSON's grammar.
func (d *decoder) number() (any, bool) {
	start := d.at
	if d.at < len(d.body) && d.body[d.at] == '-' {
		d.at++
	}
	if d.at < len(d.body) && d.body[d.at] == '0' {
		d.at++
	} else if !d.digits() {
		return nil, false
	}
	if d.at < len(d.body) && d.body[d.at] == '.' {
		d.at++
		if !d.digits() {
			return nil, false
		}
	}
	if d.at < len(d.body) && (d.body[d.at] == 'e' || d.body[d.at] == 'E') {
		d.at++
		if d.at < len(d.body) && (d.body[d.at] == '+' || d.body[d.at] == '-') {
			d.at++
		}
		if !d.digits() {
			return nil, false
		}
	}
	return json.Number(d.body[start:d.at]), true
}

func (d *decoder) digits() bool {
	start := d.at
	for d.at < len(d.body) && d.body[d.at] >= '0' && d.body[d.at] <= '9' {
		d.at++
	}
	return d.at > start
}
