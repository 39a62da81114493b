package node

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// reader has a PGP key or an age identity.
type reader struct {
	public string
	open   func(t *testing.T, message []byte) string
}

func newPGPReader(t *testing.T, name string) reader {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.com",
		&packet.Config{Time: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	var pub bytes.Buffer
	if err := e.Serialize(&pub); err != nil {
		t.Fatal(err)
	}
	return reader{base64.StdEncoding.EncodeToString(pub.Bytes()), func(t *testing.T, message []byte) string {
		t.Helper()
		m, err := openpgp.ReadMessage(bytes.NewReader(message), openpgp.EntityList{e}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(m.UnverifiedBody)
		if err != nil {
			t.Fatal(err)
		}
		return string(plain)
	}}
}

func newAgeReader(t *testing.T) reader {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return reader{id.Recipient().String(), func(t *testing.T, message []byte) string {
		t.Helper()
		r, err := age.Decrypt(bytes.NewReader(message), id)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(plain)
	}}
}

// share decrypts a message and reads the share in it.
func (r reader) share(t *testing.T, message *secret.Bytes) *secret.Bytes {
	t.Helper()
	s, err := recovery.ParseShare(r.open(t, message.Expose()))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rekeyTo starts a rekey and gives shares until new ones come out.
func (h *harness) rekeyTo(n *Node, t recovery.Target, p recovery.Params, shares []*secret.Bytes) (nonce string,
	res *ceremony.RekeyResult) {
	h.t.Helper()
	st, _, err := n.Ceremonies().RekeyStart(h.t.Context(), t, p, admin)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range shares {
		if _, res, err = n.Ceremonies().RekeyGive(h.t.Context(), t, st.Nonce, s); err != nil {
			h.t.Fatal(err)
		}
	}
	if res == nil {
		h.t.Fatal("the shares given are not enough")
	}
	return st.Nonce, res
}

func TestInitToRecipients(t *testing.T) {
	h := newHarness(t)
	n, _ := h.start(h.autoSeals())
	alice, bob, boss := newPGPReader(t, "alice"), newAgeReader(t), newPGPReader(t, "boss")
	req := InitRequest{
		RecoveryShares: 2, RecoveryThreshold: 2, RecoveryPGPKeys: []string{alice.public, bob.public},
		RootTokenPGPKey: boss.public, Holders: []string{"alice", "bob"},
	}
	for name, spoil := range map[string]func(*InitRequest){
		"a bad token recipient": func(r *InitRequest) { r.RootTokenPGPKey = "nonsense" },
		"a bad share recipient": func(r *InitRequest) { r.RecoveryPGPKeys = []string{alice.public, "keybase:bob"} },
		"too few recipients":    func(r *InitRequest) { r.RecoveryPGPKeys = []string{alice.public} },
		"too few holders":       func(r *InitRequest) { r.Holders = []string{"alice"} },
	} {
		bad := req
		spoil(&bad)
		if _, err := n.Init(t.Context(), bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
		if done, err := n.Initialized(t.Context()); done || err != nil {
			t.Fatalf("%s left %v, %v", name, done, err)
		}
	}
	res, err := n.Init(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	message, err := base64.StdEncoding.DecodeString(res.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	if who, err := a.Tokens().Identify(t.Context(), boss.open(t, message)); err != nil || !who.Root {
		t.Errorf("the decrypted root token: %+v, %v", who, err)
	}
	shares := []*secret.Bytes{alice.share(t, res.RecoveryKeys[0]), bob.share(t, res.RecoveryKeys[1])}
	h.rekey(n, recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1}, shares)
}

func TestRekeyToRecipientsWithBackup(t *testing.T) {
	h := newHarness(t)
	n, stop, old := h.initAuto(3, 2)
	alice, bob := newPGPReader(t, "alice"), newAgeReader(t)
	p := recovery.Params{Shares: 2, Threshold: 2, Recipients: []string{alice.public, bob.public}, Backup: true}
	if _, err := n.Ceremonies().Backup(t.Context(), recovery.Recovery); err == nil ||
		err.Error() != "no backed-up keys found" {
		t.Errorf("no backup yet: %v", err)
	}
	_, res := h.rekeyTo(n, recovery.Recovery, p, old[:2])
	if len(res.PGPFingerprints) != 2 || len(res.PGPFingerprints[0]) != 40 || !res.Backup {
		t.Fatalf("fingerprints %v, backup %v", res.PGPFingerprints, res.Backup)
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n))
	b, err := n.Ceremonies().Backup(t.Context(), recovery.Recovery)
	if err != nil || b.Keys[res.PGPFingerprints[0]][0] != hex.EncodeToString(res.Keys[0].Expose()) {
		t.Errorf("backup %+v, %v", b, err)
	}
	h.rekey(n, recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1}, []*secret.Bytes{alice.share(t, res.Keys[0]),
		bob.share(t, res.Keys[1])})
	if err := n.Ceremonies().DeleteBackup(t.Context(), recovery.Recovery); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Ceremonies().Backup(t.Context(), recovery.Recovery); err == nil {
		t.Error("the backup is still there")
	}
	for name, p := range map[string]recovery.Params{
		"backup in the clear": {Shares: 2, Threshold: 2, Backup: true},
		"an unusable key":     {Shares: 1, Threshold: 1, Recipients: []string{"age1nonsense"}},
	} {
		if _, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, p, admin); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVerification: the old shares work until a threshold of the new ones is proven, and not a
// moment longer; a crash in between changes nothing.
func TestVerification(t *testing.T) {
	for _, target := range []recovery.Target{recovery.Recovery, recovery.Barrier} {
		t.Run(target.String(), func(t *testing.T) {
			h := newHarness(t)
			set := h.autoSeals
			req := InitRequest{RecoveryShares: 3, RecoveryThreshold: 2}
			if target == recovery.Barrier {
				set, req = h.shamirSeals, InitRequest{SecretShares: 3, SecretThreshold: 2}
			}
			n, stop := h.start(set())
			res, err := n.Init(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			old := append(res.Keys, res.RecoveryKeys...)
			back := func(shares []*secret.Bytes) {
				t.Helper()
				stop()
				n, stop = h.start(set())
				if target == recovery.Recovery {
					eventually(t, "unsealed", isActive(n))
					return
				}
				for _, s := range shares[:2] {
					if err := n.Unseal(t.Context(), s, false); err != nil {
						t.Fatal(err)
					}
				}
			}
			back(old)
			nonce, made := h.rekeyTo(n, target, recovery.Params{Shares: 3, Threshold: 2, Verification: true}, old[:2])
			if made.VerificationNonce == "" || made.VerificationNonce == nonce {
				t.Fatal("no nonce for the verification")
			}
			back(old) // the old shares are still the ones that work
			if _, err := n.Ceremonies().Prove(t.Context(), made.Keys[0]); err == nil {
				t.Error("a new share counts before it is verified")
			}
			if _, again, err := n.Ceremonies().RekeyGive(t.Context(), target, nonce, old[1]); err != nil ||
				!again.Keys[0].Equal(made.Keys[0]) {
				t.Errorf("fetching the new shares again: %v", err)
			}
			if _, err := n.Ceremonies().RekeyVerify(t.Context(), target, made.VerificationNonce,
				old[0]); !fault.Is(err, fault.Invalid) {
				t.Errorf("an old share as proof: %v", err)
			}
			if st, err := n.Ceremonies().RekeyVerify(t.Context(), target, made.VerificationNonce, made.Keys[2]); err != nil ||
				st.Progress != 1 || st.Complete {
				t.Fatalf("%+v, %v", st, err)
			}
			back(old)
			st, err := n.Ceremonies().RekeyVerify(t.Context(), target, made.VerificationNonce, made.Keys[0])
			if err != nil || !st.Complete {
				t.Fatalf("%+v, %v", st, err)
			}
			if _, err := n.Ceremonies().Prove(t.Context(), old[2]); err == nil {
				t.Error("an old share still works")
			}
			back(made.Keys[1:])
			if _, err := n.Ceremonies().Prove(t.Context(), made.Keys[1]); err != nil {
				t.Error(err)
			}
			if target == recovery.Barrier {
				if err := n.Seal(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := n.Unseal(t.Context(), old[0], false); err == nil {
					t.Error("an old share still counts for unsealing")
				}
			}
		})
	}
}

func TestAcknowledge(t *testing.T) {
	h := newHarness(t)
	n, _, old := h.initAuto(3, 2)
	nonce, res := h.rekeyTo(n, recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2}, old[:2])
	for name, try := range map[string]struct {
		nonce string
		share *secret.Bytes
	}{"a new share": {nonce, res.Keys[0]}, "another old share": {nonce, old[0]}, "another nonce": {"x", old[1]}} {
		if err := n.Ceremonies().RekeyAcknowledge(t.Context(), recovery.Recovery, try.nonce,
			try.share); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s threw the answer away: %v", name, err)
		}
	}
	if err := n.Ceremonies().RekeyAcknowledge(t.Context(), recovery.Recovery, nonce, old[1]); err != nil {
		t.Fatal(err)
	}
	if _, res, err := n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, nonce, old[1]); err == nil || res != nil {
		t.Error("the answer is still there")
	}
}

func TestHolders(t *testing.T) {
	h := newHarness(t)
	n, stop, old := h.initAuto(3, 2)
	res := h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2,
		Holders: []string{"alice", "bob", "carol"}}, old[:2])
	p, err := n.Ceremonies().Prove(t.Context(), res[1])
	if err != nil || *p != (ceremony.Proof{Target: "recovery", Generation: 2, Number: 2, Name: "bob"}) {
		t.Fatalf("%+v, %v", p, err)
	}
	at := h.clock()
	h.wait(time.Hour)
	st, _, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1},
		admin)
	if err != nil {
		t.Fatal(err)
	}
	if st, _, err = n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, res[2]); err != nil ||
		len(st.HoldersGiven) != 1 || st.HoldersGiven[0] != "carol" {
		t.Fatalf("%+v, %v", st, err)
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n))
	list, err := n.Ceremonies().Holders(t.Context())
	if err != nil || list.Generation != 2 || len(list.Holders) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	want := []ceremony.HolderInfo{
		{Number: 1, Name: "alice"},
		{Number: 2, Name: "bob", LastProven: at},
		{Number: 3, Name: "carol", LastProven: at.Add(time.Hour)},
	}
	for i, w := range want {
		if got := list.Holders[i]; got.Name != w.Name || !got.LastProven.Equal(w.LastProven) || got.Number != w.Number {
			t.Errorf("holder %d: %+v, want %+v", i+1, got, w)
		}
	}
}

func TestGenerateRoot(t *testing.T) {
	h := newHarness(t)
	n, stop, shares := h.initAuto(3, 2)
	st, err := n.Ceremonies().GenerateRootStart(t.Context(), "", "", admin)
	if err != nil || len(st.OTP) != 26 || st.OTPLength != 26 || st.Required != 2 {
		t.Fatalf("%+v, %v", st, err)
	}
	otp := st.OTP
	if _, err := n.Ceremonies().GenerateRootStart(t.Context(), "", "", admin); err == nil ||
		!strings.Contains(err.Error(), "root generation already in progress") {
		t.Errorf("a second attempt: %v", err)
	}
	if _, err := n.Ceremonies().GenerateRootGive(t.Context(), st.Nonce, shares[2]); err != nil {
		t.Fatal(err)
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n))
	if st, err := n.Ceremonies().GenerateRootStatus(t.Context()); err != nil || st.Progress != 1 || st.OTP != "" {
		t.Fatalf("after a restart: %+v, %v", st, err)
	}
	done, err := n.Ceremonies().GenerateRootGive(t.Context(), st.Nonce, shares[0])
	if err != nil || !done.Complete {
		t.Fatalf("%+v, %v", done, err)
	}
	again, err := n.Ceremonies().GenerateRootGive(t.Context(), st.Nonce, shares[0])
	if err != nil || again.EncodedToken != done.EncodedToken {
		t.Errorf("the lost answer: %+v, %v", again, err)
	}
	token, err := recovery.DecodeToken(done.EncodedToken, otp)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := n.Role()
	if who, err := a.Tokens().Identify(t.Context(), token); err != nil || !who.Root {
		t.Errorf("the token: %+v, %v", who, err)
	}
	boss := newPGPReader(t, "boss")
	if st, err = n.Ceremonies().GenerateRootStart(t.Context(), "", boss.public, ceremony.Starter{}); err != nil ||
		st.OTP != "" || len(st.PGPFingerprint) != 40 || !st.WithoutToken {
		t.Fatalf("%+v, %v", st, err)
	}
	h.wait(time.Hour)
	if st, err := n.Ceremonies().GenerateRootStatus(t.Context()); err != nil || st.Started {
		t.Errorf("an attempt without a token keeps others out for long: %+v, %v", st, err)
	}
	if _, err := n.Ceremonies().GenerateRootStart(t.Context(), "short", "", admin); !fault.Is(err, fault.Invalid) {
		t.Errorf("a short password: %v", err)
	}
}

func TestRewrapSeals(t *testing.T) {
	h := newHarness(t)
	n, stop, _ := h.initAuto(1, 1)
	h.write(n, "a", "1")
	before, keyring := h.raw(keySealed), h.raw("core/keyring")
	if err := n.RewrapSeals(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	old, _ := seals.UnmarshalRecord([]byte(before))
	now, _ := seals.UnmarshalRecord([]byte(h.raw(keySealed)))
	if bytes.Equal(old.Parts[0].Blob.Ciphertext, now.Parts[0].Blob.Ciphertext) || h.raw("core/keyring") != keyring ||
		old.Generation != now.Generation {
		t.Error("the blob is the same, or more than the blob changed")
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n))
	h.mustRead(n, "a", "1")
}

func TestRecoveryMode(t *testing.T) {
	for _, custodians := range []bool{false, true} {
		h := newHarness(t)
		set, req := h.autoSeals, InitRequest{RecoveryShares: 3, RecoveryThreshold: 2}
		if custodians {
			set, req = h.shamirSeals, InitRequest{SecretShares: 3, SecretThreshold: 2}
		}
		n, stop := h.start(set())
		res, err := n.Init(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		stop()
		shares := append(res.Keys, res.RecoveryKeys...)
		r, err := NewRecovery(Config{Store: h.store, Seals: set(), Now: h.clock})
		if err != nil {
			t.Fatal(err)
		}
		st, err := r.Start(t.Context(), "", "")
		if err != nil || len(st.OTP) != 28 {
			t.Fatalf("%+v, %v", st, err)
		}
		bad := shares[1].Clone()
		bad.Expose()[0] ^= 1
		if _, err := r.Give(t.Context(), st.Nonce, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("a wrong share: %v", err)
		}
		if _, err := r.Raw(""); !fault.Is(err, fault.Denied) {
			t.Errorf("without a token: %v", err)
		}
		var done ceremony.GenerateRootStatus
		for _, s := range shares[:2] {
			if done, err = r.Give(t.Context(), st.Nonce, s); err != nil {
				t.Fatal(err)
			}
		}
		token, err := recovery.DecodeToken(done.EncodedToken, st.OTP)
		if err != nil || !strings.HasPrefix(token, "hvr.") {
			t.Fatalf("token %q, %v", token, err)
		}
		raw, err := r.Raw(token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Get(t.Context(), "core/mounts"); err != nil {
			t.Error(err)
		}
		for _, path := range []string{"core/keyring", "core/seal", "core/recovery-shape", "../x"} {
			if _, err := raw.Get(t.Context(), path); !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", path, err)
			}
		}
		if err := raw.Put(t.Context(), "fixed/by-hand", []byte("x")); err != nil {
			t.Error(err)
		}
		if names, err := raw.List(t.Context(), "fixed/"); err != nil || len(names) != 1 {
			t.Errorf("%v, %v", names, err)
		}
		if _, err := r.Raw(token + "x"); !fault.Is(err, fault.Denied) {
			t.Errorf("another token: %v", err)
		}
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// TestNoRecoveryKeys: a token is enough to make the first recovery shares.
func TestNoRecoveryKeys(t *testing.T) {
	h := newHarness(t)
	n, _ := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Ceremonies().GenerateRootStart(t.Context(), "", "", admin); !fault.Is(err, fault.Invalid) {
		t.Errorf("generate-root without share holders: %v", err)
	}
	_, res, err := n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2},
		admin)
	if err != nil || res == nil || len(res.Keys) != 3 {
		t.Fatalf("%v, %v", res, err)
	}
	h.rekey(n, recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1}, res.Keys[1:])
}
