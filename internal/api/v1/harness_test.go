package v1

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/engine/cubbyhole"
	"github.com/sealgate/sealgate/internal/engine/kv"
	"github.com/sealgate/sealgate/internal/engine/transit"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
	"github.com/sealgate/sealgate/seals/static"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

const goldenDir = "../../../testdata/api"

// moment is when everything happens.
var moment = time.Date(2026, 1, 2, 3, 4, 5, 500_000_000, time.UTC)

func now() time.Time { return moment }

// rot is a storage that can be made to fail.
type rot struct {
	*inmem.Store
	mu              sync.Mutex
	reading, saving error
	during          func(commit bool) // is called with every read of data, and every commit
	snapping        atomic.Bool       // a snapshot fails at its end
	damaged         atomic.Pointer[[]string]
}

// SnapshotIntact reports the keys in damaged, which need not exist.
func (r *rot) SnapshotIntact(ctx context.Context, visit func(string, []byte) error, damaged func(string)) error {
	if keys := r.damaged.Load(); keys != nil {
		for _, key := range *keys {
			damaged(key)
		}
	}
	if visit == nil {
		return nil
	}
	return r.Store.Snapshot(ctx, visit)
}

func (r *rot) Snapshot(ctx context.Context, visit func(key string, value []byte) error) error {
	if err := r.Store.Snapshot(ctx, visit); err != nil || !r.snapping.Load() {
		return err
	}
	return errors.New("the disk went away")
}

// meanwhile sets what is done with every read of a secret, and every commit.
func (r *rot) meanwhile(f func(commit bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.during = f
}

func (r *rot) set(reading, saving error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading, r.saving = reading, saving
}

func (r *rot) Get(ctx context.Context, key string) ([]byte, error) {
	r.mu.Lock()
	err, during := r.reading, r.during
	r.mu.Unlock()
	if during != nil && strings.HasPrefix(key, "logical/") {
		during(false)
	}
	if err != nil {
		return nil, err
	}
	return r.Store.Get(ctx, key)
}

func (r *rot) Commit(ctx context.Context, b storage.Batch) error {
	r.mu.Lock()
	err, during := r.saving, r.during
	r.mu.Unlock()
	if during != nil {
		during(true)
	}
	if err != nil {
		return err
	}
	return r.Store.Commit(ctx, b)
}

// harness is a server without a network: a node on a storage in memory, and the API before it.
type harness struct {
	t     testing.TB
	store *rot
	node  *node.Node
	api   http.Handler
	log   *safeBuffer
	token string   // the root token, once initialised
	keys  []string // the shares, once initialised

	config api.Config // of api

	refusals safeBuffer // the bodies of the answers from 400 on
}

// safeBuffer is a log that tests read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
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

func autoSeal(t testing.TB) seals.Seal {
	t.Helper()
	w, err := static.New(seals.Config{Name: "box", Type: "static", Params: map[string]string{
		"current_key": strings.Repeat("ab", 32), "current_key_id": "k1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return seals.Seal{Name: "box", Type: "static", Wrapper: w}
}

func shamirSeal(t testing.TB) seals.Seal {
	t.Helper()
	w, err := shamir.New(seals.Config{Name: "shamir", Type: "shamir"})
	if err != nil {
		t.Fatal(err)
	}
	return seals.Seal{Name: "shamir", Type: "shamir", Wrapper: w}
}

// newHarness starts a node that is not initialised; change may alter the API's configuration.
func newHarness(t testing.TB, seal seals.Seal, change ...func(*api.Config)) *harness {
	t.Helper()
	return newHarnessAt(t, seal, now, change...)
}

// newHarnessAt does the same with a clock.
func newHarnessAt(t testing.TB, seal seals.Seal, now func() time.Time, change ...func(*api.Config)) *harness {
	t.Helper()
	set, err := seals.NewSet([]seals.Seal{seal}, seals.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	w := &harness{t: t, store: &rot{Store: inmem.New()}, log: &safeBuffer{}}
	log := slog.New(slog.NewTextHandler(w.log, nil))
	trail, err := audit.New(audit.Options{Now: now, Log: log, AnyFile: true})
	if err != nil {
		t.Fatal(err)
	}
	w.node, err = node.New(node.Config{
		Store: w.store, StorageType: "inmem", Seals: set,
		Engines: map[string]mount.Factory{"kv": kv.Factory(kv.Options{Now: now}),
			"generic": kv.Factory(kv.Options{Now: now}), "cubbyhole": cubbyhole.New,
			"transit": transit.Factory(transit.Options{Now: now})}, Now: now, AuthMethods: authMethodsOf(now),
		Mounts: []mount.Entry{mount.DevMount("1")}, ClusterName: "test-cluster", Log: log, Trail: trail,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.node.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(w.store.Close(), trail.Close()); err != nil {
			t.Error(err)
		}
	})
	c := api.Config{
		Node: w.node, Version: "1.2.3", CommitDate: "2026-01-01T00:00:00Z", Now: now,
		Log: log, Trail: trail, RawStorage: true,
	}
	for _, f := range change {
		f(&c)
	}
	w.api, w.config = New(c), c
	return w
}

// unsealed is a harness that is initialised and active.
func unsealed(t testing.TB, change ...func(*api.Config)) *harness {
	t.Helper()
	w := newHarness(t, autoSeal(t), change...)
	w.init(`{"recovery_shares":3,"recovery_threshold":2}`)
	return w
}

type initReply struct {
	Keys         []string `json:"keys"`
	RecoveryKeys []string `json:"recovery_keys"`
	RootToken    string   `json:"root_token"`
}

func (w *harness) init(body string) (r initReply) {
	w.t.Helper()
	a := w.do("PUT", "sys/init", body)
	w.decode(a, &r)
	if a.Code != http.StatusOK {
		w.t.Fatalf("init: %d %s", a.Code, a.Body)
	}
	w.token, w.keys = r.RootToken, slices.Concat(r.Keys, r.RecoveryKeys)
	return r
}

func (w *harness) decode(a *httptest.ResponseRecorder, into any) {
	w.t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), into); err != nil {
		w.t.Fatalf("%v in %q", err, a.Body)
	}
}

// do sends a request with the root token, if there is one. header is pairs; an empty value removes.
func (w *harness) do(method, path, body string, header ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	return w.send(w.request(method, "/v1/"+path, body, header...))
}

func (w *harness) request(method, url, body string, header ...string) *http.Request {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "/", in)
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(url, "?")
	if w.token != "" {
		r.Header.Set("X-Vault-Token", w.token)
	}
	for i := 0; i < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	return r
}

func (w *harness) send(r *http.Request) *httptest.ResponseRecorder {
	a := sendTo(w.api, r)
	if a.Code >= 400 && len(w.refusals.String()) < 1<<20 {
		_, _ = w.refusals.Write(a.Body.Bytes())
	}
	return a
}

// discreet checks that no refusal and no line of the log has any of these, as they are or in
// another encoding.
func (w *harness) discreet(secrets ...string) {
	w.t.Helper()
	for where, text := range map[string]string{"an error": w.refusals.String(), "the log": w.log.String()} {
		for i, s := range secrets {
			forms := []string{s, strings.ToUpper(s), base64.StdEncoding.EncodeToString([]byte(s))}
			if raw, err := hex.DecodeString(s); err == nil {
				forms = append(forms, base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw))
			}
			for _, form := range forms {
				if s != "" && strings.Contains(text, form) {
					w.t.Errorf("%s shows secret %d", where, i)
				}
			}
		}
	}
}

// grant stores a token with these policies, which no API can make yet. A zero expiry means never.
func (w *harness) grant(text string, expires time.Time, policies ...string) string {
	w.t.Helper()
	active, err := w.node.Role()
	if err != nil {
		w.t.Fatal(err)
	}
	salt, err := active.Store().Get(w.t.Context(), "auth/salt")
	if err != nil {
		w.t.Fatal(err)
	}
	mac := hmac.New(sha256.New, salt[1:])
	mac.Write([]byte("token\x00" + text))
	record, err := (&token.Token{Type: token.TypeService, Accessor: "A", DisplayName: "token-" + text, Policies: policies,
		Created: moment, Expires: expires}).Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	op := storage.Put("auth/token/"+hex.EncodeToString(mac.Sum(nil)), record)
	if err := active.Store().Commit(w.t.Context(), storage.Batch{Ops: []storage.Op{op}}); err != nil {
		w.t.Fatal(err)
	}
	return text
}

// expect compares a status and, where it is not "", the exact body.
func (w *harness) expect(what string, a *httptest.ResponseRecorder, code int, body string) {
	w.t.Helper()
	if a.Code != code || body != "" && strings.TrimSuffix(a.Body.String(), "\n") != body {
		w.t.Errorf("%s: %d %s\nwant %d %s", what, a.Code, a.Body, code, body)
	}
}

// refusal is the error envelope with one text.
func refusal(text string) string {
	b, err := json.Marshal(map[string][]string{"errors": {text}})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// varying are what differs between two runs.
var varying = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`s\.[0-9A-Za-z]{24}`), "s.TOKEN"},
	{regexp.MustCompile(`"accessor":"[0-9A-Za-z]{24}"`), `"accessor":"ACCESSOR"`},
	{regexp.MustCompile(`_[0-9a-f]{8}(\\?")`), `_HEX$1`},
	{regexp.MustCompile(`"[0-9a-f]{66}"`), `"SHARE IN HEX"`},
	{regexp.MustCompile(`"[0-9A-Za-z+/]{44}"`), `"SHARE IN BASE64"`},
	{regexp.MustCompile(`"otp":"[0-9A-Za-z]{26,28}"`), `"otp":"OTP"`},
	{regexp.MustCompile(`"encoded_(root_)?token":"[0-9A-Za-z+/]{35,38}"`), `"encoded_${1}token":"ENCODED TOKEN"`},
	{regexp.MustCompile(`"encryptions":[0-9]+`), `"encryptions":N`},
	{regexp.MustCompile(`"encryptions_remaining":[0-9]+`), `"encryptions_remaining":N`},
	{regexp.MustCompile(`"(entries|bytes)":[0-9]+`), `"$1":N`},
	// when the first proof comes is the node's business
	{regexp.MustCompile(`"(seals|backends)":\[.*?"configured":(true|false)\}\]`), `"$1":[...]`},
	{regexp.MustCompile(`would_unseal":(true|false)`), `would_unseal":BOOL`},
	{regexp.MustCompile(`"healthy":(true|false)`), `"healthy":BOOL`},
}

func normal(text string) string {
	for _, v := range varying {
		text = v.re.ReplaceAllString(text, v.to)
	}
	return text
}

// golden compares with a file of testdata/api.
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

func sendTo(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	return a
}
