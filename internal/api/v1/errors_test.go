package v1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// withRoute gives an API one more route, for handlers that no real path has.
func withRoute(w *harness, r api.Route) http.Handler {
	return api.NewHandler(w.config, api.Table{Area: api.Area{Routes: append([]api.Route{r}, table.Routes...)}})
}

func failing(err error) api.Route {
	return api.Route{Methods: []string{"GET", "PUT", "POST"}, Path: "sys/test", Access: api.AlwaysOpen,
		Body:   api.SmallBody,
		Handle: func(context.Context, *api.Handler, *api.Request) (*api.Answer, error) { return nil, err }}
}

func TestErrorsReachTheClientWithCauseAndRemedy(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	for _, tc := range []struct {
		err    error
		code   int
		text   string // the whole, or the beginning where it ends in "..."
		logged string
	}{
		{fault.New(fault.Invalid, "wrong"), 400, "wrong", ""},
		{fault.New(fault.Unsupported, "unsupported operation"), 405, "unsupported operation", ""},
		{fault.New(fault.Limited, "slower"), 429, "slower", ""},
		{fault.Wrap(errors.New("dial 10.0.0.1"), fault.Unavailable, "the HSM is unavailable"), 503,
			"the HSM is unavailable", "dial 10.0.0.1"},
		{fault.Wrap(errors.New("dial 10.0.0.1"), fault.Internal, "it broke"), 500,
			"1 error occurred:\n\t* it broke (request id UUID, under which the server's log has the cause)\n\n",
			"dial 10.0.0.1"},
		{errors.New("pointer 0xdead"), 500,
			"1 error occurred:\n\t* internal error; the server's log has the cause under request id UUID\n\n", "pointer 0xdead"},
		{fmt.Errorf("x: %w", barrier.ErrSealed), 503, "Vault is sealed", ""},
		{fmt.Errorf("%w: the entry %q: truncated", storage.ErrCorrupt, "logical/a"), 500,
			"1 error occurred:\n\t* storage: corrupt: the entry \"logical/a\": truncated; restore it from a backup (request " +
				"id UUID)\n\n", "logical/a"},
		{barrier.ErrUncertain, 503, "writes are refused until storage can be read again...", "unknown"},
		{fmt.Errorf("pwrite: %w", storage.ErrFull), 503, "no space is left in storage: nothing was written; make room, " +
			"then try again", "pwrite"},
		{storage.ErrTooLarge, 413, "the entry is too large: storage holds at most 1048576 bytes in one...", ""},
		{storage.ErrConflict, 409, "another request changed the entry at the same time...", ""},
		{storage.ErrFenced, 503, "another node has become the leader...", ""},
		{fmt.Errorf("%w: dial 10.0.0.1", storage.ErrUnavailable), 503, "the storage does not answer: the request may have...",
			"10.0.0.1"},
		{storage.ErrClosed, 503, "the server is stopping; try again", ""},
		{storage.ErrInvalidKey, 400, "the path cannot be stored...", ""},
		{context.DeadlineExceeded, 503, "the request was given up after 1m30s (max_request_duration)...", ""},
		{context.Canceled, 503, "the request was cancelled", ""},
	} {
		a := w.request("GET", "/v1/sys/test", "")
		out := sendTo(withRoute(w, failing(tc.err)), a)
		var got struct{ Errors []string }
		if err := json.Unmarshal(out.Body.Bytes(), &got); err != nil || len(got.Errors) != 1 {
			t.Fatalf("%v: %s", tc.err, out.Body)
		}
		text, want := normal(got.Errors[0]), tc.text
		if begin, cut := strings.CutSuffix(want, "..."); cut && strings.HasPrefix(text, begin) {
			text = want
		}
		if out.Code != tc.code || text != want {
			t.Errorf("%v: %d %q; want %d %q", tc.err, out.Code, text, tc.code, want)
		}
		if log := w.log.String(); !strings.Contains(log, tc.logged) {
			t.Errorf("%v: the log lacks %q", tc.err, tc.logged)
		}
		if tc.logged != "" && !strings.Contains(tc.text, tc.logged) && strings.Contains(out.Body.String(), tc.logged) {
			t.Errorf("%v: the client sees the cause: %s", tc.err, out.Body)
		}
	}
}

var requestID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

func TestPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	h := withRoute(w, api.Route{Methods: api.Get, Path: "sys/test", Access: api.AlwaysOpen,
		Handle: func(context.Context, *api.Handler, *api.Request) (*api.Answer, error) { panic("the handler's secret") }})
	a := sendTo(h, w.request("GET", "/v1/sys/test", ""))
	id := requestID.FindString(a.Body.String())
	if a.Code != 500 || id == "" || strings.Contains(a.Body.String(), "secret") {
		t.Errorf("a panic: %d %s", a.Code, a.Body)
	}
	if log := w.log.String(); !strings.Contains(log, id) || !strings.Contains(log, "the handler's secret") ||
		!strings.Contains(log, "errors_test.go") {
		t.Errorf("the log has neither id nor cause nor place: %s", log)
	}
	w.expect("the next request", sendTo(h, w.request("GET", "/v1/sys/leader", "")), 200, "")
}

func TestAnAnswerThatCannotBeRendered(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	for _, s := range []api.Style{api.EnvelopeStyle, api.DoubleStyle, api.BareStyle} {
		r := failing(nil)
		r.Style = s
		r.Handle = func(context.Context, *api.Handler, *api.Request) (*api.Answer, error) { return api.Show(func() {}) }
		if a := sendTo(withRoute(w, r), w.request("GET", "/v1/sys/test", "")); a.Code != 500 ||
			strings.Contains(a.Body.String(), "lease_id") {
			t.Errorf("%s: %d %s", s, a.Code, a.Body)
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t), func(c *api.Config) { c.Limits.Duration = time.Millisecond })
	r := failing(nil)
	r.Handle = func(ctx context.Context, _ *api.Handler, _ *api.Request) (*api.Answer, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("waiting for storage: %w", ctx.Err())
	}
	a := sendTo(withRoute(w, r), w.request("GET", "/v1/sys/test", ""))
	if a.Code != 503 || !strings.Contains(a.Body.String(), "given up after 1ms (max_request_duration)") {
		t.Errorf("a request beyond its deadline: %d %s", a.Code, a.Body)
	}
}

func TestStorageFailures(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"x":"y"}`), 204, "")
	w.store.set(nil, fmt.Errorf("pwrite: %w", storage.ErrFull))
	full := refusal("no space is left in storage: nothing was written; make room, then try again")
	w.expect("write on a full disk", w.do("PUT", "secret/a", `{"x":"z"}`), 503, full)
	w.expect("mount on a full disk", w.do("PUT", "sys/mounts/b", `{"type":"kv"}`), 503, full)
	w.expect("read on a full disk", w.do("GET", "secret/a", ""), 200, "")
	w.store.set(nil, nil)
	w.expect("write with room again", w.do("PUT", "secret/a", `{"x":"z"}`), 204, "")
	w.store.set(errors.New("I/O error at sector 7"), nil)
	a := w.do("GET", "secret/a", "")
	if a.Code != 500 || strings.Contains(a.Body.String(), "sector") || !strings.Contains(w.log.String(), "sector 7") {
		t.Errorf("a read error: %d %s", a.Code, a.Body)
	}
	if id := requestID.FindString(a.Body.String()); id == "" || !strings.Contains(w.log.String(), id) {
		t.Errorf("the request id %q is not in the log", id)
	}
	w.store.set(nil, nil)
	w.damage("secret/a")
	a = w.do("GET", "secret/a", "")
	if a.Code != 500 || !strings.Contains(a.Body.String(), "logical/") ||
		!strings.Contains(a.Body.String(), "restore it from a backup") {
		t.Errorf("a flipped byte: %d %s", a.Code, a.Body)
	}
}

// damage flips a byte in every stored entry below a mount.
func (w *harness) damage(path string) {
	w.t.Helper()
	active, err := w.node.Role()
	if err != nil {
		w.t.Fatal(err)
	}
	_, m, rest, err := active.Mounts().Route(path)
	if err != nil {
		w.t.Fatal(err)
	}
	key := "logical/" + m.UUID + "/v1/" + rest
	value, err := w.store.Get(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	value[len(value)-1] ^= 1
	if err := w.store.Commit(w.t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, value)}}); err != nil {
		w.t.Fatal(err)
	}
}

func TestRekeyRoutesCanBeTakenAway(t *testing.T) {
	t.Parallel()
	w := unsealed(t, func(c *api.Config) { c.DisableUnauthRekey = true })
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		w.expect(method, w.do(method, "sys/rekey/init", ""), 405, refusal("unsupported operation"))
		w.expect(method, w.do(method, "sys/rekey-recovery-key/init", ""), 404, refusal("unsupported path"))
	}
}

func TestEveryRequestHasAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := api.NewUUID()
		if !requestID.MatchString(id) || len(id) != 36 || seen[id] {
			t.Fatalf("the request id %q", id)
		}
		seen[id] = true
	}
}
