package api

import (
	"net/http/httptest"
	"testing"
)

// FuzzCheckJSON holds the estimate against what it protects: input that it lets through is decoded,
// or refused, without harm.
func FuzzCheckJSON(f *testing.F) {
	f.Add([]byte(`{"a":["b\"",{"c":1}]}`))
	f.Add([]byte(`[[[[`))
	f.Add([]byte(`"\`))
	limits := Limits{Body: 1 << 20, JSONMemory: 1 << 20, JSONStrings: 1000, JSONDepth: 8}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := checkJSON(body, &limits)
		q := &Request{body: body, Limits: &limits, HTTP: httptest.NewRequest("PUT", "/", nil)}
		data, failed := q.Object()
		if err != nil && failed == nil && len(data) > 0 {
			t.Errorf("%q was refused (%v) and decoded", body, err)
		}
	})
}
