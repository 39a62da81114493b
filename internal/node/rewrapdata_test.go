package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// rewrapped waits for the end of a rewrap.
func (h *harness) rewrapped(n *Node) (job *RewrapJob) {
	h.t.Helper()
	eventually(h.t, "the rewrap ends", func() bool {
		var err error
		job, err = KeysOf(n).Rewrap(h.t.Context())
		return err == nil && job != nil && !job.active()
	})
	return job
}

// TestRewrapControl: a rewrap is paused, resumed with another rate and cancelled; there is one at a
// time; what needs an order that was not kept is refused.
func TestRewrapControl(t *testing.T) {
	h := newHarness(t)
	n, _, _ := h.initAuto(1, 1)
	eventually(t, "active", isActive(n))
	for i := range 50 {
		h.write(n, fmt.Sprint(i), "value")
	}
	k := KeysOf(n)
	refused := func(words string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Fatalf("%v; want an error with %q", err, words)
		}
	}
	_, err := k.StartRetirement(t.Context())
	refused("there is no older term", err)
	_, err = k.ControlRewrap(t.Context(), RewrapPaused, -1)
	refused("no rewrap is in progress", err)
	_, err = k.StartRewrap(t.Context(), -1, false)
	refused("rate must be", err)
	if err := n.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = k.StartRetirement(t.Context())
	refused("rewrap the data first", err)

	if _, err := k.StartRewrap(t.Context(), 1, true); err != nil {
		t.Fatal(err)
	}
	if job, err := k.ControlRewrap(t.Context(), RewrapPaused, -1); err != nil || job.State != RewrapPaused {
		t.Fatalf("%+v, %v", job, err)
	}
	_, err = k.StartRewrap(t.Context(), 0, false)
	refused("a rewrap is in progress (paused)", err)
	_, err = k.RotateAndRewrap(t.Context(), 0, false)
	refused("a rewrap is in progress (paused)", err)
	if job, err := k.ControlRewrap(t.Context(), RewrapCancelled, -1); err != nil || job.State != RewrapCancelled {
		t.Fatalf("%+v, %v", job, err)
	}
	if _, err := k.StartRewrap(t.Context(), 1, true); err != nil {
		t.Fatal(err)
	}
	if _, err := k.ControlRewrap(t.Context(), RewrapRunning, 0); err != nil {
		t.Fatal(err)
	}
	if job := h.rewrapped(n); job.State != RewrapDone || !slices.Equal(job.Retired, []uint32{1}) {
		t.Fatalf("%+v", job)
	}
	h.mustRead(n, "7", "value")
}

// TestKeyringPutBack: an attacker who writes the storage puts back the keyring from before a
// retirement. The node that serves raises the alarm, and none unseals with it. A census that is put
// back with it changes nothing.
func TestKeyringPutBack(t *testing.T) {
	h := newHarness(t)
	n, stop, _ := h.initAuto(1, 1)
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	if _, err := KeysOf(n).RotateAndRewrap(t.Context(), 0, false); err != nil {
		t.Fatal(err)
	}
	h.rewrapped(n)
	old := h.raw(barrier.KeyringPath)
	if _, err := KeysOf(n).StartRetirement(t.Context()); err != nil {
		t.Fatal(err)
	}
	if job := h.rewrapped(n); !slices.Equal(job.Retired, []uint32{1}) {
		t.Fatalf("%+v", job)
	}
	current := h.raw(barrier.KeyringPath)
	integrity{n}.checkAttestation(t.Context())
	if n.tampered.Load() != nil {
		t.Fatal("an alarm without a cause")
	}
	h.forge(barrier.KeyringPath, []byte(old))
	integrity{n}.checkAttestation(t.Context())
	if alarm := n.tampered.Load(); alarm == nil || !strings.Contains((*alarm).Error(), barrier.KeyringPath) {
		t.Fatal("the keyring was put back, and there is no alarm")
	}
	stop()
	n, stop = h.start(h.autoSeals())
	eventually(t, "the alarm", func() bool { return n.tampered.Load() != nil })
	if isActive(n)() {
		t.Error("a node unsealed with a keyring that holds a destroyed term")
	}
	stop()
	h.forge(barrier.KeyringPath, []byte(current))
	n, _ = h.start(h.autoSeals())
	eventually(t, "active", isActive(n))
	h.mustRead(n, "a", "1")
}

// TestEntryPutBackDuringRewrap: an attacker who writes the storage puts an entry of the old term
// back after the rewrap. The retirement finds it, whatever the census says, and nothing is lost.
func TestEntryPutBackDuringRewrap(t *testing.T) {
	h := newHarness(t)
	n, _, _ := h.initAuto(1, 1)
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	old := h.raw("test/a")
	if _, err := KeysOf(n).RotateAndRewrap(t.Context(), 0, false); err != nil {
		t.Fatal(err)
	}
	h.rewrapped(n)
	h.forge("test/a", []byte(old))
	h.forge("test/moved", []byte(old)) // opens nowhere
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	if census := a.barrier.Census(); census.Below(2).Entries != 0 {
		t.Fatalf("%+v", census)
	}
	if _, err := KeysOf(n).StartRetirement(t.Context()); err != nil {
		t.Fatal(err)
	}
	if job := h.rewrapped(n); job.State != RewrapFailed || len(job.Retired) > 0 {
		t.Fatalf("%+v", job)
	}
	if _, err := KeysOf(n).StartRewrap(t.Context(), 0, true); err != nil {
		t.Fatal(err)
	}
	if job := h.rewrapped(n); job.State != RewrapFailed || !slices.Equal(job.Damaged, []string{"test/moved"}) {
		t.Fatalf("%+v", job)
	}
	h.mustRead(n, "a", "1")
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete("test/moved")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := KeysOf(n).StartRewrap(t.Context(), 0, true); err != nil {
		t.Fatal(err)
	}
	if job := h.rewrapped(n); job.State != RewrapDone || !slices.Equal(job.Retired, []uint32{1}) {
		t.Fatalf("%+v", job)
	}
	h.mustRead(n, "a", "1")
}

// tapped records all that passes between a node and its storage.
type tapped struct {
	*inmem.Store
	mu   sync.Mutex
	seen map[string][][]byte // values by key

	wrote map[string][][]byte // those that were written
}

func (s *tapped) tap(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[key] = append(s.seen[key], bytes.Clone(value))
}

func (s *tapped) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := s.Store.Get(ctx, key)
	if err == nil {
		s.tap(key, value)
	}
	return value, err
}

func (s *tapped) Commit(ctx context.Context, b storage.Batch) error {
	for _, op := range b.Ops {
		s.tap(op.Key, op.Value)
		s.mu.Lock()
		s.wrote[op.Key] = append(s.wrote[op.Key], bytes.Clone(op.Value))
		s.mu.Unlock()
	}
	return s.Store.Commit(ctx, b)
}

// take returns what was seen and written, and begins anew.
func (s *tapped) take() (seen, wrote map[string][][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, wrote = s.seen, s.wrote
	s.seen, s.wrote = map[string][][]byte{}, map[string][][]byte{}
	return seen, wrote
}

// attacker has the old root key and keyring, and all that was stored.
type attacker struct {
	ring       *barrier.Archive
	root       *secret.Bytes
	generation uint64
	plain      [][]byte // all that the old keys open
}

func (h *harness) attacker(n *Node, seen map[string][][]byte) *attacker {
	h.t.Helper()
	a, err := n.Role()
	if err != nil {
		h.t.Fatal(err)
	}
	m := &attacker{generation: a.barrier.RootGeneration()}
	if err := a.barrier.WithRoot(func(root *secret.Bytes) error { m.root = root.Clone(); return nil }); err != nil {
		h.t.Fatal(err)
	}
	if m.ring, err = barrier.OpenArchive([]byte(h.raw(barrier.KeyringPath)), m.root, m.generation); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(m.ring.Close)
	m.read(seen)
	return m
}

// read opens what the old keyring opens, under the key of the storage.
func (m *attacker) read(seen map[string][][]byte) (opened []string) {
	for key, values := range seen {
		for _, value := range values {
			if plain, err := m.ring.Open(key, value); err == nil {
				m.plain, opened = append(m.plain, plain), append(opened, key)
			}
		}
	}
	return opened
}

// opensKeyring tries the old root key, and each 32 bytes that the old keys could read, as the new
// root key.
func (m *attacker) opensKeyring(record []byte, generation uint64) bool {
	if barrier.Opens(record, m.root, m.generation) == nil || barrier.Opens(record, m.root, generation) == nil {
		return true
	}
	tried := map[string]bool{}
	for _, plain := range m.plain {
		for i := 0; i+32 <= len(plain); i++ {
			window := string(plain[i : i+32])
			if tried[window] {
				continue
			}
			tried[window] = true
			key := secret.New([]byte(window))
			err := barrier.Opens(record, key, generation)
			key.Destroy()
			if err == nil {
				return true
			}
		}
	}
	return false
}

// TestCompromise: an attacker who has the old root key, the old keyring, all old storage and all
// traffic with the storage reads nothing that is written after the keys were replaced, and nothing
// that he reads is the new root key.
func TestCompromise(t *testing.T) {
	for _, kind := range []string{"auto", "shamir"} {
		t.Run(kind, func(t *testing.T) {
			h := newHarness(t)
			tap := &tapped{Store: h.store.(*inmem.Store), seen: map[string][][]byte{},
				wrote: map[string][][]byte{}}
			h.store = tap
			var n *Node
			if kind == "auto" {
				n, _, _ = h.initAuto(1, 1)
			} else {
				n, _ = h.start(h.shamirSeals())
				res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
				if err != nil {
					t.Fatal(err)
				}
				if err := n.Unseal(t.Context(), res.Keys[0], false); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "active", isActive(n))
			h.write(n, "a", "before")
			before, _ := tap.take()
			m := h.attacker(n, before)
			if len(m.plain) < 5 {
				t.Fatalf("the attacker opens %d records; the test is blind", len(m.plain))
			}
			forged := h.batchOf(n)

			job, err := KeysOf(n).ReplaceCompromised(t.Context(), 0)
			if err != nil || len(job.Change) == 0 {
				t.Fatalf("%+v, %v", job, err)
			}
			h.refusesBatch(n, forged)
			during, early := tap.take() // the rewrap runs already
			h.write(n, "b", "after")
			_, err = KeysOf(n).ControlRewrap(t.Context(), RewrapCancelled, -1)
			if err == nil && !h.rewrappedNow(n) {
				t.Error("the rewrap after a compromise was cancelled")
			}
			if job := h.rewrapped(n); job.State != RewrapDone || !slices.Equal(job.Retired, []uint32{1}) {
				t.Fatalf("%+v", job)
			}
			h.write(n, "c", "after")
			h.mustRead(n, "a", "before")
			after, wrote := tap.take()
			wrote["test/a"] = append(wrote["test/a"], early["test/a"]...)
			if len(wrote["test/b"]) == 0 || len(wrote["test/a"]) == 0 {
				t.Fatal("the tap is blind")
			}
			m.read(during)
			m.read(after) // what was read to be re-encrypted opens; it is from before
			a, err := n.Role()
			if err != nil {
				t.Fatal(err)
			}
			if opened := m.read(wrote); len(opened) > 0 {
				t.Errorf("the old keyring opens %q as it was written after", opened)
			}
			if m.opensKeyring([]byte(h.raw(barrier.KeyringPath)), a.barrier.RootGeneration()) {
				t.Error("the attacker opens the new keyring")
			}
		})
	}
}

func (h *harness) rewrappedNow(n *Node) bool {
	job, err := KeysOf(n).Rewrap(h.t.Context())
	return err == nil && job.State == RewrapDone
}

// batchOf returns what a barrier sealed for a batch token.
func (h *harness) batchOf(n *Node) []byte {
	h.t.Helper()
	a, err := n.Role()
	if err != nil {
		h.t.Fatal(err)
	}
	sealed, err := a.barrier.SealEntry(h.t.Context(), "auth/batch", []byte("token"))
	if err != nil {
		h.t.Fatal(err)
	}
	return sealed
}

func (h *harness) refusesBatch(n *Node, sealed []byte) {
	h.t.Helper()
	a, err := n.Role()
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := a.barrier.OpenEntry("auth/batch", sealed); !errors.Is(err, barrier.ErrNotOurs) {
		h.t.Errorf("a batch token by a compromised term is accepted: %v", err)
	}
}
