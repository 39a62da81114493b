package node

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/engine/kv"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
	"github.com/sealgate/sealgate/seals/static"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var admin = ceremony.Starter{Accessor: "accessor", DisplayName: "root", Root: true}

// harness is a storage and a seal that outlive the nodes of a test.
type harness struct {
	t     *testing.T
	store storage.Store
	wrap  *flaky
	mu    sync.Mutex
	now   time.Time
	from  *seals.Set // see startFrom
	glass bool       // break-glass is allowed

	snapshots []SnapshotSchedule
}

// flaky is a seal that fails on demand.
type flaky struct {
	wrapping.Wrapper
	mu   sync.Mutex
	fail error
}

func (f *flaky) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *flaky) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail
}

func (f *flaky) KeyId(ctx context.Context) (string, error) {
	if err := f.err(); err != nil {
		return "", err
	}
	return f.Wrapper.KeyId(ctx)
}

func (f *flaky) Encrypt(ctx context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Wrapper.Encrypt(ctx, b, o...)
}

func (f *flaky) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.Wrapper.Decrypt(ctx, b, o...)
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	w, err := static.New(seals.Config{Name: "box", Type: "static", Params: map[string]string{
		"current_key": strings.Repeat("ab", 32), "current_key_id": "k1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, store: inmem.New(), wrap: &flaky{Wrapper: w}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *harness) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *harness) wait(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *harness) autoSeals() *seals.Set {
	return h.set(seals.Seal{Name: "box", Type: "static", Wrapper: h.wrap})
}

func (h *harness) shamirSeals() *seals.Set {
	w, err := shamir.New(seals.Config{Name: "shamir", Type: "shamir"})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.set(seals.Seal{Name: "shamir", Type: "shamir", Wrapper: w})
}

func (h *harness) set(m ...seals.Seal) *seals.Set {
	s, err := seals.NewSet(m, seals.Options{Deadline: time.Second})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// start runs a node until the test ends or stop is called.
func (h *harness) start(set *seals.Set) (n *Node, stop func()) {
	h.t.Helper()
	return h.startWith(set, slog.New(slog.NewTextHandler(h.t.Output(), nil)))
}

func (h *harness) startWith(set *seals.Set, log *slog.Logger) (n *Node, stop func()) {
	h.t.Helper()
	n, err := New(Config{
		Store: h.store, StorageType: "inmem", Seals: set, MigrateFrom: h.from, Snapshots: h.snapshots,
		BreakGlass: h.glass,
		Engines:    map[string]mount.Factory{"kv": kv.New}, Now: h.clock,
		Log: log,
		Timing: Timing{Probe: 20 * time.Millisecond, ProbeFailing: 5 * time.Millisecond, RetryMin: time.Millisecond,
			RetryMax: 4 * time.Millisecond},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	h.t.Cleanup(stop)
	return n, stop
}

// eventually waits for what a node does by itself.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func isActive(n *Node) func() bool { return func() bool { _, err := n.Role(); return err == nil } }

func (h *harness) write(n *Node, key, value string) {
	h.t.Helper()
	a, err := n.Role()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := a.Store().Commit(h.t.Context(),
		storage.Batch{Ops: []storage.Op{storage.Put("test/"+key, []byte(value))}}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) mustRead(n *Node, key, want string) {
	h.t.Helper()
	a, err := n.Role()
	if err != nil {
		h.t.Fatal(err)
	}
	got, err := a.Store().Get(h.t.Context(), "test/"+key)
	if err != nil || string(got) != want {
		h.t.Fatalf("read %q: %q, %v; want %q", key, got, err, want)
	}
}

// rekey carries a rekey through and returns the new shares.
// TestLostAnswerUnderShamir: the server dies between the commit of a barrier rekey and its reply.
// The old shares still open it, the new ones are fetched with the last share and the nonce, and
// from the first unseal with them the old ones are dead. TestLostAnswer: the holder of the last
// share can give it again and gets the same answer, for a time. TestOperatorSeal: a node that was
// sealed by hand stays so until recovery shares come. TestForgedShareSet: a storage writer cannot
// replace the custodians' public key.
