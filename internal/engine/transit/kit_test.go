package transit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// clock is the time of a test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// engine is a backend on a storage in memory.
type engine struct {
	t     testing.TB
	store mount.Storage
	clock *clock
	*backend
}

func newEngine(t testing.TB) *engine {
	t.Helper()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	return openEngine(t, copying{store}, &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
}

func openEngine(t testing.TB, store mount.Storage, c *clock) *engine {
	t.Helper()
	b, err := Factory(Options{Now: c.now})(store, mount.Entry{Path: "transit/", Type: "transit"})
	if err != nil {
		t.Fatal(err)
	}
	return &engine{t, store, c, b.(*backend)}
}

// copying keeps copies of values, as the barrier does, which encrypts them.
type copying struct{ *inmem.Store }

func (c copying) Commit(ctx context.Context, b storage.Batch) error {
	ops := make([]storage.Op, len(b.Ops))
	for i, op := range b.Ops {
		op.Value = append([]byte(nil), op.Value...)
		ops[i] = op
	}
	b.Ops = ops
	return c.Store.Commit(ctx, b)
}

var operations = map[string]mount.Operation{
	"GET": mount.Read, "LIST": mount.List, "POST": mount.Update, "DELETE": mount.Delete,
}

// answer is what a client would see.
type answer struct {
	status   int
	body     string // the data as JSON, or the error's text
	warnings []string
}

var statuses = map[fault.Kind]int{
	fault.Internal: 500, fault.Invalid: 400, fault.Denied: 403, fault.NotFound: 404, fault.Unsupported: 405,
	fault.TooLarge:    413,
	fault.Unavailable: 503,
}

// do sends a request as the API would: a write to what does not exist is a create.
func (e *engine) do(method, path, body string) answer {
	e.t.Helper()
	return e.doAs("root", method, path, body)
}

func (e *engine) doAs(who, method, path, body string) answer {
	e.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		e.t.Fatal(err)
	}
	r := &mount.Request{Operation: operations[method], Path: path, Query: values,
		Identity: token.Identity{DisplayName: who}}
	if method == "POST" {
		r.Data = map[string]any{}
		if body != "" {
			d := json.NewDecoder(strings.NewReader(body))
			d.UseNumber()
			if err := d.Decode(&r.Data); err != nil {
				e.t.Fatalf("%s: %v", body, err)
			}
		}
		exists, err := e.Exists(e.t.Context(), path)
		if err != nil {
			e.t.Fatal(err)
		}
		if !exists {
			r.Operation = mount.Create
		}
	}
	a, err := e.Handle(e.t.Context(), r)
	return e.answer(method, a, err)
}

func (e *engine) answer(method string, a *mount.Response, err error) answer {
	e.t.Helper()
	if err != nil {
		var f *fault.Error
		if !errors.As(err, &f) {
			return answer{status: 500, body: err.Error()}
		}
		return answer{status: statuses[f.Kind], body: f.Message}
	}
	if a == nil {
		if method == "GET" || method == "LIST" {
			return answer{status: http.StatusNotFound}
		}
		return answer{status: http.StatusNoContent}
	}
	data, err := json.Marshal(a.Data)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer{max(a.Status, http.StatusOK), string(data), a.Warnings}
}

// must sends a request that succeeds, and gives its data.
func (e *engine) must(method, path, body string) map[string]any {
	e.t.Helper()
	a := e.do(method, path, body)
	if a.status != http.StatusOK && a.status != http.StatusNoContent {
		e.t.Fatalf("%s %s %s: %d %s", method, path, body, a.status, a.body)
	}
	var data map[string]any
	if a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &data); err != nil {
			e.t.Fatal(err)
		}
	}
	return data
}

// get is a string of an answer's data.
func (e *engine) get(field, method, path, body string) string {
	e.t.Helper()
	v, ok := e.must(method, path, body)[field].(string)
	if !ok {
		e.t.Fatalf("%s %s: no %s", method, path, field)
	}
	return v
}

// body renders fields as JSON.
func body(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}
