package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

const goldenDir = "../../testdata/audit"

// then is when everything happens.
var then = time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)

// steps is a source of "random" bytes that differ and repeat from run to run.
type steps struct {
	mu sync.Mutex
	n  byte
}

func (s *steps) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range p {
		s.n++
		p[i] = s.n
	}
	return len(p), nil
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// bench is a trail on a storage in memory.
type bench struct {
	t     testing.TB
	trail *Trail
	store storage.Store
	log   *safeBuffer
	out   *safeBuffer
	dir   string
}

func newBench(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, store: inmem.New(), log: &safeBuffer{}, out: &safeBuffer{}, dir: t.TempDir()}
	o := Options{
		Now: func() time.Time { return then }, Rand: &steps{}, Stdout: b.out, Log: slog.New(slog.NewTextHandler(b.log, nil)),
		Deadline: 5 * time.Second, AnyFile: true,
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if b.trail, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.trail.Close(), b.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// active is a trail of an unsealed node.
func active(t testing.TB, change ...func(*Options)) *bench {
	t.Helper()
	b := newBench(t, change...)
	if err := b.trail.Activate(t.Context(), b.store); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) enable(path, kind string, options ...string) {
	b.t.Helper()
	if err := b.trail.Enable(b.t.Context(), config(path, kind, options...)); err != nil {
		b.t.Fatal(err)
	}
}

func config(path, kind string, options ...string) Config {
	c := Config{Path: path, Type: kind, Options: map[string]string{}}
	for i := 0; i < len(options); i += 2 {
		c.Options[options[i]] = options[i+1]
	}
	return c
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) read(name string) string {
	b.t.Helper()
	raw, err := os.ReadFile(b.file(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(raw)
}

// request is a small one.
func request(id string) *Request { return &Request{ID: id, Operation: "read", Path: "secret/" + id} }

// once sends a request and its answer through the trail.
func (b *bench) once(id string) error {
	r := b.trail.Begin(request(id), nil)
	if err := r.Request(""); err != nil {
		return err
	}
	return r.Response(nil, "")
}

func (b *bench) must(id string) {
	b.t.Helper()
	if err := b.once(id); err != nil {
		b.t.Fatal(err)
	}
}

// entries decodes a log, each line of which must be JSON.
func (b *bench) entries(text string) (all []map[string]any) {
	b.t.Helper()
	for line := range strings.Lines(text) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "}\n") {
			b.t.Fatalf("not an entry: %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// full is a request with everything that an entry can have.
func full() (*Request, *Auth, *Response) {
	auth := &Auth{
		Token: "s.TOKEN", Accessor: "ACCESSOR", DisplayName: "token-\"ci\"", Policies: []string{"app", "default"},
		TokenPolicies: []string{"app", "default"},
		Metadata:      map[string]string{"team": "a", "env": "b"}, TokenType: "service", TTL: time.Hour,
		Issued: then.Add(-time.Hour), RemainingUses: 4,
		EntityID: "E", NoDefault: true, Results: &PolicyResults{Allowed: true, Granting: []string{"app", ""}},
	}
	req := &Request{
		ID: "0f0f0f0f-0000-4000-8000-000000000001", ClientID: "QUJD", Operation: "update", Token: "s.TOKEN",
		Accessor: "ACCESSOR",
		Mount:    &Mount{Point: "kv/", Type: "kv", Accessor: "kv_1a2b3c4d", Version: "v1.0.0+builtin", Class: "secret"},
		Path:     "kv/a\u2028b", WrapTTL: 90 * time.Second, RemoteAddress: "127.0.0.1", RemotePort: 40000,
		Certificate: "4711",
		Data: json.RawMessage(`{"plaintext":"s3cr3t","shown":"plain","n":1.50,"yes":true,"no":null,"list":["s3cr3t",{"shown":["a","b"],"x":"s3cr3t"}],` +
			`"escaped":"s3c\u00723t", "empty":""}`),
		Plain:   []string{"shown"},
		Headers: map[string][]string{"x-plain": {"one"}, "x-hashed": {"s3cr3t", "two"}},
	}
	resp := &Response{
		Data: json.RawMessage(`{"keys":["a","b"],"key_info":{"a":{},"b":{}},"ciphertext":"s3cr3t"}`), Plain: []string{"none"},
		Listing: true,
		Auth: &Auth{Token: "s.NEW", Accessor: "NEWACCESSOR", DisplayName: "token", Policies: []string{"default"},
			TokenType: "batch", NumUses: 2},
		Wrap: &WrapInfo{Token: "s.WRAP", Accessor: "WRAPACCESSOR", TTL: time.Minute, Created: then, Path: "kv/a",
			WrappedAccessor: "NEWACCESSOR"},
		LeaseID: "kv/a/1", Warnings: []string{"mind\nthe gap"}, Headers: map[string][]string{"Cache-Control": {"no-store"}},
		Share: &Share{Target: "recovery", Number: 3, Holder: "alice"},
	}
	return req, auth, resp
}

// TestEntries compares whole entries, byte for byte, for each option that changes them.
func TestEntries(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{
		"default": nil, "log-raw": {"log_raw", "true"}, "accessors-shown": {"hmac_accessor", "false"},
		"lists-counted": {"elide_list_responses", "true"}, "prefixed": {"prefix", "audit: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := active(t, func(o *Options) { o.AllowPrefix = true })
			for _, h := range []string{"X-Plain", "x-hashed"} {
				if err := b.trail.SetHeader(t.Context(), h, h == "x-hashed"); err != nil {
					t.Fatal(err)
				}
			}
			b.enable("file", "file", append(options, "file_path", b.file("log"), "skip_test", "true")...)
			req, auth, resp := full()
			r := b.trail.Begin(req, auth)
			if err := errors.Join(r.Request(""), r.Response(resp, "")); err != nil {
				t.Fatal(err)
			}
			guarded := *req
			guarded.Guarded, guarded.Headers = true, nil
			r = b.trail.Begin(&guarded, nil)
			denied := "1 error occurred:\n\t* permission denied\n\n"
			if err := errors.Join(r.Request(denied), r.Response(nil, denied)); err != nil {
				t.Fatal(err)
			}
			got := b.read("log")
			golden(t, "entries-"+name+".jsonl", got)
			for line := range strings.Lines(got) {
				if !json.Valid([]byte(strings.TrimPrefix(line, "audit: "))) {
					t.Errorf("not JSON: %s", line)
				}
				if strings.Contains(line, "s.TOKEN") || strings.Contains(line, "s.NEW") || strings.Contains(line, "s.WRAP") {
					t.Errorf("a token: %s", line)
				}
			}
			if name != "log-raw" && strings.Contains(got, "s3cr3t") {
				t.Errorf("a value: %s", got)
			}
		})
	}
}

// golden compares with a file of testdata/audit.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(goldenDir, name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; it is now\n%s", path, got)
	}
}

// TestHashAgrees: what a log has of a value is what Hash says, and each device has its own words.
func TestHashAgrees(t *testing.T) {
	t.Parallel()
	b := active(t)
	b.enable("one", "file", "file_path", b.file("one"))
	b.enable("two", "file", "file_path", b.file("two"))
	r := b.trail.Begin(&Request{ID: "1", Operation: "update", Token: "s.TOKEN",
		Data: json.RawMessage(`{"a":"wörld","b":"w\u00f6rld"}`)}, nil)
	if err := r.Request(""); err != nil {
		t.Fatal(err)
	}
	hashes := map[string]bool{}
	for _, name := range []string{"one", "two"} {
		last := b.entries(b.read(name))
		req := last[len(last)-1]["request"].(map[string]any)
		data := req["data"].(map[string]any)
		want, ok := b.trail.Hash(name+"/", "wörld")
		if !ok || data["a"] != want || data["b"] != want {
			t.Errorf("%s: %v, want %s", name, data, want)
		}
		if token, _ := b.trail.Hash(name+"/", "s.TOKEN"); req["client_token"] != token {
			t.Errorf("%s: the token is %v, want %s", name, req["client_token"], token)
		}
		hashes[want] = true
	}
	if len(hashes) != 2 {
		t.Error("two devices have one salt")
	}
	if _, ok := b.trail.Hash("three/", "x"); ok {
		t.Error("a device that is not there has a salt")
	}
}

// TestSaltsSurvive: a restart finds devices and salts; a device that was removed and made anew has
// another.
func TestSaltsSurvive(t *testing.T) {
	t.Parallel()
	b := active(t)
	b.enable("file", "file", "file_path", b.file("log"))
	before, _ := b.trail.Hash("file/", "x")
	b.trail.Deactivate()
	if _, ok := b.trail.Hash("file/", "x"); ok || len(b.trail.List()) != 0 {
		t.Error("a sealed trail knows salts")
	}
	if err := b.trail.Enable(t.Context(), config("x", "file", "file_path", "discard")); !errors.Is(err, ErrSealed) {
		t.Errorf("enabling while sealed: %v", err)
	}
	if err := b.trail.Activate(t.Context(), b.store); err != nil {
		t.Fatal(err)
	}
	if after, _ := b.trail.Hash("file/", "x"); after != before {
		t.Errorf("another salt: %s, %s", before, after)
	}
	if err := b.trail.Disable(t.Context(), "file"); err != nil {
		t.Fatal(err)
	}
	if names, err := b.store.List(t.Context(), "audit/", "", 0); err != nil || len(names) != 0 {
		t.Errorf("a salt is left: %v, %v", names, err)
	}
	b.enable("file", "file", "file_path", b.file("log"))
	if again, _ := b.trail.Hash("file/", "x"); again == before {
		t.Error("the salt of a device that was removed is back")
	}
}

func TestNoDevices(t *testing.T) {
	t.Parallel()
	b := active(t)
	if b.trail.Enabled() {
		t.Error("enabled without a device")
	}
	b.must("1")
}

// TestDeclared: devices of the configuration are there while sealed, without texts; no caller can
// remove them by a request; when they leave the configuration they go.
func TestDeclared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	declared := config("main/", "file", "file_path", filepath.Join(dir, "main"))
	declared.Declared = true
	b := newBench(t, func(o *Options) { o.Declared = []Config{declared} })
	r := b.trail.Begin(&Request{ID: "1", Operation: "update", Path: "sys/unseal", Token: "s.TOKEN",
		Data: json.RawMessage(`{"key":"SHARE","n":1}`)}, nil)
	if err := errors.Join(r.Request(""), r.Response(&Response{Data: json.RawMessage(`{"sealed":true,"type":"x"}`)},
		"")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "main"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "sealed.jsonl", string(raw))
	if err := b.trail.Activate(t.Context(), b.store); err != nil {
		t.Fatal(err)
	}
	if err := b.trail.Disable(t.Context(), "main"); err == nil || !strings.Contains(err.Error(), "configuration") {
		t.Errorf("removing it: %v", err)
	}
	b.must("2")
	next, err := New(Options{Now: b.trail.o.Now, Log: b.trail.o.Log})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := next.Activate(t.Context(), b.store); err != nil || len(next.List()) != 0 {
		t.Errorf("after it left the configuration: %v, %v", next.List(), err)
	}
}

// TestKept: what happens while sealed, before a device is known, is written before the node is
// active; where that cannot be, it does not become so.
func TestKept(t *testing.T) {
	t.Parallel()
	b := active(t)
	b.enable("file", "file", "file_path", b.file("log"), "skip_test", "true")
	b.trail.Deactivate()
	r := b.trail.Begin(&Request{ID: "1", Operation: "update", Path: "sys/unseal", Guarded: true,
		Data: json.RawMessage(`{"key":"SHARE"}`)}, nil)
	if err := errors.Join(r.Request(""), r.Response(&Response{Share: &Share{Target: "barrier", Number: 2}},
		"")); err != nil {
		t.Fatal(err)
	}
	last := b.trail.Begin(&Request{ID: "2", Operation: "update", Path: "sys/unseal", Guarded: true,
		Data: json.RawMessage(`{"key":"OTHER"}`)}, nil)
	if err := last.Request(""); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b.dir, b.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := b.trail.Activate(t.Context(), b.store); !errors.Is(err, ErrUnwritten) {
		t.Errorf("activated without a log: %v", err)
	}
	if err := os.Rename(b.dir+"-away", b.dir); err != nil {
		t.Fatal(err)
	}
	if err := b.trail.Activate(t.Context(), b.store); err != nil {
		t.Fatal(err)
	}
	if err := last.Response(&Response{}, ""); err != nil {
		t.Fatal(err)
	}
	got := b.read("log")
	if len(b.entries(got)) != 4 || strings.Contains(got, "SHARE") || strings.Contains(got, "OTHER") ||
		!strings.Contains(got, `"share":{"target":"barrier","number":2}`) {
		t.Errorf("kept:\n%s", got)
	}
}

// TestSealedWithinARequest: the second entry of a request during which the node was sealed is not
// written nowhere in silence.
func TestSealedWithinARequest(t *testing.T) {
	t.Parallel()
	b := active(t)
	b.enable("file", "file", "file_path", b.file("log"))
	r := b.trail.Begin(request("1"), nil)
	if err := r.Request(""); err != nil {
		t.Fatal(err)
	}
	b.trail.Deactivate()
	if err := r.Response(nil, ""); !errors.Is(err, ErrSealed) {
		t.Errorf("the answer: %v", err)
	}
}

func TestRefusedDevices(t *testing.T) {
	t.Parallel()
	b := active(t)
	b.enable("file", "file", "file_path", b.file("log"))
	for want, c := range map[string]Config{
		"path already in use":           config("file", "file", "file_path", "x"),
		`unknown backend type: "x"`:     config("a", "x"),
		"file_path is required":         config("a", "file"),
		"address is required":           config("a", "socket"),
		"prefixes are not allowed":      config("a", "file", "file_path", "discard", "prefix", "x"),
		"failed its test entry":         config("a", "file", "file_path", b.file("nowhere/log")),
		"unknown option":                config("a", "file", "file_path", "discard", "filter", "x"),
		"socket_type":                   config("a", "socket", "address", "127.0.0.1:1", "socket_type", "sctp"),
		"write_timeout":                 config("a", "socket", "address", "127.0.0.1:1", "write_timeout", "soon"),
		"facility":                      config("a", "syslog", "facility", "x"),
		"log_raw must be true or false": config("a", "file", "file_path", "discard", "log_raw", "perhaps"),
		"the path of the audit device":  config("", "file", "file_path", "discard"),
	} {
		err := b.trail.Enable(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", c, err, want)
		}
	}
	if got := b.trail.List(); len(got) != 1 {
		t.Errorf("enabled: %v", got)
	}
	forbidden := active(t, func(o *Options) { o.ForbidAPI = true })
	if err := forbidden.trail.Enable(t.Context(), config("a", "file", "file_path", "discard")); err == nil ||
		!strings.Contains(err.Error(), "cannot enable audit device via API; ") {
		t.Errorf("forbidden: %v", err)
	}
}

// fickle is a storage whose commits fail after, or before, they are written.
type fickle struct {
	storage.Store
	before, after error
}

func (f *fickle) Commit(ctx context.Context, b storage.Batch) error {
	if f.before != nil {
		return f.before
	}
	return errors.Join(f.Store.Commit(ctx, b), f.after)
}

// TestMemoryIsDisk: after a commit of unknown outcome, the devices are those of the
// storage.
func TestMemoryIsDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := &fickle{Store: b.store}
	if err := b.trail.Activate(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.before = errors.New("unplugged")
	if err := b.trail.Enable(t.Context(), config("a", "file", "file_path", "discard")); err == nil ||
		len(b.trail.List()) != 0 {
		t.Errorf("nothing was written: %v, %v", err, b.trail.List())
	}
	f.before, f.after = nil, errors.New("no answer")
	if err := b.trail.Enable(t.Context(), config("a", "file", "file_path", "discard")); err != nil ||
		len(b.trail.List()) != 1 {
		t.Errorf("it was written: %v, %v", err, b.trail.List())
	}
	if err := b.trail.Disable(t.Context(), "a"); err != nil || len(b.trail.List()) != 0 {
		t.Errorf("removed: %v, %v", err, b.trail.List())
	}
}

func TestStdout(t *testing.T) {
	t.Parallel()
	b := active(t)
	b.enable("out", "file", "file_path", "stdout")
	b.must("1")
	if got := b.entries(b.out.String()); len(got) != 3 || got[0]["request"].(map[string]any)["path"] != "sys/audit/test" {
		t.Errorf("standard output has\n%s", b.out.String())
	}
}
