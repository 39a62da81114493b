package node

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

func resealed(t *testing.T, r Resealer, archive []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	if err := r.Reseal(t.Context(), bytes.NewReader(archive), &out); err != nil {
		if out.Len() > 0 {
			t.Errorf("%d bytes were written in spite of %v", out.Len(), err)
		}
		return nil, err
	}
	info, err := r.Check(t.Context(), bytes.NewReader(out.Bytes()))
	if err == nil && !info.Resealed.Equal(r.Now()) {
		t.Errorf("resealed at %v", info.Resealed)
	}
	return out.Bytes(), err
}

// TestReseal: a snapshot of one seal is sealed to two others, keeps its signature and what it
// attests, and fills an empty server of those seals.
func TestReseal(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	from, b, c := h.box("aa"), h.box("bb"), h.box("cc")
	n, stop := h.start(h.set(from))
	made, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "kept")
	archive, _ := taken(t, n)
	stop()
	two, err := seals.NewSet([]seals.Seal{b, c}, seals.Options{Deadline: time.Second, Threshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	r := Resealer{From: h.set(from), To: two, Now: h.clock, Rand: rand.Reader}
	out, err := resealed(t, r, archive)
	if err != nil {
		t.Fatal(err)
	}
	back := Resealer{From: two, To: h.set(from), Now: h.clock, Rand: rand.Reader}
	if _, err := resealed(t, back, out); err != nil {
		t.Errorf("back again: %v", err)
	}
	if _, err := resealed(t, Resealer{From: h.set(b), To: two, Now: h.clock}, archive); err == nil ||
		!strings.Contains(err.Error(), "do not unwrap the root key") {
		t.Errorf("by a seal that does not open it: %v", err)
	}
	if _, err := resealed(t, r, archive[:len(archive)-30]); err == nil {
		t.Error("a damaged snapshot was resealed")
	}
	h.store = inmem.New()
	fresh, _ := h.start(two)
	info, err := RestoreEmpty(t.Context(), fresh, bytes.NewReader(out))
	if err != nil || info.CheckSigner(made.SnapshotKey) != nil {
		t.Fatalf("%+v, %v", info, err)
	}
	eventually(t, "active", isActive(fresh))
	h.mustRead(fresh, "a", "kept")
	if st, err := fresh.SealStatus(t.Context()); err != nil || len(st.Warnings) > 0 {
		t.Errorf("it warns: %q, %v", st.Warnings, err)
	}
}

// TestResealOfCustodians: the unseal shares of a snapshot's time open it; sealed to a device, the
// same shares are recovery shares. Too few, or wrong ones, open nothing.
func TestResealOfCustodians(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, stop := h.start(h.shamirSeals())
	made, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, share := range made.Keys[:2] {
		if err := n.Unseal(t.Context(), share.Clone(), false); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "kept")
	archive, _ := taken(t, n)
	stop()
	box := h.box("aa")
	r := Resealer{From: h.shamirSeals(), To: h.set(box), Now: h.clock, Rand: rand.Reader}
	for words, shares := range map[string][]*secret.Bytes{
		"needs 2 of 3": {made.Keys[0]}, "do not unwrap": nil, "invalid key": {made.Keys[0], box32(t)},
	} {
		r.Shares = shares
		if _, err := resealed(t, r, archive); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%d shares: %v; want %q", len(shares), err, words)
		}
	}
	r.Shares = made.Keys[1:]
	out, err := resealed(t, r, archive)
	if err != nil {
		t.Fatal(err)
	}
	same := Resealer{From: h.shamirSeals(), To: h.shamirSeals(), Shares: made.Keys[:2], Now: h.clock, Rand: rand.Reader}
	if _, err := resealed(t, same, archive); err != nil {
		t.Errorf("to the same custodians: %v", err)
	}
	if _, err := resealed(t, Resealer{From: h.set(box), To: h.shamirSeals(), Now: h.clock, Rand: rand.Reader},
		out); err == nil || !strings.Contains(err.Error(), "has no unseal custodians") {
		t.Errorf("from a device to custodians: %v", err)
	}
	h.store = inmem.New()
	fresh, _ := h.start(h.set(box))
	if _, err := RestoreEmpty(t.Context(), fresh, bytes.NewReader(out)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(fresh))
	h.mustRead(fresh, "a", "kept")
	if set := fresh.state.Load().shareSet; set == nil || set.Target != recovery.Recovery || set.Threshold != 2 {
		t.Errorf("the shares: %+v", set)
	}
}

func box32(t *testing.T) *secret.Bytes {
	t.Helper()
	share, err := recovery.ParseShare(strings.Repeat("11", 33))
	if err != nil {
		t.Fatal(err)
	}
	return share
}

// TestResealRefusesATamperedStore: a snapshot of a store whose sealed record was exchanged before
// it was taken is not sealed to anything.
func TestResealRefusesATamperedStore(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	set := h.autoSeals()
	n, _ := h.start(set)
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	a := n.writer()
	var raw []byte
	err := a.barrier.WithRoot(func(root *secret.Bytes) error {
		f := n.state.Load()
		record, err := n.seals.Load().Wrap(t.Context(), f.record.Cluster, f.record.Generation, root, nil, nil)
		if err == nil {
			raw, err = record.Marshal()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(keySealed, raw)}}); err != nil {
		t.Fatal(err)
	}
	archive, _ := taken(t, n)
	r := Resealer{From: set, To: h.set(h.box("bb")), Now: h.clock, Rand: rand.Reader}
	if _, err := resealed(t, r, archive); err == nil || !strings.Contains(err.Error(), "is not the one that it attests") {
		t.Errorf("%v", err)
	}
}

// TestResealByBreakGlass: where every seal is lost, the recovery shares that are enrolled open a
// snapshot. Too few do not, nor shares that were not enrolled when it was taken.
func TestResealByBreakGlass(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	made, err := n.Init(t.Context(), InitRequest{RecoveryShares: 3, RecoveryThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "kept")
	before, _ := taken(t, n)
	h.enrol(n, recovery.PurposeBreakGlassEnroll, made.RecoveryKeys[:2])
	archive, _ := taken(t, n)
	stranger, forged := forgedGlass(t, h, n)
	stop()

	to := h.set(h.box("bb"))
	r := Resealer{From: to, To: to, Now: h.clock, Rand: rand.Reader}
	refused := func(archive []byte, words string, shares ...*secret.Bytes) {
		t.Helper()
		r.Shares = shares
		if _, err := resealed(t, r, archive); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%d shares: %v; want %q", len(shares), err, words)
		}
	}
	refused(before, "no recovery shares were enrolled", made.RecoveryKeys...)
	refused(archive, "do not unwrap the root key")
	refused(archive, "needs 2 of 3", made.RecoveryKeys[0])
	refused(archive, "share rejected", made.RecoveryKeys[0], box32(t))
	refused(forged, "was not enrolled by the server", stranger...)
	r.Shares = made.RecoveryKeys[1:]
	out, err := resealed(t, r, archive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Check(t.Context(), bytes.NewReader(archive)); err == nil {
		t.Error("shares count where the new seals must open the result")
	}
	again := Resealer{From: to, To: h.set(h.box("cc")), Shares: made.RecoveryKeys[:2], Now: h.clock, Rand: rand.Reader}
	if _, err := resealed(t, again, out); err != nil {
		t.Errorf("the shares do not open the result: %v", err)
	}
	h.store = inmem.New()
	fresh, _ := h.start(to)
	if _, err := RestoreEmpty(t.Context(), fresh, bytes.NewReader(out)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(fresh))
	h.mustRead(fresh, "a", "kept")
}

// forgedGlass returns a snapshot whose break-glass record holds the root key for other shares than
// those behind the barrier, and these shares.
func forgedGlass(t *testing.T, h *harness, n *Node) (shares []*secret.Bytes, archive []byte) {
	t.Helper()
	set, shares, err := recovery.NewShareSet(recovery.Recovery, nil, 2, 2, rand.Reader, h.clock())
	if err != nil {
		t.Fatal(err)
	}
	key, err := recovery.Combine(shares)
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.ForBreakGlass(key); err != nil {
		t.Fatal(err)
	}
	var raw []byte
	err = n.writer().barrier.WithRoot(func(root *secret.Bytes) error {
		f := n.state.Load()
		record, err := recovery.SealBreakGlass(root, f.record.Cluster, f.record.Generation, set)
		if err == nil {
			raw = record.Marshal()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a snapshot with the forged record, which the node corrects", func() bool {
		err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(keyBreakGlass, raw)}})
		if err != nil {
			t.Fatal(err)
		}
		archive, _ = taken(t, n)
		forged := false
		_, err = snapshot.Read(t.Context(), bytes.NewReader(archive), func(key string, value []byte) error {
			forged = forged || key == keyBreakGlass && bytes.Equal(value, raw)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return forged
	})
	return shares, archive
}
