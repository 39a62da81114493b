package cosigner

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/recovery/transcript/cosign"
	"github.com/sealgate/sealgate/seals"
)

var verify = cosign.Verify

// done waits until every record is signed.
func (h *harness) done(s *Signer) {
	h.t.Helper()
	testkit.Eventually(h.t, "signed by the device", func() bool { return h.state(s).Unsigned == 0 })
}

// TestSigner: a key signs the record of its choice, those that follow, and that of its end.
func TestSigner(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.act("before")
	s := h.signer()
	h.run(s)
	if st := h.state(s); st != (State{}) {
		t.Errorf("without a setting the state is %+v", st)
	}
	if err := s.Set(t.Context(), "emulator/notary", admin); err != nil {
		t.Fatal(err)
	}
	h.act("during")
	h.done(s)
	st := h.state(s)
	if st.Key != "emulator/notary" || st.From != 2 || !strings.HasPrefix(st.PublicKey, "ecdsa-sha2-nistp256 ") ||
		!strings.HasPrefix(st.Fingerprint, "SHA256:") || st.Failure != nil || s.Unsigned() != 0 {
		t.Errorf("the state is %+v", st)
	}
	if err := s.Set(t.Context(), "emulator/notary", admin); err != nil { // nothing changes
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "emulator/second", admin); err != nil {
		t.Fatal(err)
	}
	h.act("after")
	if err := s.Remove(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), admin); err != nil { // nothing changes
		t.Fatal(err)
	}
	h.act("unsigned")
	h.done(s)
	one, two := "device:emulator/notary", "device:emulator/second"
	for seq, want := range map[uint64][]string{1: nil, 2: {one}, 3: {one}, 4: {one, two}, 5: {two}, 6: {two}, 7: nil} {
		got := h.signed(seq)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("record %d is signed by %q, not by %q", seq, got, want)
		}
	}
	r, err := ceremony.Record(t.Context(), h.b, 4)
	if err != nil || r.Record.StartedBy != "admin" || !strings.Contains(r.Record.Reason, "emulator/second") {
		t.Errorf("the record of the change: %+v, %v", r, err)
	}
}

// TestSignerTypes signs with each other type of key that a device can have.
func TestSignerTypes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	h.device.set(func(d *emulator) { d.keys["p521"], d.keys["rsa"] = p521, pair })
	s := h.signer()
	for i, name := range []string{"second", "p521", "rsa"} {
		h.managed(name)
		if err := s.Set(t.Context(), "emulator/"+name, admin); err != nil {
			t.Fatal(err)
		}
		h.finish(s)
		if got := h.signed(uint64(i + 1)); !slices.Contains(got, "device:emulator/"+name) {
			t.Errorf("%s: the record is signed by %q", name, got)
		}
	}
}

func TestSignerRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.device.set(func(d *emulator) { d.keys["verifier"] = d.keys["notary"] })
	h.managed("verifier", device.Verify)
	h.mounts = []mount.Entry{{Path: "transit/", Config: mount.Config{AllowedManagedKeys: []string{"second"}}}}
	s := h.signer()
	refused := func(what, key, says string, kind fault.Kind) {
		t.Helper()
		err := s.Set(t.Context(), key, admin)
		if !fault.Is(err, kind) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, of kind %d", what, err, fault.KindOf(err))
		}
	}
	refused("no key", "emulator/none", "no managed key", fault.Invalid)
	refused("a short name", "notary", "<type>/<name>", fault.Invalid)
	refused("no usage", "emulator/verifier", "add sign", fault.Invalid)
	refused("a key of a mount", "emulator/second", `mount "transit/"`, fault.Invalid)
	h.device.set(func(d *emulator) { d.wrong = true })
	refused("a wrong signature", "emulator/notary", "does not verify", fault.Unavailable)
	h.device.set(func(d *emulator) { d.wrong, d.away = false, true })
	refused("an unavailable device", "emulator/notary", "unreachable", fault.Unavailable)
	if head, err := ceremony.Head(t.Context(), h.m); err != nil || head.Seq != 0 {
		t.Errorf("what was refused left the head %v, %v", head, err)
	}
	s.Devices = nil
	refused("no devices", "emulator/notary", "no devices", fault.Invalid)
}

// TestSignerOutage: while the device is unavailable ceremonies end, and what is missing is known;
// the next leader signs it from the storage.
func TestSignerOutage(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	first := h.signer()
	stop := h.run(first)
	if err := first.Set(t.Context(), "emulator/notary", admin); err != nil {
		t.Fatal(err)
	}
	h.done(first)
	h.device.set(func(d *emulator) { d.away = true })
	for i := range 3 {
		h.act(fmt.Sprint(i))
	}
	testkit.Eventually(t, "a failure", func() bool { return h.state(first).Failure != nil })
	if st := h.state(first); st.Unsigned != 3 || st.First != 2 || st.Failure.Class != seals.Unreachable ||
		!strings.Contains(st.Failure.Text, "unreachable") {
		t.Errorf("the state is %+v, %+v", st, st.Failure)
	}
	stop()
	if strings.Count(h.log.String(), "could not be signed") != 1 {
		t.Errorf("the log:\n%s", h.log)
	}
	next := h.signer()
	if st := h.state(next); st.Unsigned != 3 || st.Key != "emulator/notary" {
		t.Errorf("the next leader's state is %+v", st)
	}
	h.device.set(func(d *emulator) { d.away = false })
	h.run(next)
	h.done(next)
	for seq := uint64(1); seq <= 4; seq++ {
		if got := h.signed(seq); !slices.Equal(got, []string{"device:emulator/notary"}) {
			t.Errorf("record %d is signed by %q", seq, got)
		}
	}
	calls := h.device.calls
	last := h.signer()
	if st := h.state(last); st.Unsigned != 0 || h.device.calls != calls {
		t.Errorf("a third leader would sign again: %+v", st)
	}
}

// TestSignerStaysItself: the key is for the transcript alone, and its managed key stays.
func TestSignerStaysItself(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s := h.signer()
	transit := h.r.For("transit/", "5d3f", []string{"notary"})
	if _, err := transit.Adopt(t.Context(), device.Managed, "notary"); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "emulator/notary", admin); err != nil {
		t.Fatal(err)
	}
	if _, err := transit.Adopt(t.Context(), device.Managed, "notary"); !fault.Is(err, fault.Invalid) ||
		!strings.Contains(err.Error(), "signs the transcript") {
		t.Errorf("a mount adopts the key: %v", err)
	}
	err := h.r.Remove(t.Context(), device.Managed, "emulator/notary")
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "emulator/notary signs the transcript") {
		t.Errorf("the managed key is removed: %v", err)
	}
	entry := device.Entry{Face: device.Managed, Type: "emulator", Name: "notary"}
	for what, ch := range map[string]device.Change{
		"another key": {Given: device.Params{"key": "second"}, Entry: func(e *device.Entry) { e.AllowReplace = true }},
		"no usage":    {Entry: func(e *device.Entry) { e.Usages = []device.Usage{device.Verify} }},
	} {
		if err := h.r.Write(t.Context(), entry, ch); !fault.Is(err, fault.Invalid) ||
			!strings.Contains(err.Error(), "signs the transcript") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Remove(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if _, err := transit.Adopt(t.Context(), device.Managed, "notary"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a mount adopts a key that has signed: %v", err)
	}
	if err := h.r.Remove(t.Context(), device.Managed, "emulator/notary"); err != nil {
		t.Error(err)
	}
	if st := h.state(h.signer()); st.Unsigned != 0 {
		t.Errorf("without its managed key a former key is to sign %d records", st.Unsigned)
	}
}

// TestSignerIsNotExchanged acts as one who writes the storage: he puts back, exchanges or removes
// the setting, and the reservation.
func TestSignerIsNotExchanged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s := h.signer()
	raw := func(path string) []byte {
		v, err := h.disk.Get(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(v)
	}
	write := func(op storage.Op) {
		t.Helper()
		if err := h.disk.Commit(t.Context(), storage.Batch{Ops: []storage.Op{op}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Set(t.Context(), "emulator/notary", admin); err != nil {
		t.Fatal(err)
	}
	old := raw(pathSetting)
	if err := s.Set(t.Context(), "emulator/second", admin); err != nil {
		t.Fatal(err)
	}
	genuine := raw(pathSetting)
	for what, op := range map[string]storage.Op{
		"put back": storage.Put(pathSetting, old), "removed": storage.Delete(pathSetting),
	} {
		write(op)
		next := h.signer()
		if st := h.state(next); st.Key != "" || st.Failure == nil || st.Failure.Class != seals.Corrupt {
			t.Errorf("%s: the state is %+v", what, st)
		}
		calls := h.device.calls
		if next.turn(t.Context()) || h.device.calls != calls || !strings.Contains(h.log.String(), "ALARM") {
			t.Errorf("%s: the device signs, or there is no alarm", what)
		}
	}
	write(storage.Put(pathSetting, genuine))
	if st := h.state(h.signer()); st.Key != "emulator/second" || st.Unsigned == 0 {
		t.Errorf("the genuine setting: %+v", st)
	}
	h.act("one more")
	write(storage.Put(fmt.Sprintf("core/transcript/log/%08d", 3), raw("core/transcript/log/00000002")))
	if _, err := h.signer().State(t.Context()); err == nil {
		t.Error("a record that was exchanged is read")
	}
}

// TestSettingIsRepaired: a setting that was removed in the storage is made again, or ended, by a
// change.
func TestSettingIsRepaired(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s := h.signer()
	for range 2 {
		if err := s.Set(t.Context(), "emulator/notary", admin); err != nil {
			t.Fatal(err)
		}
		lost := func(path string) {
			t.Helper()
			if err := h.disk.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete(path)}}); err != nil {
				t.Fatal(err)
			}
		}
		lost(pathSetting)
		s = h.signer()
		if err := s.Set(t.Context(), "emulator/notary", admin); err != nil {
			t.Fatal(err)
		}
		held, err := h.r.Reserved(t.Context())
		if err != nil || len(held) != 1 || !held[0].Active {
			t.Fatalf("reserved: %+v, %v", held, err)
		}
		op, err := held[0].Op()
		if err != nil {
			t.Fatal(err)
		}
		lost(op.Key)
		h.r.Invalidate(device.Prefix)
		s = h.signer()
		h.finish(s)
		if held, err := h.r.Reserved(t.Context()); err != nil || len(held) != 1 {
			t.Errorf("the reservation that was removed: %+v, %v", held, err)
		}
		lost(pathSetting)
		s = h.signer()
		if err := s.Remove(t.Context(), admin); err != nil {
			t.Fatal(err)
		}
		if st := h.state(s); st.Key != "" || st.Failure != nil {
			t.Errorf("after the end the state is %+v", st)
		}
	}
}

// finish runs a signer until every record is signed.
func (h *harness) finish(s *Signer) {
	h.t.Helper()
	stop := h.run(s)
	h.done(s)
	stop()
}

// TestHoldersLeaveRoom: holders' signatures keep neither the device from signing nor pass for its.
func TestHoldersLeaveRoom(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s := h.signer()
	if err := s.Set(t.Context(), "emulator/notary", admin); err != nil {
		t.Fatal(err)
	}
	r, err := ceremony.Record(t.Context(), h.b, 1)
	if err != nil {
		t.Fatal(err)
	}
	holder := func(name string) error {
		_, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		c, err := cosign.Sign(r.Head(), "x", pem.EncodeToMemory(block), nil, r.Record.Finished)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ceremony.CoSign(t.Context(), h.m, "1", name, c.Signature, "")
		return err
	}
	if err := holder("device:emulator/notary"); !fault.Is(err, fault.Invalid) ||
		!strings.Contains(err.Error(), "under another name") {
		t.Errorf("a holder signs as the device: %v", err)
	}
	for range cosign.MaxSignatures {
		if err := holder("alice"); err != nil {
			t.Fatal(err)
		}
	}
	h.finish(s)
	if err := holder("bob"); !fault.Is(err, fault.Invalid) {
		t.Errorf("one more holder: %v", err)
	}
	if got := h.signed(1); len(got) != cosign.MaxSignatures+1 || !slices.Contains(got, "device:emulator/notary") {
		t.Errorf("the record has %d signatures", len(got))
	}
}
