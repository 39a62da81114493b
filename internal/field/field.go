// Package field converts the fields of request bodies as leniently as Vault does: numbers, booleans
// and durations may be given as strings, lists of names as one string with commas.
//
// It guarantees that a field that is missing or null leaves the target of the conversion as it is,
// and that no error shows the value, which may be a secret.
//
// Stays compatible: the texts of the errors, which are Vault's.
package field

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// Map holds the fields of a body, as they were decoded from JSON with numbers as [json.Number].
type Map map[string]any

// Invalid returns Vault's error for a field that cannot be converted; want says what it must be.
func Invalid(name, want string) error {
	return fault.New(fault.Invalid, "Field validation failed: error converting input for field %q: it must be %s", name,
		want)
}

// Has reports whether a field is given.
func (m Map) Has(name string) bool { return m[name] != nil }

// Text reads a string.
func (m Map) Text(name string, into *string) error {
	text, ok := scalar(m[name])
	if !ok {
		return Invalid(name, "a string")
	}
	if m[name] != nil {
		*into = text
	}
	return nil
}

// scalar renders what can be given for a string.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// Flag reads a boolean: true, false, or one of the strings and numbers of [strconv.ParseBool].
func (m Map) Flag(name string, into *bool) error {
	if m[name] == nil {
		return nil
	}
	text, _ := scalar(m[name])
	b, err := strconv.ParseBool(text)
	if err != nil {
		return Invalid(name, "true or false")
	}
	*into = b
	return nil
}

// Number reads a whole number.
func (m Map) Number(name string, into *int64) error {
	if m[name] == nil {
		return nil
	}
	text, _ := scalar(m[name])
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return Invalid(name, "a whole number")
	}
	*into = n
	return nil
}

// Duration reads a duration, see [ParseDuration].
func (m Map) Duration(name string, into *time.Duration) error {
	if m[name] == nil {
		return nil
	}
	d, err := ParseDuration(m[name])
	if err != nil {
		return Invalid(name, `a duration: seconds, or a text such as "90s" or "24h"`)
	}
	*into = d
	return nil
}

// Seconds reads a duration in whole seconds; the rest is cut off.
func (m Map) Seconds(name string, into *int64) error {
	d := time.Duration(*into) * time.Second
	if err := m.Duration(name, &d); err != nil {
		return err
	}
	*into = int64(d / time.Second)
	return nil
}

// List reads a list of strings. One string is a list of one: it is not split.
func (m Map) List(name string, into *[]string) error {
	switch v := m[name].(type) {
	case nil:
	case string:
		*into = []string{v}
	case []any:
		out := make([]string, len(v))
		for i := range v {
			text, ok := v[i].(string)
			if !ok {
				return Invalid(name, "a list of strings")
			}
			out[i] = text
		}
		*into = out
	default:
		return Invalid(name, "a list of strings")
	}
	return nil
}

// Names reads a list of names: a list of strings, or one string with commas. Blanks around names,
// and empty names, are dropped.
func (m Map) Names(name string, into *[]string) error {
	var out []string
	switch v := m[name].(type) {
	case nil:
		return nil
	case string:
		out = strings.Split(v, ",")
	case []any:
		for i := range v {
			text, ok := scalar(v[i])
			if !ok || v[i] == nil {
				return Invalid(name, "a list of strings")
			}
			out = append(out, text)
		}
	default:
		return Invalid(name, "a list of strings")
	}
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	*into = append([]string{}, slices.DeleteFunc(out, func(s string) bool { return s == "" })...)
	return nil
}

// Limits reads a list of names that restricts something, like [Map.Names]. "" and an empty list
// lift the restriction. A list that holds only blanks, which a script with an unset variable sends,
// is refused: it would lift the restriction too.
func (m Map) Limits(name string, into *[]string) error {
	var out []string
	if err := m.Names(name, &out); err != nil || m[name] == nil {
		return err
	}
	list, isList := m[name].([]any)
	if len(out) == 0 && (isList && len(list) > 0 || !isList && m[name] != "") {
		return Invalid(name, "a list of names that are not blank, or an empty list")
	}
	*into = out
	return nil
}

// Object reads an object; nil where it is not given.
func (m Map) Object(name string) (Map, error) {
	switch v := m[name].(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	}
	return nil, Invalid(name, "an object")
}

// Texts reads an object whose values are strings; nil where it is not given.
func (m Map) Texts(name string) (map[string]string, error) {
	o, err := m.Object(name)
	if err != nil || o == nil {
		return nil, err
	}
	out := make(map[string]string, len(o))
	for key, v := range o {
		text, ok := scalar(v)
		if !ok {
			return nil, Invalid(name, "an object whose values are strings")
		}
		out[key] = text
	}
	return out, nil
}

// Pairs reads an object whose values are strings. It may also be given as JSON in a string, or as a
// list of "name=value".
func (m Map) Pairs(name string, into *map[string]string) error {
	bad := Invalid(name, "an object whose values are strings")
	out := map[string]string{}
	switch v := m[name].(type) {
	case nil:
		return nil
	case string:
		if strings.TrimSpace(v) != "" && json.Unmarshal([]byte(v), &out) != nil {
			return bad
		}
	case []any:
		for _, item := range v {
			text, _ := item.(string)
			key, value, ok := strings.Cut(text, "=")
			if !ok {
				return bad
			}
			out[key] = value
		}
	default:
		texts, err := m.Texts(name)
		if err != nil {
			return bad
		}
		out = texts
	}
	*into = out
	return nil
}

// First returns the first error of several conversions.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
