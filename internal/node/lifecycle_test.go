package node

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

func TestInitUnderAutoSeal(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	st, err := n.SealStatus(t.Context())
	if err != nil || st.Initialized || !st.Sealed || !st.RecoverySeal || st.Type != "static" {
		t.Fatalf("fresh: %+v, %v", st, err)
	}
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 5, RecoveryThreshold: 3})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.RecoveryKeys) != 5 || len(res.Keys) != 0 || !strings.HasPrefix(res.RootToken, "s.") {
		t.Fatalf("%d recovery keys, %d keys, token %q", len(res.RecoveryKeys), len(res.Keys), res.RootToken)
	}
	if !isActive(n)() {
		t.Fatal("a node that unseals by itself is not active after its initialisation")
	}
	h.write(n, "a", "1")
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err == nil ||
		err.Error() != "Vault is already initialized" {
		t.Errorf("a second time: %v", err)
	}
	stop()
	n2, _ := h.start(h.autoSeals())
	eventually(t, "unsealed after a restart", isActive(n2))
	h.mustRead(n2, "a", "1")
	st, _ = n2.SealStatus(t.Context())
	if st.Threshold != 3 || st.Shares != 5 || st.ClusterID == "" || st.ClusterName == "" {
		t.Errorf("after a restart: %+v", st)
	}
}

func TestInitRefuses(t *testing.T) {
	h := newHarness(t)
	auto, _ := h.start(h.autoSeals())
	custodians, _ := h.start(h.shamirSeals())
	for _, c := range []struct {
		n    *Node
		req  InitRequest
		want string
	}{
		{auto, InitRequest{SecretShares: 5, SecretThreshold: 3},
			"parameters secret_shares,secret_threshold not applicable to seal type static"},
		{custodians, InitRequest{RecoveryShares: 5, SecretShares: 1, SecretThreshold: 1},
			"parameters recovery_shares not applicable to seal type shamir"},
		{custodians, InitRequest{}, "invalid seal configuration: shares must be at least one"},
		{custodians, InitRequest{SecretShares: 2, SecretThreshold: 1},
			"invalid seal configuration: threshold must be greater than one for multiple shares"},
		{auto, InitRequest{RecoveryShares: 2, RecoveryThreshold: 3},
			"invalid recovery configuration: threshold cannot be larger than shares"},
		{auto, InitRequest{RecoveryShares: 256, RecoveryThreshold: 3},
			"invalid recovery configuration: shares must be less than 256"},
	} {
		_, err := c.n.Init(t.Context(), c.req)
		if !fault.Is(err, fault.Invalid) || err.Error() != c.want {
			t.Errorf("%+v: %v, want %q", c.req, err, c.want)
		}
	}
	if ok, err := auto.Initialized(t.Context()); ok || err != nil {
		t.Errorf("refused requests left %v, %v", ok, err)
	}
}

func TestInitWithABrokenSealWritesNothing(t *testing.T) {
	h := newHarness(t)
	n, _ := h.start(h.autoSeals())
	h.wrap.set(seals.Fail(seals.Denied, errors.New("PIN"), "correct the PIN"))
	_, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "denied") ||
		!strings.Contains(err.Error(), "correct the PIN") {
		t.Errorf("%v; want class and remedy", err)
	}
	names, err := h.store.List(t.Context(), "", "", 0)
	if err != nil || len(names) > 0 {
		t.Errorf("storage holds %v, %v", names, err)
	}
	h.wrap.set(nil)
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Errorf("after the seal recovered: %v", err)
	}
}

func TestShamirLife(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	if isActive(n)() {
		t.Fatal("a Shamir node is unsealed by its initialisation")
	}
	unseal := func(n *Node, shares ...*secret.Bytes) error {
		for _, s := range shares {
			if err := n.Unseal(t.Context(), s, false); err != nil {
				return err
			}
		}
		return nil
	}
	if err := unseal(n, res.Keys[0], res.Keys[0]); err != nil || isActive(n)() {
		t.Fatalf("one share twice: %v, active %v", err, isActive(n)())
	}
	bad := res.Keys[1].Clone()
	bad.Expose()[0] ^= 1
	if err := unseal(n, bad); !fault.Is(err, fault.Invalid) {
		t.Errorf("a wrong share: %v", err)
	}
	if st, _ := n.SealStatus(t.Context()); st.Progress != 1 || st.Nonce == "" || st.Threshold != 2 || st.Shares != 3 {
		t.Errorf("a wrong share spoilt the right one: %+v", st)
	}
	if err := unseal(n, res.Keys[2]); err != nil || !isActive(n)() {
		t.Fatalf("two shares: %v", err)
	}
	h.write(n, "a", "1")
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatalf("rotating the root key needs no shares: %v", err)
	}
	if err := n.Seal(t.Context()); err != nil || isActive(n)() {
		t.Fatalf("seal: %v", err)
	}
	stop()
	n2, _ := h.start(h.shamirSeals())
	if err := unseal(n2, res.Keys[1], res.Keys[2]); err != nil {
		t.Fatalf("the same shares after the root key was rotated: %v", err)
	}
	h.mustRead(n2, "a", "1")
}

func TestSealAwayAndBack(t *testing.T) {
	h := newHarness(t)
	n, stop, shares := h.initAuto(3, 2)
	h.write(n, "a", "1")
	h.wrap.set(seals.Fail(seals.Unreachable, errors.New("cable"), "plug it in"))
	eventually(t, "health reports that the seal is unavailable", func() bool { return !n.Health().WouldUnseal })
	h.mustRead(n, "a", "1")
	h.write(n, "b", "2")
	if err := n.RotateRoot(t.Context()); !fault.Is(err, fault.Unavailable) ||
		!strings.Contains(err.Error(), "plug it in") {
		t.Errorf("a new root key while the seal is unavailable: %v", err)
	}
	if err := n.Rotate(t.Context()); err != nil {
		t.Errorf("a new barrier key needs no seal: %v", err)
	}
	fresh := h.rekey(n, recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2}, shares[:2])
	if len(fresh) != 2 {
		t.Error("recovery shares cannot be rekeyed while the seal is unavailable")
	}
	h.wrap.set(nil)
	eventually(t, "health reports that the seal has recovered", func() bool { return n.Health().WouldUnseal })
	stop()

	h.wrap.set(seals.Fail(seals.Unreachable, errors.New("cable"), "plug it in"))
	n2, _ := h.start(h.autoSeals())
	eventually(t, "a sealed node says why", func() bool {
		st, err := n2.SealStatus(t.Context())
		return err == nil && st.Sealed && st.Initialized && len(st.Warnings) == 1 &&
			strings.Contains(st.Warnings[0], "plug it in")
	})
	if err := n2.Unseal(t.Context(), fresh[0], false); !fault.Is(err, fault.Unavailable) ||
		!strings.Contains(err.Error(), "plug it in") {
		t.Errorf("recovery shares do not decrypt: %v", err)
	}
	h.wrap.set(nil)
	eventually(t, "unsealed by itself when the seal is back", isActive(n2))
	h.mustRead(n2, "b", "2")
}

func TestOperatorSeal(t *testing.T) {
	h := newHarness(t)
	n, _, shares := h.initAuto(3, 2)
	if err := n.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.poke()
	time.Sleep(20 * time.Millisecond)
	if isActive(n)() {
		t.Fatal("it unsealed itself again")
	}
	if _, err := n.KeyStatus(); !fault.Is(err, fault.Sealed) || err.Error() != "Vault is sealed" {
		t.Errorf("key status while sealed: %v", err)
	}
	for _, s := range shares[1:] {
		if err := n.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	if !isActive(n)() {
		t.Error("a threshold of recovery shares did not unseal it")
	}
}

func TestForgedShareSet(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	record, err := seals.UnmarshalRecord([]byte(h.raw(keySealed)))
	if err != nil {
		t.Fatal(err)
	}
	mine, _ := recovery.UnmarshalShareSet(record.ShareSet)
	mine.Holders[0].Name = "mallory"
	record.ShareSet = mine.Marshal()
	forged, _ := record.Marshal()
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(keySealed, forged)}}); err != nil {
		t.Fatal(err)
	}
	n2, _ := h.start(h.shamirSeals())
	if err := n2.Unseal(t.Context(), res.Keys[0], false); err == nil || isActive(n2)() {
		t.Errorf("unsealed on a forged record: %v", err)
	}
}

func TestRotateWhileWriting(t *testing.T) {
	h := newHarness(t)
	n, _, _ := h.initAuto(1, 1)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				h.write(n, fmt.Sprintf("%d/%d", w, i), "v")
			}
		})
	}
	for range 10 {
		if err := n.Rotate(t.Context()); err != nil {
			t.Error(err)
		}
		if err := n.RotateRoot(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	for w := range 4 {
		for i := range 50 {
			h.mustRead(n, fmt.Sprintf("%d/%d", w, i), "v")
		}
	}
	if st, err := n.KeyStatus(); err != nil || st.Term != 11 {
		t.Errorf("%+v, %v", st, err)
	}
}
