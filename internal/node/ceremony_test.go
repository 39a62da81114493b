package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

func (h *harness) rekey(n *Node, t recovery.Target, params recovery.Params, shares []*secret.Bytes) []*secret.Bytes {
	h.t.Helper()
	st, _, err := n.Ceremonies().RekeyStart(h.t.Context(), t, params, admin)
	if err != nil {
		h.t.Fatal(err)
	}
	for i, s := range shares {
		_, res, err := n.Ceremonies().RekeyGive(h.t.Context(), t, st.Nonce, s)
		if err != nil {
			h.t.Fatal(err)
		}
		if (res != nil) != (i == len(shares)-1) {
			h.t.Fatalf("after share %d: result %v", i+1, res)
		}
		if res != nil {
			return res.Keys
		}
	}
	return nil
}

func TestRekeyBarrierUnderShamir(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.Keys[:2] {
		if err := n.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	h.write(n, "a", "1")
	fresh := h.rekey(n, recovery.Barrier, recovery.Params{Shares: 5, Threshold: 3}, res.Keys[:2])
	if len(fresh) != 5 {
		t.Fatalf("%d new shares", len(fresh))
	}
	h.mustRead(n, "a", "1")
	h.wait(11 * time.Minute) // the answer had its time: the old shares end
	n.ceremonies.WipeAnswers(t.Context())
	stop()
	n2, _ := h.start(h.shamirSeals())
	if err := n2.Unseal(t.Context(), res.Keys[0], false); err == nil ||
		!strings.Contains(err.Error(), "generation 1, which was replaced") {
		t.Errorf("an old share: %v", err)
	}
	for _, s := range fresh[2:] {
		if err := n2.Unseal(t.Context(), s, false); err != nil {
			t.Fatal(err)
		}
	}
	h.mustRead(n2, "a", "1")
	if _, _, err := n2.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1},
		admin); !fault.Is(err, fault.Invalid) {
		t.Errorf("recovery rekey under Shamir: %v", err)
	}
}

func TestLostAnswerUnderShamir(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	old := res.Keys
	give := func(n *Node, shares ...*secret.Bytes) {
		t.Helper()
		for _, s := range shares {
			if err := n.Unseal(t.Context(), s, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	give(n, old[0], old[1])
	h.write(n, "a", "1")
	st, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Barrier, recovery.Params{Shares: 3, Threshold: 2}, admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range old[:2] {
		if _, _, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Barrier, st.Nonce, s); err != nil {
			t.Fatal(err)
		}
	}
	stop() // the new shares were never seen
	h.wait(12 * time.Hour)
	n, stop = h.start(h.shamirSeals())
	give(n, old[2], old[1])
	if !isActive(n)() {
		t.Fatal("the new shares are lost, and the old ones do not unseal")
	}
	h.wait(time.Hour)
	n.ceremonies.WipeAnswers(t.Context())
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, again, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Barrier, st.Nonce, old[1])
	if err != nil || len(again.Keys) != 3 {
		t.Fatalf("fetching the new shares: %v", err)
	}
	stop()
	n, stop = h.start(h.shamirSeals())
	give(n, again.Keys[1], again.Keys[2])
	h.mustRead(n, "a", "1")
	stop()
	n, _ = h.start(h.shamirSeals())
	if err := n.Unseal(t.Context(), old[0], false); err == nil || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("an old share after the new ones were used: %v", err)
	}
}

func (h *harness) initAuto(shares, threshold int) (*Node, func(), []*secret.Bytes) {
	h.t.Helper()
	n, stop := h.start(h.autoSeals())
	res, err := n.Init(h.t.Context(), InitRequest{RecoveryShares: shares, RecoveryThreshold: threshold})
	if err != nil {
		h.t.Fatal(err)
	}
	return n, stop, res.RecoveryKeys
}

func (h *harness) raw(key string) string {
	h.t.Helper()
	b, err := h.store.Get(h.t.Context(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

func TestRekeyRecoveryTouchesOnlyShares(t *testing.T) {
	h := newHarness(t)
	n, _, old := h.initAuto(5, 3)
	record, keyring := h.raw(keySealed), h.raw(barrier.KeyringPath)
	fresh := h.rekey(n, recovery.Recovery, recovery.Params{Shares: 7, Threshold: 4}, old[1:4])
	if len(fresh) != 7 || h.raw(keySealed) != record || h.raw(barrier.KeyringPath) != keyring {
		t.Fatalf("%d shares; or the rekey touched the sealed root key or the keyring", len(fresh))
	}
	st, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1},
		admin)
	if err != nil || st.Required != 4 {
		t.Fatalf("%+v, %v", st, err)
	}
	if _, _, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, old[0]); err == nil ||
		!strings.Contains(err.Error(), "replaced") {
		t.Errorf("an old share: %v", err)
	}
	for i, s := range fresh[:4] {
		if _, _, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, s); err != nil {
			t.Errorf("new share %d: %v", i+1, err)
		}
	}
}

func TestRekeyBarrierUnderAutoSeal(t *testing.T) {
	h := newHarness(t)
	n, stop, shares := h.initAuto(3, 2)
	record, keyring := h.raw(keySealed), h.raw(barrier.KeyringPath)
	if got := h.rekey(n, recovery.Barrier, recovery.Params{Shares: 5, Threshold: 3}, shares[:2]); len(got) != 0 {
		t.Fatalf("%d shares came out", len(got))
	}
	if h.raw(keySealed) == record || h.raw(barrier.KeyringPath) == keyring {
		t.Error("the root key was not replaced")
	}
	if got := h.rekey(n, recovery.Barrier, recovery.Params{}, shares[1:]); len(got) != 0 {
		t.Error("the recovery shares changed with the root key")
	}
	stop()
	n2, _ := h.start(h.autoSeals())
	eventually(t, "unsealed with the new root key", isActive(n2))
}

func TestRekeyMistakesDiscloseNothing(t *testing.T) {
	h := newHarness(t)
	n, _, shares := h.initAuto(3, 2)
	give := func(nonce string, s *secret.Bytes) error {
		_, _, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, nonce, s)
		return err
	}
	if err := give("x", shares[0]); err == nil || err.Error() != "no recovery rekey in progress" {
		t.Errorf("nothing under way: %v", err)
	}
	st, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2},
		admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2},
		admin); err == nil || err.Error() != "rekey already in progress" {
		t.Errorf("twice: %v", err)
	}
	bad := shares[1].Clone()
	bad.Expose()[3] ^= 4
	if err := give(st.Nonce, shares[0]); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"wrong nonce": give("11111111-1111-1111-1111-111111111111", shares[1]), "no nonce": give("", shares[1]),
		"wrong share": give(st.Nonce, bad), "doubled": give(st.Nonce, shares[0]),
		"short": give(st.Nonce, secret.Copy([]byte("short"))),
	} {
		if !fault.Is(err, fault.Invalid) || strings.Contains(fmt.Sprint(err), st.Nonce) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now, err := n.Ceremonies().RekeyStatus(t.Context(), recovery.Recovery); err != nil || now.Progress != 1 ||
		now.Nonce != st.Nonce {
		t.Errorf("the mistakes left %+v, %v", now, err)
	}
	if err := n.Ceremonies().RekeyCancel(t.Context(), recovery.Recovery, "", admin); err != nil {
		t.Fatal(err)
	}
	if now, err := n.Ceremonies().RekeyStatus(t.Context(), recovery.Recovery); err != nil || now.Started ||
		now.Required != 2 {
		t.Errorf("after cancelling: %+v, %v", now, err)
	}
}

func TestCeremonySurvivesRestartAndExpires(t *testing.T) {
	h := newHarness(t)
	n, stop, shares := h.initAuto(3, 2)
	st, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2},
		admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, shares[0]); err != nil {
		t.Fatal(err)
	}
	stop()
	n2, _ := h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n2))
	if _, res, err := n2.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, shares[2]); err != nil ||
		res == nil || len(res.Keys) != 2 {
		t.Fatalf("the second share after a restart: %v, %v", res, err)
	}
	if _, _, err := n2.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2},
		admin); err != nil {
		t.Fatal(err)
	}
	h.wait(recovery.DefaultExpiry)
	if st, err := n2.Ceremonies().RekeyStatus(t.Context(), recovery.Recovery); err != nil || st.Started {
		t.Errorf("a day later: %+v, %v", st, err)
	}
}

func TestLostAnswer(t *testing.T) {
	h := newHarness(t)
	n, stop, old := h.initAuto(3, 2)
	st, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2},
		admin)
	if err != nil {
		t.Fatal(err)
	}
	var first *ceremony.RekeyResult
	for _, s := range old[:2] {
		if _, first, err = n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, s); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n))
	_, again, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, old[1])
	if err != nil || len(again.Keys) != 2 || !again.Keys[0].Equal(first.Keys[0]) || !again.Keys[1].Equal(first.Keys[1]) {
		t.Fatalf("asking again: %v, %v", again, err)
	}
	for name, s := range map[string]*secret.Bytes{"another old share": old[0], "a new share": first.Keys[0],
		"a share that took no part": old[2]} {
		if _, res, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, s); err == nil || res != nil {
			t.Errorf("%s fetched the answer", name)
		}
	}
	if _, res, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, "other", old[1]); err == nil || res != nil {
		t.Error("another nonce fetched the answer")
	}
	h.wait(11 * time.Minute)
	if _, res, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, old[1]); err == nil ||
		res != nil {
		t.Error("the answer is given after its time")
	}
	n.ceremonies.WipeAnswers(t.Context())
	if _, err := h.store.Get(t.Context(), "core/answer/"+string(recovery.PurposeRekeyRecovery)); !errors.Is(err,
		storage.ErrNotFound) {
		t.Errorf("the answer is still stored: %v", err)
	}
}
