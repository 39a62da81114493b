package kv

import (
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// optional reads a field into a new variable; nil if the field is not given.
func optional[T any](m field.Map, name string, read func(field.Map, string, *T) error) (*T, error) {
	if !m.Has(name) {
		return nil, nil
	}
	v := new(T)
	return v, read(m, name, v)
}

// versionNumbers reads version numbers: a list of numbers or texts, or one comma-separated text.
func versionNumbers(m field.Map, name string) ([]uint64, error) {
	var all []any
	switch v := m[name].(type) {
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
		var n int64
		if err := (field.Map{name: one}).Number(name, &n); err != nil || one == nil {
			return nil, field.Invalid(name, "a list of version numbers")
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
		return 0, field.Invalid(name, "a whole number of at least 0")
	}
	return n, nil
}
