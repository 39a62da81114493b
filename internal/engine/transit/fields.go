package transit

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/keys"
)

// fields are those of a request or of an item of a batch, converted as leniently as OpenBao does.
// One that is missing, or null, is not given. An error never shows the value: it may be a
// plaintext.
type fields map[string]any

func badField(name, kind, parser string) error {
	return fault.New(fault.Invalid, "error converting input for field %q: '' cannot parse value as '%s': "+
		"strconv.%s: invalid syntax",
		name, kind, parser)
}

func (f fields) given(name string) bool { return f[name] != nil }

func (f fields) text(name string) (string, error) {
	switch v := f[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	}
	return "", fault.New(fault.Invalid, "error converting input for field %q: it must be a string", name)
}

func (f fields) number(name string) (int, error) {
	var n int64
	var err error
	switch v := f[name].(type) {
	case nil:
		return 0, nil
	case json.Number:
		n, err = strconv.ParseInt(v.String(), 10, 32)
	case string:
		if v == "" {
			return 0, nil
		}
		n, err = strconv.ParseInt(strings.TrimSpace(v), 10, 32)
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		return 0, badField(name, "int", "ParseInt")
	}
	return int(n), nil
}

func (f fields) flag(name string) (on bool, err error) {
	switch v := f[name].(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	case string:
		on, err = strconv.ParseBool(v)
	case json.Number:
		on, err = strconv.ParseBool(v.String())
	default:
		err = strconv.ErrSyntax
	}
	if err != nil {
		return false, badField(name, "bool", "ParseBool")
	}
	return on, nil
}

func (f fields) duration(name string) (time.Duration, error) {
	d, err := field.ParseDuration(f[name])
	if err != nil {
		return 0,
			fault.New(fault.Invalid, "Field validation failed: error converting input for field %q: it must be a duration: "+
				`seconds, or a text such as "90m" or "30d"`, name)
	}
	return d, nil
}

// encoded decodes a field that is base64; the text of an error is OpenBao's for that field.
func (f fields) encoded(name, wrong string) ([]byte, error) {
	text, err := f.text(name)
	if err != nil || text == "" {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s", wrong)
	}
	return b, nil
}

// itemText is an error as one item of a batch shows it: in one line.
func itemText(err error) string {
	return strings.TrimSuffix(strings.TrimPrefix(err.Error(), "1 error occurred:\n\t* "), "\n\n")
}

// batch gives the items of a batch; ok says whether there is one.
func (f fields) batch(prefix string) (items []fields, ok bool, err error) {
	raw, ok := f["batch_input"]
	if !ok {
		return nil, false, nil
	}
	all, isList := raw.([]any)
	if !isList {
		return nil, true, keys.Errors("failed to parse batch input: %ssource data must be an array or slice, got %s",
			prefix, typeName(raw))
	}
	if len(all) == 0 {
		return nil, true, fault.New(fault.Invalid, "missing batch input to process")
	}
	items = make([]fields, len(all))
	for i, one := range all {
		m, isMap := one.(map[string]any)
		if !isMap {
			return nil, true, keys.Errors("failed to parse batch input: [%d] expected a map, got '%s'", i, typeName(one))
		}
		items[i] = m
	}
	return items, true, nil
}

// typeName is a JSON value's type as the field's texts have it.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "<nil>"
	case string:
		return "string"
	case json.Number:
		return "json.Number"
	case bool:
		return "bool"
	case []any:
		return "[]interface {}"
	}
	return "map[string]interface {}"
}
