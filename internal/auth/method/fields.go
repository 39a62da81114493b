package method

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/field"
)

// Fields are the body of a request. What is missing or null leaves the target of a conversion as it
// is.
type Fields map[string]any

// badField is Vault's text. The value is not shown: it may be a secret.
func badField(name, want string) error {
	return Invalid("Field validation failed: error converting input for field %q: it must be %s", name, want)
}

// Has reports whether a field was given.
func (f Fields) Has(name string) bool { return f[name] != nil }

// Text reads a text.
func (f Fields) Text(name string, into *string) error {
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

// Flag reads true or false.
func (f Fields) Flag(name string, into *bool) error {
	var text string
	if f[name] == nil {
		return nil
	}
	if err := f.Text(name, &text); err != nil {
		return badField(name, "true or false")
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return badField(name, "true or false")
	}
	*into = b
	return nil
}

// Number reads a whole number.
func (f Fields) Number(name string, into *int64) error {
	if f[name] == nil {
		return nil
	}
	var text string
	if err := f.Text(name, &text); err != nil {
		return badField(name, "a whole number")
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return badField(name, "a whole number")
	}
	*into = n
	return nil
}

// Seconds reads a duration; what is below a second is cut off.
func (f Fields) Seconds(name string, into *int64) error {
	if f[name] == nil {
		return nil
	}
	d, err := field.ParseDuration(f[name])
	if err != nil {
		return badField(name, `a duration: seconds, or a text such as "90s" or "24h"`)
	}
	*into = int64(d / time.Second)
	return nil
}

// List reads a list of texts, or one text with commas in between.
func (f Fields) List(name string, into *[]string) error {
	switch v := f[name].(type) {
	case nil:
		return nil
	case string:
		*into = split(v)
		return nil
	case []any:
		out := make([]string, len(v))
		for i := range v {
			if err := (Fields{"": v[i]}).Text("", &out[i]); err != nil || v[i] == nil {
				return badField(name, "a list of strings")
			}
			out[i] = strings.TrimSpace(out[i])
		}
		*into = slices.DeleteFunc(out, func(s string) bool { return s == "" })
		return nil
	}
	return badField(name, "a list of strings")
}

func split(s string) []string {
	out := []string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// Texts reads an object whose values are texts. It may also be given as JSON in a text, or as a
// list of "name=value".
func (f Fields) Texts(name string, into *map[string]string) error {
	bad := badField(name, "an object whose values are strings")
	out := map[string]string{}
	switch v := f[name].(type) {
	case nil:
		return nil
	case map[string]any:
		for key := range v {
			var text string
			if err := Fields(v).Text(key, &text); err != nil {
				return bad
			}
			out[key] = text
		}
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
		return bad
	}
	*into = out
	return nil
}

// Each carries out conversions and stops at the first error.
func Each(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
