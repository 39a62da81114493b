package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// JSON is parsed here, because HCL's JSON parser misreads nested lists.

func parseJSON(text string) ([]field, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := readJSON(d)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("trailing data")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: it begins with a brace, so it must be JSON: %w (line %d)", ErrSyntax, err,
			lineOf(text, d))
	}
	return v.fields, nil
}

func lineOf(text string, d *json.Decoder) int {
	return 1 + bytes.Count([]byte(text[:min(int(d.InputOffset()), len(text))]), []byte("\n"))
}

// readJSON reads one value. A repeated key is kept, as a repeated block.
func readJSON(d *json.Decoder) (v value, err error) {
	t, err := d.Token()
	if err != nil {
		return v, err
	}
	switch t := t.(type) {
	case nil:
		return v, errors.New("a value is null")
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return value{scalar: n}, nil
		}
		f, err := t.Float64()
		return value{scalar: f}, err
	case json.Delim:
		if t == '[' {
			v.kind = isList
		} else {
			v.kind = isObject
		}
	default:
		return value{scalar: t}, nil
	}
	for d.More() {
		f := field{line: 1}
		if v.kind == isObject {
			key, err := d.Token()
			if err != nil {
				return v, err
			}
			f.name, _ = key.(string)
		}
		if f.value, err = readJSON(d); err != nil {
			return v, err
		}
		if v.kind == isList {
			v.list = append(v.list, f.value)
		} else {
			v.fields = append(v.fields, f)
		}
	}
	_, err = d.Token() // the closing bracket
	return v, err
}
