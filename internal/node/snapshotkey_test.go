package node

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/signkey"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// taken returns a snapshot and what it says of itself.
func taken(t *testing.T, n *Node) ([]byte, *snapshot.Info) {
	t.Helper()
	var archive bytes.Buffer
	if _, err := n.Snapshot(t.Context(), &archive, false); err != nil {
		t.Fatal(err)
	}
	info, err := snapshot.Read(t.Context(), bytes.NewReader(archive.Bytes()), nil)
	if err != nil {
		t.Fatal(err)
	}
	return archive.Bytes(), info
}

// TestSnapshotSignature: snapshots carry the signature by the key that initialisation returns; a
// rotation keeps the old public key, and what it signed can still be restored. An attacker who can
// seal checksums, but lacks the key, cannot pass a snapshot off as signed.
func TestSnapshotSignature(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, _ := h.start(h.autoSeals())
	made, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "old")
	old, info := taken(t, n)
	if err := info.CheckSigner(made.SnapshotKey); err != nil {
		t.Fatal(err)
	}
	s := SealAdminOf(n)
	keys, err := s.RotateSnapshotKey(t.Context(), admin)
	if err != nil || len(keys) != 2 || !bytes.Equal(keys[1].Public, made.SnapshotKey) || keys[1].Until.IsZero() ||
		!keys[0].Until.IsZero() || bytes.Equal(keys[0].Public, keys[1].Public) {
		t.Fatalf("after the rotation: %+v, %v", keys, err)
	}
	if names, err := n.Ceremonies().Transcripts(t.Context()); err != nil || len(names) != 1 ||
		!strings.HasSuffix(names[0], "-snapshot-key") {
		t.Errorf("the transcript: %q, %v", names, err)
	}
	_, after := taken(t, n)
	if after.CheckSigner(keys[0].Public) != nil || !errors.Is(after.CheckSigner(made.SnapshotKey), snapshot.ErrSigner) {
		t.Errorf("after the rotation %x signs", after.Signer)
	}
	_, foreign, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	meta := after.Meta
	meta.Signer = signkey.Public(foreign)
	a := n.writer()
	proof := (snapshotSigner{n}).proof(t.Context(), a.barrier, meta.Signer)
	if _, err := snapshot.Save(t.Context(), &bytes.Buffer{}, h.store, meta, proof); !errors.Is(err, errKeyRotated) {
		t.Errorf("a snapshot that names another key than the one that signs: %v", err)
	}
	proof.Sign = func(sums, sealed []byte) ([]byte, error) { return snapshot.Sign(foreign, sums, sealed), nil }
	var forged bytes.Buffer
	if _, err := snapshot.Save(t.Context(), &forged, h.store, meta, proof); err != nil {
		t.Fatal(err)
	}
	const refusal = "the signature of the snapshot is not by the key of its cluster"
	if _, err := s.VerifySnapshot(t.Context(), bytes.NewReader(forged.Bytes())); err == nil ||
		!strings.Contains(err.Error(), refusal) {
		t.Errorf("verifying a forged signature: %v", err)
	}
	if _, err := n.Restore(t.Context(), bytes.NewReader(forged.Bytes()), false, nil); err == nil ||
		!strings.Contains(err.Error(), refusal) {
		t.Errorf("restoring a forged signature: %v", err)
	}
	if _, err := n.Restore(t.Context(), bytes.NewReader(old), false, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.mustRead(n, "a", "old")
}

// TestSnapshotKeyOfAnOldStore: a store of an older program gets a key when a node that may write
// opens it, and its unsigned snapshots can be restored.
func TestSnapshotKeyOfAnOldStore(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete(pathSnapshotKey)}}); err != nil {
		t.Fatal(err)
	}
	unsigned, info := taken(t, n)
	if info.Signed() || info.Version != 1 {
		t.Fatalf("without a key: %+v", info.Meta)
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "active", isActive(n))
	if _, info := taken(t, n); !info.Signed() {
		t.Error("the upgraded store does not sign")
	}
	if c, err := SealAdminOf(n).VerifySnapshot(t.Context(), bytes.NewReader(unsigned)); err != nil || c.Signed() {
		t.Errorf("verifying it: %+v, %v", c, err)
	}
	if _, err := n.Restore(t.Context(), bytes.NewReader(unsigned), false, nil); err != nil {
		t.Fatal(err)
	}
}

func FuzzSnapshotKeys(f *testing.F) {
	keys := []SnapshotKey{{Public: make([]byte, 32), Since: time.Unix(1, 0).UTC(), Until: time.Unix(2, 0).UTC()}}
	good, err := marshalSnapshotKey(nil, time.Unix(2, 0), keys)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		since, retired, err := unmarshalSnapshotKeys(b)
		if err != nil {
			return
		}
		again, err := marshalSnapshotKey(nil, since, retired)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x became %x, %v", b, again, err)
		}
		if s2, r2, err := unmarshalSnapshotKeys(again); err != nil || s2 != since || !reflect.DeepEqual(r2, retired) {
			t.Errorf("%v %v, %v", s2, r2, err)
		}
	})
}
