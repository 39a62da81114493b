package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// query is one visit of a page: the browser's request and its session, which may be nil.
type query struct {
	u *UI
	r *http.Request
	s *session
}

// ask is a request to the API.
type ask struct {
	method, path string // the path below /v1/, not escaped
	params       url.Values
	body         []byte // JSON; wiped by who made it
	token        string // in place of the session's
}

// answer is a response of the API.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// refusal is an error of the API.
type refusal struct {
	ask    ask
	status int
	texts  []string
}

func (e *refusal) Error() string {
	if len(e.texts) == 0 {
		return fmt.Sprintf("the server answered %d %s", e.status, http.StatusText(e.status))
	}
	return strings.TrimSpace(strings.Join(e.texts, "; "))
}

// recorder keeps an answer in memory.
type recorder struct {
	answer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, p...)
	return len(p), nil
}

// request makes the API's request from the browser's: its address and certificate are the
// browser's, its cookies and body are not.
func (q *query) request(a ask) (*http.Request, error) {
	target := &url.URL{Path: "/v1/" + a.path, RawQuery: a.params.Encode()}
	r, err := http.NewRequestWithContext(q.r.Context(), a.method, target.String(), bytes.NewReader(a.body))
	if err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	r.RemoteAddr, r.TLS, r.Host, r.RequestURI = q.r.RemoteAddr, q.r.TLS, q.r.Host, target.RequestURI()
	for name, values := range q.r.Header {
		if !ours(name) {
			r.Header[name] = values
		}
	}
	r.Header.Set("X-Vault-Request", "true")
	token := a.token
	if token == "" {
		token = q.u.Sessions.bearer(q.s)
	}
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	if len(a.body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// ours reports whether a header concerns the browser and this package. The others, such as those of
// proxies, are for the API.
func ours(name string) bool {
	for _, prefix := range []string{"Sec-", "Content-", "If-", "X-Vault-", "Accept"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "Cookie", "Authorization", "Origin", "Referer", "Range", "Connection", "Upgrade", "Te", "Transfer-Encoding":
		return true
	}
	return false
}

// do asks the API. A status of 400 and above is a *refusal.
func (q *query) do(a ask) (*answer, error) {
	r, err := q.request(a)
	if err != nil {
		return nil, err
	}
	w := &recorder{answer{header: http.Header{}}}
	q.u.API.ServeHTTP(w, r)
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.status < http.StatusMultipleChoices {
		return &w.answer, nil
	}
	var refused struct{ Errors []string }
	_ = json.Unmarshal(w.body, &refused) // without texts, the status is shown
	a.body, a.token = nil, ""
	return &w.answer, &refusal{ask: a, status: w.status, texts: refused.Errors}
}

// decode reads the data of an answer: the member "data" of an envelope, or the whole.
func (a *answer) decode(into any) error {
	var envelope struct {
		RequestID string `json:"request_id"`
		Data      json.RawMessage
	}
	raw := a.body
	if json.Unmarshal(raw, &envelope) == nil && envelope.RequestID != "" && len(envelope.Data) > 0 &&
		string(envelope.Data) != "null" {
		raw = envelope.Data
	}
	if len(raw) == 0 {
		return nil
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(into); err != nil && err != io.EOF {
		return fmt.Errorf("ui: the API's answer: %w", err)
	}
	return nil
}

// get reads a path into a value.
func (q *query) get(path string, into any) error {
	a, err := q.do(ask{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	return a.decode(into)
}

// list returns the names below a path; none if there are none.
func (q *query) list(path string) ([]string, error) {
	a, err := q.do(ask{method: "LIST", path: path})
	if refused, ok := err.(*refusal); ok && refused.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out struct{ Keys []string }
	return out.Keys, a.decode(&out)
}

// post writes a JSON object, and decodes the answer if into is not nil.
func (q *query) post(path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("ui: %w", err)
	}
	defer clear(raw)
	a, err := q.do(ask{method: http.MethodPost, path: path, body: raw})
	if err != nil || into == nil {
		return err
	}
	return a.decode(into)
}

// capabilities returns what the session's token may do on each path.
func (q *query) capabilities(paths []string) (map[string][]string, error) {
	out := map[string][]string{}
	if len(paths) == 0 {
		return out, nil
	}
	raw := map[string]json.RawMessage{}
	if err := q.post("sys/capabilities-self", map[string]any{"paths": paths}, &raw); err != nil {
		return nil, err
	}
	for _, path := range paths {
		var names []string
		if json.Unmarshal(raw[path], &names) == nil {
			out[path] = names
		}
	}
	return out, nil
}

// object builds a JSON object from texts and secrets, without a copy of a secret but the result.
type object struct{ buf []byte }

func (o *object) text(name, value string) {
	raw, err := json.Marshal(value)
	if err != nil {
		return // a string always has a JSON form
	}
	o.member(name, raw)
}

// secret adds a text that is wiped with the object.
func (o *object) secret(name string, value []byte) {
	quoted := make([]byte, 0, 2*len(value)+2)
	quoted = append(quoted, '"')
	for _, c := range value {
		switch {
		case c == '"' || c == '\\':
			quoted = append(quoted, '\\', c)
		case c < ' ':
			quoted = fmt.Appendf(quoted, `\u%04x`, c)
		default:
			quoted = append(quoted, c)
		}
	}
	quoted = append(quoted, '"')
	o.member(name, quoted)
	clear(quoted)
}

func (o *object) member(name string, value []byte) {
	next := make([]byte, 0, len(o.buf)+len(name)+len(value)+8)
	next = append(next, o.buf...)
	if len(o.buf) > 0 {
		next = append(next, ',')
	}
	next = fmt.Appendf(next, "%q:", name)
	next = append(next, value...)
	clear(o.buf)
	o.buf = next
}

// json returns the object. The caller wipes it.
func (o *object) json() []byte {
	out := make([]byte, 0, len(o.buf)+2)
	out = append(out, '{')
	out = append(out, o.buf...)
	out = append(out, '}')
	clear(o.buf)
	o.buf = nil
	return out
}

// decodeWhole reads an answer with all its members.
func (a *answer) decodeWhole(into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("ui: the API's answer: %w", err)
	}
	return nil
}
