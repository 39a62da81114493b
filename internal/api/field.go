package api

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// Conversion of body fields, as lenient as Vault's: numbers, booleans and durations may be written as strings. A field that is missing or null
// leaves the target as it is.

// badField is Vault's text for a value that cannot be converted. The value is not shown: it may be a secret.
func badField(name, want string) error {
	return fault.New(fault.Invalid, "Field validation failed: error converting input for field %q: it must be %s", name, want)
}

type fields map[string]any

func (f fields) text(name string, into *string) error {
	switch v := f[name].(type) {
	case nil:
	case string:
		*into = v
	case json.Number:
		*into = v.String()
	case bool:
		*into = strconv.FormatBool(v)
	default:
		return badField(name, "a string")
	}
	return nil
}

func (f fields) flag(name string, into *bool) error {
	switch v := f[name].(type) {
	case nil:
	case bool:
		*into = v
	case string:
		b, err := strconv.ParseBool(v)
		if err != nil {
			return badField(name, "true or false")
		}
		*into = b
	case json.Number:
		if v != "0" && v != "1" {
			return badField(name, "true or false")
		}
		*into = v == "1"
	default:
		return badField(name, "true or false")
	}
	return nil
}

func (f fields) number(name string, into *int64) error {
	var text string
	switch v := f[name].(type) {
	case nil:
		return nil
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return badField(name, "a whole number")
	}
	*into = n
	return nil
}

func (f fields) duration(name string, into *time.Duration) error {
	if f[name] == nil {
		return nil
	}
	d, err := mount.ParseDuration(f[name])
	if err != nil {
		return badField(name, `a duration: seconds, or a text such as "90s" or "24h"`)
	}
	*into = d
	return nil
}

// list reads a list of texts. One text alone is a list of one: it is not split at commas.
func (f fields) list(name string, into *[]string) error {
	switch v := f[name].(type) {
	case nil:
	case string:
		*into = []string{v}
	case []any:
		out := make([]string, len(v))
		for i := range v {
			text, ok := v[i].(string)
			if !ok {
				return badField(name, "a list of strings")
			}
			out[i] = text
		}
		*into = out
	default:
		return badField(name, "a list of strings")
	}
	return nil
}

func (f fields) object(name string) (fields, error) {
	switch v := f[name].(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	}
	return nil, badField(name, "an object")
}

// texts reads an object whose values are texts.
func (f fields) texts(name string) (map[string]string, error) {
	o, err := f.object(name)
	if err != nil || o == nil {
		return nil, err
	}
	out := make(map[string]string, len(o))
	for key := range o {
		var v string
		if err := o.text(key, &v); err != nil {
			return nil, badField(name, "an object whose values are strings")
		}
		out[key] = v
	}
	return out, nil
}
