package node

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

// TestVerifySnapshot: a snapshot is verified to its last entry without any change; one that no seal
// opens, that was cut, or that another seal holds, is not.
func TestVerifySnapshot(t *testing.T) {
	h := newHarness(t)
	aa := h.box("aa")
	n, _ := h.start(h.set(aa))
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	for _, key := range []string{"a", "b", "c"} {
		h.write(n, key, "1")
	}
	var archive bytes.Buffer
	if _, err := n.Snapshot(t.Context(), &archive, false); err != nil {
		t.Fatal(err)
	}
	if err := n.RotateRoot(t.Context()); err != nil { // the snapshot has an older root key
		t.Fatal(err)
	}
	sa := SealAdminOf(n)
	c, err := sa.VerifySnapshot(t.Context(), bytes.NewReader(archive.Bytes()))
	if err != nil || !c.Ours || c.Policy != "any of aa" || c.Verified < 10 || int64(c.Verified) >= c.Info.Entries {
		t.Fatalf("%+v, %v", c, err)
	}
	refused := func(words string, sa SealAdmin, archive []byte) {
		t.Helper()
		if _, err := sa.VerifySnapshot(t.Context(), bytes.NewReader(archive)); err == nil ||
			!strings.Contains(err.Error(), words) {
			t.Errorf("%v; want %q", err, words)
		}
	}
	refused("damaged", sa, archive.Bytes()[:archive.Len()-40])
	aa.Wrapper.(*flaky).set(seals.Fail(seals.KeyGone, errTest, "none"))
	refused("do not unwrap its root key", sa, archive.Bytes())
	aa.Wrapper.(*flaky).set(nil)
	last, err := readSnapshots(t.Context(), n.writer().barrier)
	if err != nil || !last.Last["aa"].Equal(h.clock()) {
		t.Fatalf("%v, %v", last, err)
	}

	other := newHarness(t)
	m, _ := other.start(other.set(h.box("bb")))
	if _, err := m.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(m))
	refused("do not unwrap its root key", SealAdminOf(m), archive.Bytes())
}

// TestRemovalWarnsOfSnapshots: the removal of a seal names the recent snapshot that still needs it.
func TestRemovalWarnsOfSnapshots(t *testing.T) {
	h := newHarness(t)
	n, _ := h.start(h.set(h.box("aa"), h.box("bb")))
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	if _, err := n.Snapshot(t.Context(), &bytes.Buffer{}, false); err != nil {
		t.Fatal(err)
	}
	c := h.change(SealAdminOf(n).Remove(t.Context(), "aa", admin))
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], `still need seal "aa"`) {
		t.Errorf("%q", c.Warnings)
	}
}
