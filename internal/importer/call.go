package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Server is one side of an import. Each call has a deadline of its own.
type Server interface {
	// Call sends a request with a token and returns the member "data" of the response. A response with
	// status 400 or higher is a [*Refusal]; its data is returned too, where it has some.
	Call(ctx context.Context, method, path string, query url.Values, body any) (json.RawMessage, error)
}

// Refusal is a response that is an error.
type Refusal struct {
	Code  int
	Texts []string
}

const maxReason = 400 // characters of a refusal that the report shows

// Error shows printable characters only: the text is another system's.
func (r *Refusal) Error() string {
	text := printable(strings.Join(strings.Fields(strings.Join(r.Texts, "; ")), " "))
	if text == "" {
		text = http.StatusText(r.Code)
	}
	return fmt.Sprintf("%s (status %d)", text, r.Code)
}

func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > maxReason {
		s = string([]rune(s)[:maxReason]) + " ..."
	}
	return s
}

func refusedWith(err error, code int) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Code == code
}

// itemOnly reports whether an error concerns one request, and not the whole server.
func itemOnly(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Code != http.StatusServiceUnavailable && r.Code != http.StatusTooManyRequests &&
		r.Code != http.StatusBadGateway && r.Code != http.StatusGatewayTimeout
}

// side is a server with its name in messages.
type side struct {
	name string // "source" or "destination"
	Server
}

func (s side) call(ctx context.Context, method, path string, q url.Values, in any) (json.RawMessage, error) {
	data, err := s.Call(ctx, method, path, q, in)
	if err != nil {
		return data, fmt.Errorf("the %s: %w", s.name, err)
	}
	return data, nil
}

// read decodes the data at a path into out, and reports whether there was any.
func (s side) read(ctx context.Context, path string, q url.Values, out any) (bool, error) {
	data, err := s.call(ctx, http.MethodGet, path, q, nil)
	defer clear(data)
	switch {
	case refusedWith(err, http.StatusNotFound):
		return false, nil
	case err != nil:
		return false, err
	case empty(data):
		return false, nil
	}
	if err := decode(data, out); err != nil {
		return false, fmt.Errorf("the %s: %w", s.name, err)
	}
	return true, nil
}

func empty(data json.RawMessage) bool { return len(data) == 0 || string(data) == "null" }

// decode keeps numbers as they were written. Its error does not show the text.
func decode(data []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return errors.New("the response has an unexpected form")
	}
	return nil
}

// list returns the names at a path, sorted.
func (s side) list(ctx context.Context, path string) ([]string, error) {
	data, err := s.call(ctx, "LIST", path, nil, nil)
	if refusedWith(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil || empty(data) {
		return nil, err
	}
	var out struct{ Keys []string }
	if err := decode(data, &out); err != nil {
		return nil, fmt.Errorf("the %s: %w", s.name, err)
	}
	slices.Sort(out.Keys)
	return out.Keys, nil
}

func (s side) write(ctx context.Context, path string, in any) error {
	data, err := s.call(ctx, http.MethodPost, path, nil, in)
	clear(data)
	return err
}

// table reads an object of objects, such as sys/mounts.
func (s side) table(ctx context.Context, path string) (map[string]mountEntry, error) {
	all := map[string]mountEntry{}
	_, err := s.read(ctx, path, nil, &all)
	return all, err
}

// checkPath refuses names that would lead elsewhere at the destination.
func checkPath(path string) error {
	for segment := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return fmt.Errorf("the name %.100q has an empty or relative part, which a path cannot have", path)
		}
	}
	if strings.ContainsFunc(path, unicode.IsControl) || !utf8.ValidString(path) || len(path) > maxPath {
		return fmt.Errorf("the name %.100q has control characters, or more than %d bytes", path, maxPath)
	}
	return nil
}

// checkName refuses names that are not one segment of a path.
func checkName(name string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("the name %.100q has a slash", name)
	}
	return checkPath(name)
}

const (
	maxPath  = 1024
	maxDepth = 64 // folders of a kv mount
)

// equal compares JSON values; numbers are compared by their text.
func equal(a, b any) bool {
	ja, err1 := json.Marshal(a)
	jb, err2 := json.Marshal(b)
	defer clear(ja)
	defer clear(jb)
	return err1 == nil && err2 == nil && bytes.Equal(ja, jb)
}

// blank reports whether a value says no more than an absent one.
func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == "" || v == "0" || v == "0s"
	case json.Number:
		return v == "0"
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// differing returns the names of the fields of want that have other values in have.
func differing(want, have map[string]any) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if blank(want[name]) && blank(have[name]) || equal(want[name], have[name]) {
			continue
		}
		names = append(names, name)
	}
	return names
}
