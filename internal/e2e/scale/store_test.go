//go:build scale

package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/e2e"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

// subject is a server with a storage that a test can also open.
type subject struct {
	*e2e.Server
	t     *testing.T
	kind  string
	peers string // its address for other nodes
	root  string
	open  func(ctx context.Context) (storage.Store, error)
}

var sealKey = strings.Repeat("5c", 32)

// built is the program as it is shipped.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sealgate-scale-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "sealgate")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin,
		"github.com/sealgate/sealgate/cmd/sealgate")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// newSubject prepares, initialises and stops a server with kv mounted at "kv/".
func newSubject(t *testing.T, kind string) *subject {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	addr, err := e2e.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	peers, err := e2e.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := &subject{Server: &e2e.Server{Bin: bin, Dir: t.TempDir(), Addr: addr}, t: t, kind: kind, peers: peers}
	if err := s.WriteConfig(s.config()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.Pid() == 0 {
			return
		}
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	s.start()
	var made struct {
		RootToken string `json:"root_token"`
	}
	s.must(200, "PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1}, &made)
	s.root = made.RootToken
	s.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"}, nil)
	s.must(204, "PUT", "kv/one", map[string]string{"v": strings.Repeat("x", 64)}, nil)
	return s
}

func (s *subject) config() string {
	seal := fmt.Sprintf("seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = %q\n}\n"+
		"log_level = \"info\"\n", sealKey)
	listener := fmt.Sprintf("listener \"tcp\" {\n  address = %q\n  cluster_address = %q\n  tls_disable = true\n}\n",
		s.Addr,
		s.peers)
	cluster := fmt.Sprintf("api_addr = \"http://%s\"\n", s.Addr)
	switch s.kind {
	case "postgresql":
		url := pgtest.Start(s.t, "max_wal_size=4GB").Database(s.t)
		s.open = func(ctx context.Context) (storage.Store, error) {
			return postgres.Open(ctx, postgres.Options{URL: url})
		}
		return fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n  ha_enabled = \"true\"\n}\n%s%s%s", url,
			listener, cluster, seal)
	case "etcd":
		c := etcdtest.Start(s.t, etcdtest.Options{})
		s.open = func(ctx context.Context) (storage.Store, error) {
			return etcd.Open(ctx, etcd.Options{Endpoints: c.Direct, Path: "/sealgate/", Log: slog.New(slog.DiscardHandler)})
		}
		return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n  path = \"/sealgate/\"\n  ha_enabled = \"true\"\n}\n%s%s%s",
			strings.Join(c.Direct, ","), listener, cluster, seal)
	}
	s.open = func(ctx context.Context) (storage.Store, error) {
		return bbolt.Open(ctx, filepath.Join(s.Dir, "data"), bbolt.Options{})
	}
	return e2e.Config(s.Addr, seal)
}

// start starts the server and returns the time until it is active, or, before init, until it
// answers.
func (s *subject) start() time.Duration {
	s.t.Helper()
	begun := time.Now()
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := begun.Add(2 * time.Minute); ; time.Sleep(500 * time.Microsecond) {
		resp, err := http.Get(s.URL() + "/v1/sys/health")
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == 200 || resp.StatusCode == 501 {
				return time.Since(begun)
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server is not active:\n%s", s.Log())
		}
	}
}

func (s *subject) stop() {
	s.t.Helper()
	if err := s.Stop(); err != nil {
		s.t.Fatalf("%v\n%s", err, s.Log())
	}
}

// must sends a request and decodes the answer's body, or its "data", into out.
func (s *subject) must(code int, method, path string, body, out any) {
	s.t.Helper()
	r, err := s.Do(s.t.Context(), method, path, s.root, body)
	if err != nil || r.Code != code {
		s.t.Fatalf("%s %s: %d %.200s, %v; want %d", method, path, r.Code, r.Body, err, code)
	}
	if out != nil {
		if err := r.Decode(out); err != nil {
			s.t.Fatal(err)
		}
	}
}

// took measures one request.
func (s *subject) took(code int, method, path string, body any) time.Duration {
	s.t.Helper()
	begun := time.Now()
	s.must(code, method, path, body, nil)
	return time.Since(begun)
}

// uuid returns the identifier of a mount, which is part of its keys.
func (s *subject) uuid(path string) string {
	s.t.Helper()
	var mounts map[string]any
	s.must(200, "GET", "sys/mounts", nil, &mounts)
	return mounts[path].(map[string]any)["uuid"].(string)
}

// unseal opens the storage of a stopped server, and its barrier.
func (s *subject) unseal() (storage.Store, *barrier.Barrier) {
	s.t.Helper()
	ctx := s.t.Context()
	store, err := s.open(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	wrapper, err := static.New(seals.Config{Name: "box", Params: map[string]string{"current_key": sealKey,
		"current_key_id": "k1"}, Getenv: func(string) string { return "" }})
	if err != nil {
		s.t.Fatal(err)
	}
	set, err := seals.NewSet([]seals.Seal{{Name: "box", Type: "static", Wrapper: wrapper}}, seals.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	raw, err := store.Get(ctx, "core/seal")
	if err != nil {
		s.t.Fatal(err)
	}
	record, err := seals.UnmarshalRecord(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	root, err := set.Unwrap(ctx, record, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	b := barrier.New(store, barrier.Options{})
	if err := b.Unseal(ctx, root, record.Generation); err != nil {
		s.t.Fatal(err)
	}
	return store, b
}

// closed seals the barrier and closes the storage.
func (s *subject) closed(store storage.Store, b *barrier.Barrier) {
	s.t.Helper()
	if err := errors.Join(b.Seal(context.Background()), store.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// inBatches commits n entries from several goroutines.
func inBatches(ctx context.Context, b *barrier.Barrier, n int, op func(i int) storage.Op) error {
	const each, workers = 56, 48
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for errs[w] == nil {
				from := int(next.Add(each)) - each
				if from >= n {
					return
				}
				var batch storage.Batch
				for i := from; i < min(from+each, n); i++ {
					batch.Ops = append(batch.Ops, op(i))
				}
				errs[w] = b.Commit(ctx, batch)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// memory returns the resident memory of the server that is its own, and that of files, in bytes.
func (s *subject) memory() (anonymous, file int64) {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "RssAnon":
			anonymous = n << 10
		case "RssFile":
			file = n << 10
		}
	}
	return anonymous, file
}

// cpu returns the processor time that the server has used, which the load of the machine changes
// less than it changes the time that passes.
func (s *subject) cpu() time.Duration {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid()))
	if err != nil {
		s.t.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		s.t.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		s.t.Fatal(err)
	}
	const tick = 10 * time.Millisecond // of Linux's user interface, on every architecture that Go supports
	return time.Duration(user+system) * tick
}

// peak runs f and returns the most anonymous memory that the server had meanwhile.
func (s *subject) peak(f func()) (most int64) {
	s.t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if anonymous, _ := s.memory(); anonymous > most {
				most = anonymous
			}
		}
	}()
	f()
	close(stop)
	<-done
	return most
}

// raw returns how fast the storage delivers all entries, in bytes a second, and how many there are.
func raw(t *testing.T, store storage.Store) (rate float64, size int64) {
	t.Helper()
	begun := time.Now()
	err := store.(storage.Snapshotter).Snapshot(t.Context(), func(key string, value []byte) error {
		size += int64(len(key) + len(value))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return float64(size) / time.Since(begun).Seconds(), size
}

// fetch reads an answer of any length and returns its size.
func (s *subject) fetch(method, path string, body io.Reader, into io.Writer) int64 {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL()+"/v1/"+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", s.root)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(into, resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s: %d, %v", method, path, resp.StatusCode, err)
	}
	return n
}

// wanted reports whether SCALE_STORAGE names a storage, and how many entries it gets.
func wanted(t *testing.T, kind string) int {
	t.Helper()
	if list := os.Getenv("SCALE_STORAGE"); list != "" {
		named := strings.Split(list, ",")
		for _, name := range named { // a misspelt one would skip all tests, and pass
			if !slices.Contains([]string{"bbolt", "postgresql", "etcd"}, name) {
				t.Fatalf("SCALE_STORAGE names %q: give bbolt, postgresql or etcd, separated by commas", name)
			}
		}
		if !slices.Contains(named, kind) {
			t.Skipf("SCALE_STORAGE does not name %s", kind)
		}
	}
	n := 1_000_000
	if kind == "etcd" {
		n = 100_000
	}
	if text := os.Getenv("SCALE"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1000 {
			t.Fatalf("SCALE=%s is not a number of entries; give at least 1000", text)
		}
	}
	return n
}
