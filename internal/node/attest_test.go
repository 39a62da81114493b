package node

import (
	"crypto/rand"
	"encoding/json"
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
	"github.com/sealgate/sealgate/seals"
)

// forge writes to the storage as an attacker does who has no key.
func (h *harness) forge(key string, value []byte) {
	h.t.Helper()
	if err := h.store.Commit(h.t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(key, value)}}); err != nil {
		h.t.Fatal(err)
	}
}

// forgeRecord changes the sealed record in the storage.
func (h *harness) forgeRecord(change func(*seals.Record)) {
	h.t.Helper()
	record, err := seals.UnmarshalRecord([]byte(h.raw(keySealed)))
	if err != nil {
		h.t.Fatal(err)
	}
	change(record)
	raw, err := record.Marshal()
	if err != nil {
		h.t.Fatal(err)
	}
	h.forge(keySealed, raw)
}

// mallory returns a share set of the attacker, and its one share.
func (h *harness) mallory(t recovery.Target) (*recovery.ShareSet, *secret.Bytes) {
	h.t.Helper()
	set, shares, err := recovery.NewShareSet(t, nil, 1, 1, rand.Reader, h.clock())
	if err != nil {
		h.t.Fatal(err)
	}
	return set, shares[0]
}

// TestInitOnAnUnsealedNodeReadsNothing: a storage writer puts his own share set into the sealed
// record of a live node, and sys/init, which anybody may call, must not make the node read it.
func TestInitOnAnUnsealedNodeReadsNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, _, _ := h.initAuto(3, 2)
	before := n.state.Load()
	mine, share := h.mallory(recovery.Barrier)
	h.forgeRecord(func(r *seals.Record) { r.ShareSet = mine.Marshal() })
	if _, err := n.Init(t.Context(), InitRequest{}); !errors.Is(err, errInitialized) {
		t.Errorf("initialising an unsealed node: %v", err)
	}
	if err := n.Unseal(t.Context(), share, false); err != nil {
		t.Errorf("unsealing an unsealed node: %v", err)
	}
	if n.state.Load() != before {
		t.Error("the state of an unsealed node changed by a record in the storage")
	}
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	record, err := seals.UnmarshalRecord([]byte(h.raw(keySealed)))
	if err != nil || len(record.ShareSet) != 0 {
		t.Errorf("the new root key is wrapped to the attacker: %v", err)
	}
}

// TestTamperedRecordsDoNotOpen: what the store attests decides, at every open.
func TestTamperedRecordsDoNotOpen(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(*harness){
		"a previous share set of the attacker": func(h *harness) {
			mine, _ := h.mallory(recovery.Barrier)
			h.forgeRecord(func(r *seals.Record) { r.Previous = &seals.Previous{ShareSet: mine.Marshal(), Part: r.Parts[0]} })
		},
		"another key id": func(h *harness) {
			h.forgeRecord(func(r *seals.Record) { r.Parts[0].KeyID += "x" })
		},
		"no attestation": func(h *harness) { // removing it must not help
			if err := h.store.Commit(h.t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete(pathCluster)}}); err != nil {
				h.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			n, stop := h.start(h.shamirSeals())
			res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Unseal(t.Context(), res.Keys[0].Clone(), false); err != nil {
				t.Fatal(err)
			}
			stop()
			tamper(h)
			again, _ := h.start(h.shamirSeals())
			if err := again.Unseal(t.Context(), res.Keys[0], false); err == nil || isActive(again)() {
				t.Errorf("unsealed on a tampered storage: %v", err)
			}
		})
	}
}

// TestReplacedSharesDoNotComeBack: a storage writer puts back the recovery share set from before a
// rekey, or cuts the transcript, and the node refuses to open.
func TestReplacedSharesDoNotComeBack(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"core/custody/recovery", "core/transcript/head"} {
		t.Run(strings.ReplaceAll(path, "/", "-"), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			n, stop, shares := h.initAuto(3, 2)
			again := h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, shares[:2])
			before := h.raw(path)
			h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, again[:2])
			h.forge(path, []byte(before))
			(integrity{n}).checkAttestation(t.Context())
			st, err := n.SealStatus(t.Context())
			if err != nil || !strings.Contains(strings.Join(st.Warnings, " "), path+" was changed outside this program") {
				t.Errorf("the alarm of a live node: %v, %v", st.Warnings, err)
			}
			stop()
			n2, _ := h.start(h.autoSeals())
			eventually(t, "refused", func() bool {
				f := n2.state.Load()
				return f.trouble != nil && errors.Is(f.trouble, errTampered)
			})
			if isActive(n2)() {
				t.Error("the node serves on a storage that was rolled back in part")
			}
		})
	}
}

// TestReplacedQuorumDoesNotComeBack: an attacker keeps the sealed record from the time after a
// rekey in which the replaced shares still unseal, and has those shares. Once that time is over, it
// opens nothing.
func TestReplacedQuorumDoesNotComeBack(t *testing.T) {
	t.Parallel()
	for name, paths := range map[string][]string{
		"the record": {keySealed}, "the record and the keyring": {keySealed, barrier.KeyringPath},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			n, stop := h.start(h.shamirSeals())
			res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Unseal(t.Context(), res.Keys[0].Clone(), false); err != nil {
				t.Fatal(err)
			}
			fresh := h.rekey(n, recovery.Barrier, recovery.Params{Shares: 1, Threshold: 1}, res.Keys)
			kept := map[string]string{}
			for _, path := range paths {
				kept[path] = h.raw(path)
			}
			h.wait(time.Hour)
			n.ceremonies.WipeAnswers(t.Context())
			if h.raw(keySealed) == kept[keySealed] {
				t.Fatal("the replaced shares did not end")
			}
			stop()
			genuine := map[string]string{}
			for path, record := range kept {
				genuine[path] = h.raw(path)
				h.forge(path, []byte(record))
			}
			n2, stop := h.start(h.shamirSeals())
			if err := n2.Unseal(t.Context(), res.Keys[0].Clone(), false); err == nil || isActive(n2)() {
				t.Errorf("the replaced share unseals: %v", err)
			}
			stop()
			for path, record := range genuine {
				h.forge(path, []byte(record))
			}
			n3, _ := h.start(h.shamirSeals())
			if err := n3.Unseal(t.Context(), fresh[0], false); err != nil {
				t.Errorf("the new share does not unseal: %v", err)
			}
		})
	}
}

// TestAlarmWhileServing: a record that is exchanged under a live node raises the alarm; what the
// node has in memory decides, and rotating the root key writes it again.
func TestAlarmWhileServing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, _, _ := h.initAuto(3, 2)
	h.forgeRecord(func(r *seals.Record) { r.Parts[0].KeyID += "x" })
	(integrity{n}).checkAttestation(t.Context())
	if st, err := n.SealStatus(t.Context()); err != nil || len(st.Warnings) != 1 ||
		!strings.HasPrefix(st.Warnings[0], "ALARM: ") {
		t.Errorf("status: %v, %v", st.Warnings, err)
	}
	h.write(n, "k", "v")
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	(integrity{n}).checkAttestation(t.Context())
	if st, err := n.SealStatus(t.Context()); err != nil || len(st.Warnings) != 0 {
		t.Errorf("status after the record was written again: %v, %v", st.Warnings, err)
	}
}

// TestOldStoreIsAttested: a store of a program before the attestation opens, and has one from then
// on.
func TestOldStoreIsAttested(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, stop, _ := h.initAuto(3, 2)
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	c, err := readCluster(t.Context(), a.barrier)
	if err != nil {
		t.Fatal(err)
	}
	old, err := json.Marshal(map[string]any{"v": 1, "name": c.Name, "created": c.Created})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.barrier.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put(pathCluster, old)}}); err != nil {
		t.Fatal(err)
	}
	stop()
	n2, stop := h.start(h.autoSeals())
	eventually(t, "an old store opens", isActive(n2))
	a, _ = n2.Role()
	if c, err = readCluster(t.Context(), a.barrier); err != nil || c.Attested == nil {
		t.Fatalf("not upgraded: %+v, %v", c, err)
	}
	before := h.raw(keySealed) // its own tags are good
	if err := n2.RewrapSeals(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	stop()
	h.forge(keySealed, []byte(before))
	n3, _ := h.start(h.autoSeals())
	eventually(t, "refused", func() bool { return errors.Is(n3.state.Load().trouble, errTampered) })
}

// TestRawAccessIsKeptFromKeys: an administrator with sys/raw neither reads nor writes what decides
// who gets a key, or what proves what was done with one.
func TestRawAccessIsKeptFromKeys(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, _, shares := h.initAuto(3, 2)
	h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, shares[:2])
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	raw := a.Raw()
	for _, path := range []string{
		"core/seal", "core/recovery-shape", "core/keyring", "core/leader", "core/cluster", "core/custody/recovery",
		"core/transcript/key", "core/transcript/head", "core/transcript/log/00000001", "core/proven/recovery",
		"core/answer/rekey-recovery", "core/ceremony/generate-root", "core/backup/recovery", "core/encryptions",
	} {
		if _, err := raw.Get(t.Context(), path); !fault.Is(err, fault.Invalid) {
			t.Errorf("reading %s: %v", path, err)
		}
		if err := raw.Put(t.Context(), path, []byte("x")); !fault.Is(err, fault.Invalid) {
			t.Errorf("writing %s: %v", path, err)
		}
		if err := raw.Delete(t.Context(), path); !fault.Is(err, fault.Invalid) {
			t.Errorf("deleting %s: %v", path, err)
		}
	}
	if _, err := raw.Get(t.Context(), "core/mounts"); err != nil {
		t.Errorf("reading core/mounts: %v", err)
	}
}

// TestFirstSharesNeedARootToken: where no share authorises it, a token with few rights cannot make
// itself the custodian, who could then make a root token.
func TestFirstSharesNeedARootToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, _ := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	limited := ceremony.Starter{Accessor: "a", DisplayName: "rotator"}
	params := recovery.Params{Shares: 1, Threshold: 1}
	for _, by := range []ceremony.Starter{limited, {}} {
		if _, res, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, params, by); res != nil ||
			!fault.Is(err, fault.Denied) {
			t.Errorf("%v makes the first shares: %v", by, err)
		}
	}
	if _, res, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, params, admin); err != nil || res == nil {
		t.Errorf("a root token: %v", err)
	}
}

// FuzzClusterRecord checks that what is read is written as the same record.
func FuzzClusterRecord(f *testing.F) {
	f.Add([]byte(`{"v":1,"name":"n","created":"2026-01-02T03:04:05Z"}`))
	f.Add(clusterRecord{Name: "n", Attested: &attestation{Record: "ab"}}.marshal())
	f.Add([]byte(`{"v":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := unmarshalCluster(b)
		if err != nil || c.Attested == nil {
			return
		}
		again, err := unmarshalCluster(c.marshal())
		if err != nil || *again.Attested != *c.Attested || again.Name != c.Name {
			t.Errorf("%+v became %+v, %v", c, again, err)
		}
	})
}

// TestStorageWriterRollsBackCounts: a node that was sealed meanwhile counts on from what it made,
// and rotates its key.
func TestStorageWriterRollsBackCounts(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, _ := h.start(h.shamirSeals())
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Unseal(t.Context(), res.Keys[0].Clone(), false); err != nil {
		t.Fatal(err)
	}
	old := h.raw("core/encryptions")
	for i := range 5000 {
		h.write(n, "k", fmt.Sprint(i))
	}
	if err := n.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.forge("core/encryptions", []byte(old))
	if err := n.Unseal(t.Context(), res.Keys[0], false); err != nil {
		t.Fatal(err)
	}
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	if k := a.barrier.KeyStatus(); k.Term == 1 && k.Encryptions < 5000 {
		t.Errorf("%d encryptions are counted after the seal, 5000 were made", k.Encryptions)
	}
	n.maintain(t.Context())
	if k := a.barrier.KeyStatus(); k.Term != 2 {
		t.Errorf("the term is %d: the one in doubt was not rotated", k.Term)
	}
}

// TestTranscriptCutOffOnline: the end of the transcript is cut off under a live node, with or
// without the attestation of that time. The node serves no shorter transcript, and no further
// ceremony hides the cut.
func TestTranscriptCutOffOnline(t *testing.T) {
	t.Parallel()
	for name, paths := range map[string][]string{
		"the head": {"core/transcript/head"}, "the head and its attestation": {"core/transcript/head", pathCluster},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			n, _, shares := h.initAuto(3, 2)
			shares = h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, shares[:2])
			kept := map[string]string{}
			for _, path := range paths {
				kept[path] = h.raw(path)
			}
			shares = h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, shares[:2])
			for path, value := range kept {
				h.forge(path, []byte(value))
			}
			ctx := t.Context()
			if names, err := n.ceremonies.Transcripts(ctx); !errors.Is(err, errTampered) {
				t.Errorf("a list of a transcript that was cut off: %v, %v", names, err)
			}
			if _, err := n.ceremonies.TranscriptExport(ctx); !errors.Is(err, errTampered) {
				t.Errorf("an export of a transcript that was cut off: %v", err)
			}
			before := h.raw("core/transcript/head")
			p := recovery.PurposeAuthorizeRestore
			st, err := n.ceremonies.Grants.Start(ctx, p, ceremony.Subject{}, ceremony.Starter{Accessor: "a", DisplayName: "ops"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := n.ceremonies.Grants.Give(ctx, p, st.Nonce, shares[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := n.ceremonies.Grants.Give(ctx, p, st.Nonce, shares[1]); !errors.Is(err, errTampered) {
				t.Errorf("a ceremony on a transcript that was cut off: %v", err)
			}
			if h.raw("core/transcript/head") != before {
				t.Error("a ceremony hid that the transcript was cut off")
			}
			if st, err := n.SealStatus(ctx); err != nil || !strings.Contains(strings.Join(st.Warnings, " "), "ALARM: ") {
				t.Errorf("the alarm: %v, %v", st.Warnings, err)
			}
		})
	}
}

// TestEndedCeremonyDoesNotComeBack: a storage writer puts back a generate-root that lacks its last
// share, after it has ended or was cancelled. The last share alone makes no token.
func TestEndedCeremonyDoesNotComeBack(t *testing.T) {
	t.Parallel()
	for _, cancel := range []bool{false, true} {
		h := newHarness(t)
		n, _, shares := h.initAuto(3, 2)
		ctx, m, by := t.Context(), n.ceremonies, ceremony.Starter{Accessor: "a", DisplayName: "ops"}
		st, err := m.GenerateRootStart(ctx, "", "", by)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.GenerateRootGive(ctx, st.Nonce, shares[0]); err != nil {
			t.Fatal(err)
		}
		const path = "core/ceremony/generate-root"
		before := h.raw(path)
		if cancel {
			err = m.GenerateRootCancel(ctx, st.Nonce, nil, by)
		} else if _, err = m.GenerateRootGive(ctx, st.Nonce, shares[1]); err == nil {
			err = m.GenerateRootAcknowledge(ctx, st.Nonce, shares[1])
		}
		if err != nil {
			t.Fatal(err)
		}
		h.forge(path, []byte(before))
		if done, err := m.GenerateRootGive(ctx, st.Nonce, shares[1]); err == nil || done.Complete ||
			!strings.Contains(err.Error(), "has ended already") {
			t.Errorf("cancelled %v: %+v, %v", cancel, done, err)
		}
	}
}
