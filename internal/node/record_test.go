package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

func (h *harness) record() *seals.Record {
	h.t.Helper()
	r, err := seals.UnmarshalRecord([]byte(h.raw(keySealed)))
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// TestSubstitutedStore: an attacker who can write the storage exchanges it for a store of his own,
// in which everything that names the custodians, inside and outside the barrier, is a copy of the
// genuine records, and his root key is wrapped to their public key. Their shares do not open it.
func TestSubstitutedStore(t *testing.T) {
	genuine := newHarness(t)
	n, stop := genuine.start(genuine.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	custodians, err := recovery.UnmarshalShareSet(genuine.record().ShareSet)
	if err != nil {
		t.Fatal(err)
	}

	evil := newHarness(t)
	set := evil.shamirSeals()
	n, stop = evil.start(set)
	his, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Unseal(t.Context(), his.Keys[0], false); err != nil {
		t.Fatal(err)
	}
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	var record *seals.Record
	if err := a.barrier.WithRoot(func(root *secret.Bytes) error {
		old := n.state.Load().record
		record, err = set.Wrap(t.Context(), old.Cluster, old.Generation, root, unsealShareSet(custodians), nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	raw, err := record.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	tx := a.barrier.Begin()
	tx.Put(pathShareSet+custodians.Target.String(), custodians.Marshal())
	tx.PutRaw(keySealed, raw)
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()

	n, _ = evil.start(evil.shamirSeals())
	err = n.Unseal(t.Context(), res.Keys[0], false)
	if err == nil || isActive(n)() || !strings.Contains(err.Error(), "not written by this server") {
		t.Errorf("the genuine share on the attacker's store: %v, active %v", err, isActive(n)())
	}
}

// TestRecordKeysSurvive: after a restart, a rekey and the end of the previous share set, the record
// is still authenticated by the shares that open it, and the shares still open it.
func TestRecordKeysSurvive(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	shares := res.Keys
	for step, change := range []func(n *Node){
		func(n *Node) {
			if err := n.RotateRoot(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		func(n *Node) {
			shares = h.rekey(n, recovery.Barrier, recovery.Params{Shares: 1, Threshold: 1}, shares)
		},
	} {
		if err := n.Unseal(t.Context(), shares[0], false); err != nil || !isActive(n)() {
			t.Fatalf("step %d: %v", step, err)
		}
		change(n)
		if r := h.record(); r.Version != 2 || len(r.QuorumTag) == 0 || r.Weakness() != "" {
			t.Errorf("step %d: version %d, weakness %q", step, r.Version, r.Weakness())
		}
		if r := h.record(); r.Previous != nil && len(r.PreviousTag) == 0 {
			t.Errorf("step %d: the previous share set is not authenticated", step)
		}
		stop()
		n, stop = h.start(h.shamirSeals())
	}
	if err := n.Unseal(t.Context(), shares[0], false); err != nil || !isActive(n)() {
		t.Fatal(err)
	}
	eventually(t, "the previous share set ends", func() bool { return h.record().Previous == nil })
	if r := h.record(); len(r.QuorumTag) == 0 {
		t.Error("the record without the previous share set is not authenticated")
	}
	stop()
	n, _ = h.start(h.shamirSeals())
	if err := n.Unseal(t.Context(), shares[0], false); err != nil || !isActive(n)() {
		t.Fatal(err)
	}
}

func (h *harness) twoSeals(threshold int, allow bool) *seals.Set {
	h.t.Helper()
	var members []seals.Seal
	for _, key := range []string{"ab", "cd"} {
		w, err := static.New(seals.Config{Name: key, Type: "static", Params: map[string]string{
			"current_key": strings.Repeat(key, 32), "current_key_id": key}})
		if err != nil {
			h.t.Fatal(err)
		}
		members = append(members, seals.Seal{Name: key, Type: "static", Wrapper: w})
	}
	s, err := seals.NewSet(members, seals.Options{Threshold: threshold, AllowPolicyChange: allow,
		Deadline: time.Second})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func warns(t *testing.T, n *Node, word string) bool {
	t.Helper()
	st, err := n.SealStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(strings.Join(st.Warnings, "\n"), word)
}

// TestSealPolicyChange: a store under a weaker policy than the configured one is not opened, one
// under a stronger policy keeps it in a rotation, and both say how to change it; with
// allow_change the policy of the store follows the configuration.
func TestSealPolicyChange(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.twoSeals(1, false))
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	stop()

	n, stop = h.start(h.twoSeals(2, false))
	eventually(t, "the refusal and its remedy", func() bool { return warns(t, n, "set allow_change = true") })
	if isActive(n)() {
		t.Fatal("2 of 2 seals are configured, and a store that one seal opens is served")
	}
	stop()

	n, stop = h.start(h.twoSeals(2, true))
	eventually(t, "active", isActive(n))
	eventually(t, "the stronger policy is stored", func() bool { return h.record().Threshold == 2 })
	h.mustRead(n, "a", "1")
	stop()

	n, stop = h.start(h.twoSeals(1, false))
	eventually(t, "active", isActive(n))
	if st, _ := n.SealStatus(t.Context()); !st.PolicyDrift || st.FullyWrapped || !warns(t, n, "needs 2 of 2 seals") {
		t.Errorf("a weaker policy is configured: %+v", st)
	}
	for name, err := range map[string]error{
		"rotate": n.RotateRoot(t.Context()), "rewrap": n.RewrapSeals(t.Context(), admin),
	} {
		if err != nil || h.record().Threshold != 2 {
			t.Errorf("%s does not keep the stronger policy: %v, threshold %d", name, err, h.record().Threshold)
		}
	}
	stop()

	n, _ = h.start(h.twoSeals(1, true))
	eventually(t, "active", isActive(n))
	eventually(t, "the weaker policy that was asked for", func() bool { return h.record().Threshold == 1 })
	h.mustRead(n, "a", "1")
}

// TestRecordTagIsChecked: a field of the sealed record that no part binds is covered by the root
// tag.
func TestRecordTagIsChecked(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.twoSeals(1, false))
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	stop()
	r := h.record()
	r.Parts[0].KeyVersion = "forged"
	raw, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(keySealed, raw)}}); err != nil {
		t.Fatal(err)
	}
	n, _ = h.start(h.twoSeals(1, false))
	eventually(t, "the refusal", func() bool { return warns(t, n, "not written by this server") })
	if isActive(n)() {
		t.Error("a forged record is served")
	}
}

// TestMissingStanzas: with no seal stanza, or none of those that wrapped the root key, the status
// and the answer to a share name the seals in the record.
func TestMissingStanzas(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	for name, set := range map[string]*seals.Set{"no stanza": h.shamirSeals(), "others": h.twoSeals(1, false)} {
		n, stop := h.start(set)
		eventually(t, name+": the seals of the record", func() bool { return warns(t, n, `wrapped by static "box"`) })
		err := n.Unseal(t.Context(), res.RecoveryKeys[0], false)
		if err == nil || !strings.Contains(err.Error(), `static "box"`) && !warns(t, n, `static "box"`) {
			t.Errorf("%s: a share: %v", name, err)
		}
		stop()
	}
}

// TestKeyLostWhileUnsealed: an unsealed server whose key is gone says first what saves the data,
// and doing that saves it.
func TestKeyLostWhileUnsealed(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	remedy := func() string {
		st, err := n.SealStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Seals[0].Remedy
	}
	h.wrap.set(seals.Fail(seals.KeyGone, errors.New("no such key"), "restore the key"))
	eventually(t, "the warning", func() bool {
		return strings.HasPrefix(remedy(),
			"this server is still unsealed: do not restart")
	})
	if text := remedy(); !strings.Contains(text, "restore the key") ||
		!strings.Contains(text, "sealgate write -f sys/rotate/root") {
		t.Errorf("remedy: %s", text)
	}
	if err := n.RewrapSeals(t.Context(), admin); err == nil || !strings.Contains(err.Error(), "sys/rotate/root") {
		t.Errorf("rewrap: %v", err)
	}
	// A key of the same name is made again: the old part is lost, the data is not.
	fresh, err := static.New(seals.Config{Name: "box", Type: "static", Params: map[string]string{
		"current_key": strings.Repeat("cd", 32), "current_key_id": "k1"}})
	if err != nil {
		t.Fatal(err)
	}
	h.wrap.mu.Lock()
	h.wrap.Wrapper, h.wrap.fail = fresh, nil
	h.wrap.mu.Unlock()
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "active again", isActive(n))
	h.mustRead(n, "a", "1")
}

// TestBrokenSealBeforeInit: a server that is not initialised reports a broken seal before anybody
// runs init, and reports when it is repaired.
func TestBrokenSealBeforeInit(t *testing.T) {
	h := newHarness(t)
	h.wrap.set(seals.Fail(seals.Denied, errors.New("wrong PIN"), "correct pin"))
	n, _ := h.start(h.autoSeals())
	status := func() seals.Status {
		st, err := n.SealStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.Seals[0]
	}
	eventually(t, "class and remedy", func() bool {
		return status().Class == seals.Denied &&
			status().Remedy == "correct pin"
	})
	h.wrap.set(nil)
	n.poke()
	eventually(t, "the repair", func() bool { n.poke(); return status().Class == "" })
	if status().WouldUnseal {
		t.Error("nothing was proven yet")
	}
}

// TestStatusIsTrueAtOnce: right after another seal was added, the status is that of the new record;
// no probe is needed for it.
func TestStatusIsTrueAtOnce(t *testing.T) {
	h := newHarness(t)
	one := h.twoSeals(1, false)
	first := h.set(one.Seals()[0])
	n, stop := h.start(first)
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	if st, _ := n.SealStatus(t.Context()); !st.Seals[0].WouldUnseal || !st.FullyWrapped {
		t.Errorf("right after the initialisation: %+v", st.Seals)
	}
	eventually(t, "active", isActive(n))
	stop()
	n, _ = h.start(one)
	eventually(t, "active", isActive(n))
	eventually(t, "the new seal holds no part", func() bool {
		st, _ := n.SealStatus(t.Context())
		return st.Seals[1].Class == seals.Misconfigured && strings.Contains(st.Seals[1].Remedy, "operator seals add cd") &&
			!st.FullyWrapped
	})
	if c, err := SealAdminOf(n).Add(t.Context(), "cd", "", admin); err != nil || !c.Done {
		t.Fatal(c, err)
	}
	if st, _ := n.SealStatus(t.Context()); !st.Seals[1].WouldUnseal || !st.FullyWrapped || st.Seals[1].Class != "" {
		t.Errorf("right after the addition: %+v", st.Seals)
	}
}
