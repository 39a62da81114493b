package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/sealgate/sealgate/internal/fault"
)

// TooLarge returns an error that begins as net/http's own text does, because clients look for it.
func TooLarge(limit int64) error {
	return fault.New(fault.TooLarge, "http: request body too large: at most %d bytes are accepted here (the listener's "+
		"max_request_size, "+
		"and less where little is expected)", limit)
}

// bodyLimit returns how much of this request's body is read at most.
func (q *Request) bodyLimit() int64 { return min(q.Route.Body, q.Limits.Body) }

// checkLength refuses a body whose Content-Length is too large before any of it is read.
func (q *Request) checkLength() error {
	if q.Route.Body != NoBody && q.HTTP.ContentLength > q.bodyLimit() {
		return TooLarge(q.bodyLimit())
	}
	return nil
}

// hasBody reports whether there is a body that the route reads.
func (q *Request) hasBody() bool {
	return q.Route.Body != NoBody && q.HTTP.Body != nil && q.HTTP.Body != http.NoBody
}

// readBody reads the body up to its limit.
func (q *Request) readBody() error {
	if !q.hasBody() || q.bodyRead {
		return nil
	}
	limit := q.bodyLimit()
	var err error
	if n := q.HTTP.ContentLength; n >= 0 && n <= smallRequest { // a header alone must not allocate much
		if err := q.reserve(n); err != nil {
			return err
		}
		q.body = make([]byte, n)
		_, err = io.ReadFull(q.HTTP.Body, q.body)
	} else {
		q.body, err = q.readUpTo(limit)
	}
	if err != nil {
		return errRead(err)
	}
	if int64(len(q.body)) > limit {
		return TooLarge(limit)
	}
	q.bodyRead = true
	return nil
}

// errDecode reports a body that cannot be decoded.
func errDecode(err error) error {
	return fault.New(fault.Invalid, "failed to decode JSON input: %s", describe(err))
}

// describe says what is wrong with JSON without showing any of it: a body may be a secret.
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

// jsonKind returns the JSON name of what a Go type is decoded from.
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
