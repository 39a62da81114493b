package kv

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// fields are the fields of a request, converted as leniently as Vault does. A missing field and a
// null one are the same.
type fields map[string]any

// badField is Vault's error for a value that cannot be converted; it omits the value, which may be
// a secret.
func badField(name, want string) error {
	return fault.New(fault.Invalid, "Field validation failed: error converting input for field %q: it must be %s", name,
		want)
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

func (f fields) flag(name string) (on, given bool, err error) {
	switch v := f[name].(type) {
	case nil:
		return false, false, nil
	case bool:
		return v, true, nil
	case string:
		on, err = strconv.ParseBool(v)
	case json.Number:
		on, err = strconv.ParseBool(v.String())
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		return false, true, badField(name, "true or false")
	}
	return on, true, nil
}

func (f fields) number(name string) (n int64, given bool, err error) {
	if f[name] == nil {
		return 0, false, nil
	}
	if n, err = integer(f[name]); err != nil {
		return 0, true, badField(name, "a whole number")
	}
	return n, true, nil
}

func integer(v any) (int64, error) {
	switch v := v.(type) {
	case json.Number:
		return strconv.ParseInt(v.String(), 10, 64)
	case string:
		return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	}
	return 0, strconv.ErrSyntax
}

func (f fields) duration(name string) (d time.Duration, given bool, err error) {
	if f[name] == nil {
		return 0, false, nil
	}
	if d, err = field.ParseDuration(f[name]); err != nil {
		return 0, true, badField(name, `a duration: seconds, or a text such as "90s" or "24h"`)
	}
	return d, true, nil
}

// numbers reads version numbers: a list of numbers or texts, or one comma-separated text.
func (f fields) numbers(name string) ([]uint64, error) {
	var all []any
	switch v := f[name].(type) {
	case nil:
		return nil, nil
	case []any:
		all = v
	case string:
		for part := range strings.SplitSeq(v, ",") {
			all = append(all, part)
		}
	default:
		all = []any{v}
	}
	var out []uint64
	for _, one := range all {
		n, err := integer(one)
		if err != nil {
			return nil, badField(name, "a list of version numbers")
		}
		if n > 0 { // version numbers start at 1
			out = append(out, uint64(n))
		}
	}
	return out, nil
}

// queryNumber reads a query parameter that is a number of at least 0.
func queryNumber(r *mount.Request, name string) (uint64, error) {
	if r.Query == nil {
		return 0, nil
	}
	text := r.Query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, badField(name, "a whole number of at least 0")
	}
	return n, nil
}
