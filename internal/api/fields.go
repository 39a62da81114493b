package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
)

// Strict decodes the body into a structure as the lifecycle endpoints do, without converting
// values. An empty body leaves it as it is.
func (q *Request) Strict(into any) error {
	body := bytes.TrimSpace(q.body)
	if len(body) == 0 {
		return nil
	}
	if err := q.checkJSON(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errDecode(err)
	}
	return nil
}

// Object decodes the body, JSON or a form, into a map; numbers stay as they are written. An empty
// body is an empty map.
func (q *Request) Object() (map[string]any, error) {
	body := bytes.TrimSpace(q.body)
	if len(body) == 0 {
		return nil, nil
	}
	if isForm(q, body) {
		data, err := parseForm(body, q.Limits)
		q.Data = data
		return data, err
	}
	if err := q.checkJSON(body); err != nil {
		return nil, err
	}
	data, err := decodeObject(body)
	if err != nil {
		return nil, err
	}
	q.Data = data
	return data, nil
}

// isForm distinguishes a form from JSON, which curl sends with the content type of a form.
func isForm(q *Request, body []byte) bool {
	kind, _, err := mime.ParseMediaType(q.HTTP.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded" && body[0] != '{' && body[0] != '['
}

func parseForm(body []byte, l *Limits) (map[string]any, error) {
	if n := int64(bytes.Count(body, []byte("&"))) + 1; n > l.JSONStrings {
		return nil, errComplex("%d parameters; at most %d are accepted", n, l.JSONStrings)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil,
			fault.New(fault.Invalid, "failed to decode the form: escape its parameters as in application/x-www-form-urlencoded")
	}
	data := map[string]any{}
	for name, v := range values {
		if len(v) == 1 {
			data[name] = v[0]
			continue
		}
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		data[name] = list
	}
	return data, nil
}

// CheckPatchType refuses a patch without its content type.
func (q *Request) CheckPatchType() error {
	given := q.HTTP.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	if err == nil && strings.EqualFold(kind, "application/merge-patch+json") {
		return nil
	}
	return &Status{http.StatusUnsupportedMediaType,
		fmt.Sprintf("PATCH requires Content-Type application/merge-patch+json; %q was given", given)}
}

// Param reads one string from the body, or from the query of a read.
func (q *Request) Param(name string, into *string) error {
	data, err := q.Fields()
	if err != nil {
		return err
	}
	return field.Map(data).Text(name, into)
}

// Fields returns what policies may constrain: the fields of the body, or of a read's query.
func (q *Request) Fields() (map[string]any, error) {
	if q.method() != "GET" {
		return q.Object()
	}
	data := make(map[string]any, len(q.Query))
	for name, values := range q.Query {
		if len(values) > 0 {
			data[name] = values[0]
		}
	}
	return data, nil
}
