package node

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/signkey"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// TestRestoreEmpty: a server that is not initialised takes a snapshot of its own seal as a whole,
// and none whose checksums its cluster did not seal.
func TestRestoreEmpty(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "kept")
	var genuine, forged bytes.Buffer
	if _, err := n.Snapshot(t.Context(), &genuine, false); err != nil {
		t.Fatal(err)
	}
	refuse := func(n *Node, archive []byte, text string) {
		t.Helper()
		_, err := RestoreEmpty(t.Context(), n, bytes.NewReader(archive))
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("RestoreEmpty: %v; want %q", err, text)
		}
	}
	refuse(n, genuine.Bytes(), "already initialized")
	stop()

	// A storage writer leaves out an entry, and makes a snapshot with valid checksums of the rest.
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete("test/a")}}); err != nil {
		t.Fatal(err)
	}
	info, err := snapshot.Read(t.Context(), bytes.NewReader(genuine.Bytes()), nil)
	if err != nil {
		t.Fatal(err)
	}
	seal := func([]byte) ([]byte, error) { return info.Sealed, nil }
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	meta := info.Meta
	meta.Signer = signkey.Public(key)
	_, err = snapshot.Save(t.Context(), &forged, h.store, meta, snapshot.Proof{Seal: seal,
		Sign: func(sums, sealed []byte) ([]byte, error) { return snapshot.Sign(key, sums, sealed), nil }})
	if err != nil {
		t.Fatal(err)
	}
	old := h.store
	h.store = inmem.New()
	t.Cleanup(func() { _ = old.Close() }) // only read from here on
	fresh, _ := h.start(h.autoSeals())
	refuse(fresh, forged.Bytes(), "sealed checksums do not match")
	refuse(fresh, genuine.Bytes()[:genuine.Len()/2], "nothing was changed")
	if names, err := h.store.List(t.Context(), "", "", 0); err != nil || len(names) > 0 {
		t.Errorf("a refused snapshot left %q, %v", names, err)
	}
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("x/y", nil)}}); err != nil {
		t.Fatal(err)
	}
	refuse(fresh, genuine.Bytes(), "not initialised and not empty")
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete("x/y")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := RestoreEmpty(t.Context(), fresh, bytes.NewReader(genuine.Bytes())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(fresh))
	h.mustRead(fresh, "a", "kept")
}

// meanwhile is an archive of which something happens between the check and the installation.
type meanwhile struct {
	*bytes.Reader
	do func()
}

func (m *meanwhile) Seek(offset int64, whence int) (int64, error) {
	if m.do != nil && whence == io.SeekStart {
		m.do()
	}
	return m.Reader.Seek(offset, whence)
}

// TestRestoreEmptyRacesInit: a client without a token restores a store of his own on one node, and
// the owner initialises another node of the same storage. The first of them keeps it.
func TestRestoreEmptyRacesInit(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "foreign")
	var archive bytes.Buffer
	if _, err := n.Snapshot(t.Context(), &archive, false); err != nil {
		t.Fatal(err)
	}
	stop()

	old := h.store
	h.store = inmem.New()
	t.Cleanup(func() { _ = old.Close() })
	stranger, _ := h.start(h.autoSeals())
	owner, _ := h.start(h.autoSeals())
	var record string
	_, err := RestoreEmpty(t.Context(), stranger, &meanwhile{bytes.NewReader(archive.Bytes()), func() {
		if _, err := owner.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
			t.Error(err)
		}
		record = h.raw(keySealed)
	}})
	if !errors.Is(err, errInitialized) || h.raw(keySealed) != record {
		t.Errorf("the snapshot replaced a store that was initialised meanwhile: %v", err)
	}

	last := h.store
	h.store = inmem.New()
	t.Cleanup(func() { _ = last.Close() })
	h.forge(snapshot.StateKey, []byte(`{"v":1,"pieces":1}`))
	late, _ := h.start(h.autoSeals())
	_, err = late.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if !errors.Is(err, errRestoreBusy) {
		t.Errorf("initialising while a snapshot fills the storage: %v", err)
	}
}
