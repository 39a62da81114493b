//go:build scale

package scale

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// crowded is how many names the one large folder has at most.
const crowded = 1_000_000

func TestEntries(t *testing.T) {
	for _, kind := range []string{"bbolt", "postgresql", "etcd"} {
		t.Run(kind, func(t *testing.T) { entries(t, kind, wanted(t, kind)) })
	}
}

// entries measures a store of n kv entries beside the empty one.
func entries(t *testing.T, kind string, n int) {
	s := newSubject(t, kind)
	id := s.uuid("kv/")
	s.stop()
	empty := s.starts()
	rate := s.fill(id, n)
	name := fmt.Sprintf("%s, %d entries", kind, n)
	report.time(kind+", empty", "start to active", empty, 0)
	report.time(name, "start to active", s.starts(), 100*time.Millisecond)
	s.start()
	s.use(name, n)
	s.lists(name, n)
	s.stop()
	s.snapshots(name, rate)
	s.start()
	s.disable(name, n)
}

func (s *subject) starts() time.Duration {
	var all []time.Duration
	for range 5 {
		all = append(all, s.start())
		s.stop()
	}
	return median(all)
}

// path returns the path of the i-th entry.
func path(i int) string {
	if i < crowded {
		return fmt.Sprintf("big/%07d", i)
	}
	return fmt.Sprintf("tree/%04d/%07d", i/1000, i)
}

// fill writes n entries behind the barrier, as kv does, and returns the rate in bytes a second.
func (s *subject) fill(id string, n int) (rate float64) {
	s.t.Helper()
	store, b := s.unseal()
	defer s.closed(store, b)
	prefix := "logical/" + id + "/v1/"
	one, err := b.Get(s.t.Context(), prefix+"one")
	if err != nil {
		s.t.Fatal(err)
	}
	begun := time.Now()
	entry := func(i int) storage.Op { return storage.Put(prefix+path(i), one) }
	if err := inBatches(s.t.Context(), b, n, entry); err != nil {
		s.t.Fatal(err)
	}
	took := time.Since(begun)
	_, size := raw(s.t, store)
	report.note(s.kind, fmt.Sprintf("raw rate of writing %d entries", n), "%.0f MB/s, %.0f entries/s",
		float64(size)/1e6/took.Seconds(), float64(n)/took.Seconds())
	return float64(size) / took.Seconds()
}

// use reads and writes, and measures the memory.
func (s *subject) use(name string, n int) {
	s.t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var wg sync.WaitGroup
	for w := range 8 {
		keys := make([]string, 5000)
		for i := range keys {
			keys[i] = path(random.IntN(n))
		}
		wg.Go(func() {
			for i, key := range keys {
				if r, err := s.Do(s.t.Context(), "GET", "kv/"+key, s.root, nil); err != nil || r.Code != 200 {
					s.t.Errorf("reading %s: %d %s, %v", key, r.Code, r.Body, err)
					return
				}
				if i%10 == w {
					if r, err := s.Do(s.t.Context(), "PUT", "kv/"+key, s.root, `{"v":"again"}`); err != nil || r.Code != 204 {
						s.t.Errorf("writing %s: %d %s, %v", key, r.Code, r.Body, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	anonymous, file := s.memory()
	report.bytes(name, "anonymous memory after 40,000 reads and 4,000 writes", anonymous, 80_000_000)
	report.bytes(name, "resident pages of files, reclaimable", file, 0)
}

// lists reads a page and all of the large folder.
func (s *subject) lists(name string, n int) {
	s.t.Helper()
	var all []time.Duration
	for i := range 20 {
		all = append(all, s.took(200, "LIST", fmt.Sprintf("kv/big/?limit=100&after=%07d", i*min(n, crowded)/25), nil))
	}
	report.time(name, "page of 100 names of the large folder", median(all), 5*time.Millisecond)
	all = nil
	for range 5 {
		all = append(all, s.took(200, "SCAN", "kv/?limit=100", nil))
	}
	report.time(name, "first 100 paths of a scan", median(all), 5*time.Millisecond)
	before, _ := s.memory()
	var size int64
	begun := time.Now()
	most := s.peak(func() { size = s.fetch("LIST", "kv/big/", nil, io.Discard) })
	report.time(name, fmt.Sprintf("plain list of %d names, %s", min(n, crowded), mega(size)), time.Since(begun), 0)
	report.bytes(name, "memory added by it, at most", most-before, 0)
}

// snapshots saves and restores, beside the raw rate of the storage.
func (s *subject) snapshots(name string, written float64) {
	s.t.Helper()
	store, err := s.open(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	rate, size := raw(s.t, store)
	if err := store.Close(); err != nil {
		s.t.Fatal(err)
	}
	report.note(name, "raw rate of reading", "%.0f MB/s of %s", rate/1e6, mega(size))
	s.start()
	defer s.stop()
	file, err := os.Create(filepath.Join(s.t.TempDir(), "snapshot"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	before, _ := s.memory()
	begun := time.Now()
	most := s.peak(func() { s.fetch("GET", "sys/storage/raft/snapshot", nil, file) })
	saved := float64(size) / time.Since(begun).Seconds()
	report.ratio(name, fmt.Sprintf("snapshot save (%.0f MB/s) to the raw rate", saved/1e6), saved/rate, 0.5)
	report.bytes(name, "memory added by it, at most", most-before, 32_000_000)
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		s.t.Fatal(err)
	}
	before, _ = s.memory()
	begun = time.Now()
	most = s.peak(func() { s.fetch("POST", "sys/storage/raft/snapshot", file, io.Discard) })
	restored := float64(size) / time.Since(begun).Seconds()
	report.ratio(name, fmt.Sprintf("snapshot restore (%.0f MB/s) to the raw rate of writing", restored/1e6),
		restored/written, 0.5)
	report.bytes(name, "memory added by it, at most", most-before, 32_000_000)
}

// disable removes the mount: it is gone at once, and its entries later.
func (s *subject) disable(name string, n int) {
	s.t.Helper()
	report.time(name, "disabling the mount: the caller waits", s.took(204, "DELETE", "sys/mounts/kv", nil),
		50*time.Millisecond)
	if r, err := s.Do(s.t.Context(), "GET", "kv/one", s.root, nil); err != nil || r.Code != 404 {
		s.t.Errorf("after the unmount: %d %s, %v", r.Code, r.Body, err)
	}
}
