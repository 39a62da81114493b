package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
)

// tooLarge begins as net/http's own text does: clients look for that.
func tooLarge(limit int64) error {
	return fault.New(fault.TooLarge, "http: request body too large: at most %d bytes are accepted here (the listener's max_request_size, "+
		"and less where little is expected)", limit)
}

// bodyLimit is the most that is read of this request's body.
func (q *request) bodyLimit() int64 { return min(q.route.Body, q.limits.Body) }

// checkLength refuses, before anything is read, a body that says itself that it is too large.
func (q *request) checkLength() error {
	if q.route.Body != noBody && q.http.ContentLength > q.bodyLimit() {
		return tooLarge(q.bodyLimit())
	}
	return nil
}

// hasBody reports whether there is a body that the route would look at.
func (q *request) hasBody() bool {
	return q.route.Body != noBody && q.http.Body != nil && q.http.Body != http.NoBody
}

// readBody reads the body up to its limit.
func (q *request) readBody() error {
	if !q.hasBody() || q.bodyRead {
		return nil
	}
	limit := q.bodyLimit()
	var err error
	if n := q.http.ContentLength; n >= 0 && n <= smallBody { // no memory on the word of a header
		q.body = make([]byte, n)
		_, err = io.ReadFull(q.http.Body, q.body)
	} else {
		q.body, err = io.ReadAll(io.LimitReader(q.http.Body, limit+1))
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the body could not be read: it ended early, or came too slowly")
	}
	if int64(len(q.body)) > limit {
		return tooLarge(limit)
	}
	q.bodyRead = true
	return nil
}

// errDecode is a body that is not what it should be.
func errDecode(err error) error {
	return fault.New(fault.Invalid, "failed to decode JSON input: %s", describe(err))
}

// describe tells what is wrong with JSON without showing any of it: a body may be a secret.
func describe(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("not valid JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Sprintf("%q must be %s", kind.Field, jsonKind(kind.Type.String()))
	case errors.As(err, &kind):
		return "the body must be a JSON object"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the JSON ends too early"
	}
	return "the body must be one JSON object"
}

// jsonKind gives the JSON name of what a Go type is decoded from.
func jsonKind(goType string) string {
	switch goType {
	case "int", "int64":
		return "a whole number"
	case "bool":
		return "true or false"
	case "string":
		return "a string"
	case "[]string":
		return "a list of strings"
	}
	return "an object"
}

// strict decodes the body into a structure as the lifecycle endpoints do: no value is converted. An empty body leaves it as it is.
func (q *request) strict(into any) error {
	body := bytes.TrimSpace(q.body)
	if len(body) == 0 {
		return nil
	}
	if err := checkJSON(body, q.limits); err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return errDecode(err)
	}
	return nil
}

// fields decodes the body, JSON or a form, into a map; numbers stay as they are written. No body is an empty map.
func (q *request) object() (map[string]any, error) {
	body := bytes.TrimSpace(q.body)
	if len(body) == 0 {
		return nil, nil
	}
	if q.isForm(body) {
		data, err := parseForm(body, q.limits)
		q.data = data
		return data, err
	}
	if err := checkJSON(body, q.limits); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var data map[string]any
	if err := d.Decode(&data); err != nil {
		return nil, errDecode(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errDecode(errors.New("more behind it"))
	}
	q.data = data
	return data, nil
}

// isForm tells a form from JSON that curl sends as one.
func (q *request) isForm(body []byte) bool {
	kind, _, err := mime.ParseMediaType(q.http.Header.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded" && body[0] != '{' && body[0] != '['
}

func parseForm(body []byte, l *Limits) (map[string]any, error) {
	if n := int64(bytes.Count(body, []byte("&"))) + 1; n > l.JSONStrings {
		return nil, errComplex("%d parameters; at most %d are accepted", n, l.JSONStrings)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fault.New(fault.Invalid, "failed to decode the form: escape its parameters as in application/x-www-form-urlencoded")
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

// checkPatchType refuses a patch that does not say what kind it is.
func (q *request) checkPatchType() error {
	given := q.http.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	if err == nil && strings.EqualFold(kind, "application/merge-patch+json") {
		return nil
	}
	return &status{http.StatusUnsupportedMediaType,
		fmt.Sprintf("PATCH requires Content-Type application/merge-patch+json; %q was given", given)}
}
