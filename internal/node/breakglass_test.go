package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
)

// enrol runs the ceremony of a purpose with shares, and returns its last state.
func (h *harness) enrol(n *Node, p recovery.Purpose, shares []*secret.Bytes) {
	h.t.Helper()
	e := n.Ceremonies().Enrolment
	st, err := e.Start(h.t.Context(), p, admin)
	for _, s := range shares {
		if err != nil {
			h.t.Fatal(err)
		}
		st, err = e.Give(h.t.Context(), p, st.Nonce, s)
	}
	if err != nil || !st.Complete || st.Enrolled != (p == recovery.PurposeBreakGlassEnroll) {
		h.t.Fatalf("%s: %+v, %v", p, st, err)
	}
}

// lose makes the harness's seal fail as one whose key is gone.
func (h *harness) lose() { h.wrap.set(seals.Fail(seals.KeyGone, errTest, "restore the key")) }

// startSealed starts a node whose configuration allows break-glass, and waits until its seals have
// failed.
func (h *harness) startSealed(set *seals.Set) (n *Node, stop func()) {
	h.t.Helper()
	h.glass = true
	n, stop = h.start(set)
	eventually(h.t, "the seals fail", func() bool { return n.state.Load().trouble != nil })
	return n, stop
}

// breaks gives shares until one is refused or the node is unsealed.
func breaks(n *Node, shares ...*secret.Bytes) error {
	for _, s := range shares {
		if err := BreakGlassOf(n).Give(context.Background(), s); err != nil {
			return err
		}
	}
	return nil
}

// lastRecord returns the newest record of the transcript.
func lastRecord(t *testing.T, n *Node) transcript.Record {
	t.Helper()
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := (integrity{n}).transcriptHead(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	head, err := transcript.UnmarshalHead(raw)
	if err != nil {
		t.Fatal(err)
	}
	names, err := n.Ceremonies().Transcripts(t.Context())
	if err != nil || uint64(len(names)) != head.Seq {
		t.Fatalf("%v, %v", names, err)
	}
	signed, err := a.barrier.Get(t.Context(), "core/transcript/log/"+names[len(names)-1][:8])
	if err != nil {
		t.Fatal(err)
	}
	s, err := transcript.Unmarshal(signed)
	if err != nil {
		t.Fatal(err)
	}
	return s.Record
}

// TestBreakGlass: the holders of the recovery shares enrol, every seal is lost, a quorum unseals
// the server, and the record of who did it is there before anything is served. A new seal takes the
// place of the lost one, and the enrolment stays.
func TestBreakGlass(t *testing.T) {
	h := newHarness(t)
	n, stop := h.start(h.autoSeals())
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 3, RecoveryThreshold: 2,
		Holders: []string{"ann", "ben", "cy"}})
	if err != nil {
		t.Fatal(err)
	}
	shares := res.RecoveryKeys
	h.write(n, "a", "1")
	h.enrol(n, recovery.PurposeBreakGlassEnroll, shares[:2])
	if r := lastRecord(t, n); r.Purpose != "break-glass-enroll" || len(r.Given) != 2 || r.Given[1].Name != "ben" {
		t.Errorf("%+v", r)
	}
	if err := n.RotateRoot(t.Context()); err != nil { // without anybody's share
		t.Fatal(err)
	}
	if err := n.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.write(n, "b", "2")
	stop()

	h.lose()
	set := h.autoSeals()
	n, stop = h.startSealed(set)
	if st := BreakGlassOf(n).Status(); !st.Enrolled || st.Required != 2 || st.Shares != 3 {
		t.Errorf("%+v", st)
	}
	if err := breaks(n, shares[2], shares[2]); err != nil || !n.sealed() {
		t.Fatalf("one share, twice: %v", err)
	}
	if st := BreakGlassOf(n).Status(); st.Progress != 1 || st.Nonce == "" {
		t.Errorf("%+v", st)
	}
	if err := breaks(n, shares[0]); err != nil {
		t.Fatal(err)
	}
	h.mustRead(n, "a", "1")
	h.mustRead(n, "b", "2")
	r := lastRecord(t, n)
	if r.Purpose != "break-glass" || len(r.Given) != 2 || r.Given[0].Name != "cy" || r.Given[1].Name != "ann" ||
		!strings.Contains(r.Reason, errTest.Error()) || r.Finished.IsZero() {
		t.Errorf("%+v", r)
	}
	st, err := n.SealStatus(t.Context())
	if err != nil || !slices.Contains(st.Warnings, brokenText) {
		t.Errorf("%q, %v", st.Warnings, err)
	}

	// A new seal in place of the lost one: a quorum authorises it.
	next := h.set(set.Seals()[0], h.box("cc"))
	if _, err := n.ReplaceSeals(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	h.refused("-purpose=seals")(SealAdminOf(n).Replace(t.Context(), "cc", "", []string{"box"}, admin))
	h.refused("holds no part")(SealAdminOf(n).Replace(t.Context(), "cc", "", []string{"other"}, admin))
	h.grantSeals(n, "replace box with cc", shares[:2])
	h.change(SealAdminOf(n).Replace(t.Context(), "cc", "", []string{"box"}, admin))
	eventually(t, "the warning ends", func() bool { return !n.unsealedByShares() })
	h.write(n, "c", "3")
	stop()
	n, _ = h.start(h.set(next.Seals()[1]))
	eventually(t, "unsealed by the new seal", isActive(n))
	h.mustRead(n, "c", "3")
	if !n.state.Load().breakGlass {
		t.Error("the enrolment ended")
	}
	if err := breaks(n, shares[0]); err != nil {
		t.Errorf("an unsealed node: %v", err)
	}
}

// grantSeals lets a quorum authorise one change of the seals.
func (h *harness) grantSeals(n *Node, change string, shares []*secret.Bytes) {
	h.t.Helper()
	g := n.Ceremonies().Grants
	what, err := SealAdminOf(n).Subject(h.t.Context(), change)
	if err != nil {
		h.t.Fatal(err)
	}
	st, err := g.Start(h.t.Context(), recovery.PurposeAuthorizeSeals, what, admin)
	for _, s := range shares {
		if err != nil {
			h.t.Fatal(err)
		}
		st, err = g.Give(h.t.Context(), recovery.PurposeAuthorizeSeals, st.Nonce, s)
	}
	if err != nil || !st.Complete {
		h.t.Fatalf("%+v, %v", st, err)
	}
}

// TestBreakGlassIsRefused: without the enrolment, without the setting, while a seal works, with
// wrong and too few shares, and a stranger cannot end an attempt.
func TestBreakGlassIsRefused(t *testing.T) {
	h := newHarness(t)
	n, stop, shares := h.initAuto(3, 2)
	refused := func(err error, words string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v; want %q", err, words)
		}
	}
	e := n.Ceremonies().Enrolment
	_, err := e.Start(t.Context(), recovery.PurposeBreakGlassRemove, admin)
	refused(err, "not enrolled")
	_, err = e.Give(t.Context(), recovery.PurposeBreakGlassEnroll, "", shares[0])
	refused(err, "no enrolment for break-glass in progress")
	st, err := e.Start(t.Context(), recovery.PurposeBreakGlassEnroll, admin)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Start(t.Context(), recovery.PurposeBreakGlassEnroll, admin)
	refused(err, "already in progress")
	_, err = e.Give(t.Context(), recovery.PurposeBreakGlassEnroll, "another", shares[0])
	refused(err, "nonce")
	if _, err = e.Give(t.Context(), recovery.PurposeBreakGlassEnroll, st.Nonce, shares[0]); err != nil {
		t.Fatal(err)
	}
	_, err = e.Give(t.Context(), recovery.PurposeBreakGlassEnroll, st.Nonce, shares[0])
	refused(err, "already been provided")
	refused(e.Cancel(t.Context(), recovery.PurposeBreakGlassEnroll, "another", admin), "incorrect nonce")
	if err := e.Cancel(t.Context(), recovery.PurposeBreakGlassEnroll, st.Nonce, admin); err != nil {
		t.Fatal(err)
	}
	if r := lastRecord(t, n); r.Outcome != transcript.Cancelled || r.Purpose != "break-glass-enroll" {
		t.Errorf("%+v", r)
	}
	stop()

	h.lose()
	n, stop = h.startSealed(h.autoSeals())
	refused(breaks(n, shares[0]), "nobody is enrolled")
	stop()
	h.wrap.set(nil)
	n, stop = h.start(h.autoSeals())
	eventually(t, "active", isActive(n))
	h.enrol(n, recovery.PurposeBreakGlassEnroll, shares[1:])
	_, err = n.Ceremonies().Enrolment.Start(t.Context(), recovery.PurposeBreakGlassEnroll, admin)
	refused(err, "enrolled for break-glass already")
	if err := n.Seal(t.Context()); err != nil { // its seals work
		t.Fatal(err)
	}
	refused(breaks(n, shares[0]), "have not failed")
	stop()

	h.lose()
	h.glass = false
	n, stop = h.start(h.autoSeals())
	eventually(t, "the seals fail", func() bool { return n.state.Load().trouble != nil })
	refused(breaks(n, shares[0]), "break_glass = true")
	stop()

	n, _ = h.startSealed(h.autoSeals())
	_, strangers := h.mallory(recovery.Recovery)
	refused(breaks(n, shares[0], strangers), "not one of the current shares")
	refused(BreakGlassOf(n).Cancel(t.Context(), strangers), "not one of the current shares")
	if st := BreakGlassOf(n).Status(); st.Progress != 1 {
		t.Errorf("a stranger ended the attempt: %+v", st)
	}
	if err := BreakGlassOf(n).Cancel(t.Context(), shares[1]); err != nil {
		t.Error(err)
	}
	if st := BreakGlassOf(n).Status(); st.Progress != 0 {
		t.Errorf("%+v", st)
	}
	if err := breaks(n, shares[0]); err != nil {
		t.Fatal(err)
	}
	h.wrap.set(nil) // the seal is back: its unseal ends the attempt
	eventually(t, "unsealed by the seal", isActive(n))
	if n.glass.attempt.Load() != nil || n.unsealedByShares() {
		t.Error("the shares of an attempt are still in memory")
	}
}

// TestBreakGlassEndsWithTheShares: a rekey renews the enrolment and the keys, a removal ends it. A
// copy of the storage from before opens, for the shares of that time, nothing that is written
// afterwards.
func TestBreakGlassEndsWithTheShares(t *testing.T) {
	for _, removal := range []bool{false, true} {
		h := newHarness(t)
		n, stop, shares := h.initAuto(3, 2)
		h.write(n, "a", "1")
		h.enrol(n, recovery.PurposeBreakGlassEnroll, shares[:2])
		before := h.raw(keyBreakGlass)
		left := h.copyFor(n.seals.Load())
		fresh := shares
		if removal {
			h.enrol(n, recovery.PurposeBreakGlassRemove, shares[:2])
			if _, err := h.store.Get(t.Context(), keyBreakGlass); err == nil {
				t.Error("the record stays after the removal")
			}
		} else {
			fresh = h.rekey(n, recovery.Recovery, recovery.Params{Shares: 3, Threshold: 2}, shares[:2])
		}
		h.writtenAfter(n, left)
		if got := n.state.Load().breakGlass; got == removal {
			t.Errorf("enrolled: %t", got)
		}
		stop()

		h.lose()
		n, stop = h.startSealed(h.autoSeals())
		if removal {
			if err := breaks(n, shares[:2]...); err == nil || !strings.Contains(err.Error(), "nobody is enrolled") {
				t.Errorf("after the removal: %v", err)
			}
			h.forge(keyBreakGlass, []byte(before)) // put back by a storage writer
			stop()
			n, _ = h.startSealed(h.autoSeals())
			if err := breaks(n, shares[:2]...); err == nil || !strings.Contains(err.Error(), "of another root key") {
				t.Errorf("a record that was put back: %v", err)
			}
			continue
		}
		if err := breaks(n, shares[0]); err == nil || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("a replaced share: %v", err)
		}
		if err := breaks(n, fresh[1:]...); err != nil {
			t.Fatal(err)
		}
		h.mustRead(n, "after", "secret")
	}
}

// TestPlantedBreakGlassRecords: whatever a storage writer makes of the record, on a sealed server
// or a live one, neither his shares nor the holders' open it.
func TestPlantedBreakGlassRecords(t *testing.T) {
	h := newHarness(t)
	n, stop, shares := h.initAuto(3, 2)
	h.enrol(n, recovery.PurposeBreakGlassEnroll, shares[:2])
	own := h.raw(keyBreakGlass)
	his, hisShares, err := recovery.NewBreakGlassSet(nil, 3, 2, rand.Reader, h.clock())
	if err != nil {
		t.Fatal(err)
	}
	record := h.record()
	planted, err := recovery.SealBreakGlass(secret.New(make([]byte, 32)), record.Cluster, record.Generation, his)
	if err != nil {
		t.Fatal(err)
	}

	// On a live server nothing of it is believed: the next root key goes to the enrolled quorum.
	h.forge(keyBreakGlass, planted.Marshal())
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	stored, of, err := recovery.UnmarshalBreakGlass([]byte(h.raw(keyBreakGlass)))
	if err != nil || of.ID != n.state.Load().shareSet.ID || bytes.Equal(stored.ShareSet, planted.ShareSet) {
		t.Fatalf("the root key was encrypted to the storage writer: %v", err)
	}
	h.forge(keyBreakGlass, planted.Marshal())
	(enrolment{n}).maintain(t.Context())
	if r, _, err := recovery.UnmarshalBreakGlass([]byte(h.raw(keyBreakGlass))); err != nil ||
		bytes.Equal(r.ShareSet, planted.ShareSet) {
		t.Errorf("a planted record stays: %v", err)
	}
	current := h.raw(keyBreakGlass)
	stop()
	h.lose()

	record = h.record()
	replanted, err := recovery.SealBreakGlass(secret.New(make([]byte, 32)), record.Cluster, record.Generation, his)
	if err != nil {
		t.Fatal(err)
	}
	toThem := n.state.Load().shareSet.Public() // their public key is no secret
	toThem.RecordKey = secret.New(make([]byte, recovery.SeedLen))
	forged, err := recovery.SealBreakGlass(secret.New(make([]byte, 32)), record.Cluster, record.Generation, toThem)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		stored []byte
		shares []*secret.Bytes
		want   string
	}{
		"his own":                   {replanted.Marshal(), hisShares[:2], "somebody changed the storage"},
		"to his shares, by holders": {replanted.Marshal(), shares[:2], "not one of the current shares"},
		"to the holders, by him":    {forged.Marshal(), shares[:2], "somebody changed the storage"},
		"an older one":              {[]byte(own), shares[:2], "of another root key"},
		"garbage":                   {[]byte("garbage"), shares[:2], "nobody is enrolled"},
		"too few shares":            {[]byte(current), shares[:1], ""},
	} {
		t.Run(name, func(t *testing.T) {
			h.forge(keyBreakGlass, tc.stored)
			n, stop := h.startSealed(h.autoSeals())
			defer stop()
			err := breaks(n, tc.shares...)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v; want %q", err, tc.want)
			}
			if !n.sealed() {
				t.Error("it unsealed the server")
			}
		})
	}
	h.forge(keyBreakGlass, []byte(current))
	n, _ = h.startSealed(h.autoSeals())
	if err := breaks(n, shares[1:]...); err != nil {
		t.Fatal(err)
	}
}

// TestEnrolmentWhileSharesAreVerified: new shares that were made before an enrolment do not
// decrypt, and the enrolment of the old ones ends with them; those that were made before a removal
// do not bring the enrolment back.
func TestEnrolmentWhileSharesAreVerified(t *testing.T) {
	for _, enrolledBefore := range []bool{false, true} {
		h := newHarness(t)
		n, _, shares := h.initAuto(2, 2)
		if enrolledBefore {
			h.enrol(n, recovery.PurposeBreakGlassEnroll, shares)
		}
		fresh := h.rekey(n, recovery.Recovery, recovery.Params{Shares: 2, Threshold: 2, Verification: true}, shares)
		if enrolledBefore {
			h.enrol(n, recovery.PurposeBreakGlassRemove, shares)
		} else {
			h.enrol(n, recovery.PurposeBreakGlassEnroll, shares)
		}
		st, err := n.Ceremonies().RekeyVerifyStatus(t.Context(), recovery.Recovery)
		for _, s := range fresh {
			if err != nil {
				t.Fatal(err)
			}
			st, err = n.Ceremonies().RekeyVerify(t.Context(), recovery.Recovery, st.Nonce, s)
		}
		if err != nil || !st.Complete {
			t.Fatalf("%+v, %v", st, err)
		}
		if n.state.Load().breakGlass {
			t.Error("the new shares decrypt")
		}
		if _, err := h.store.Get(t.Context(), keyBreakGlass); err == nil {
			t.Error("a break-glass record is left")
		}
	}
}

// TestSharesOfBreakGlassAreInNoLog: neither an enrolment nor an unseal by break-glass shows a
// share, in the log, in an error or in the status.
func TestSharesOfBreakGlassAreInNoLog(t *testing.T) {
	h := newHarness(t)
	buf := &syncBuffer{}
	log := slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.glass = true
	n, stop := h.startWith(h.autoSeals(), log)
	res, err := n.Init(t.Context(), InitRequest{RecoveryShares: 2, RecoveryThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	h.enrol(n, recovery.PurposeBreakGlassEnroll, res.RecoveryKeys)
	stop()
	h.lose()
	n, _ = h.startWith(h.autoSeals(), log)
	eventually(t, "the seals fail", func() bool { return n.state.Load().trouble != nil })
	if err := breaks(n, res.RecoveryKeys...); err != nil {
		t.Fatal(err)
	}
	for _, s := range res.RecoveryKeys {
		for _, form := range []string{
			string(s.Expose()), hex.EncodeToString(s.Expose()), base64.StdEncoding.EncodeToString(s.Expose()),
		} {
			if strings.Contains(buf.String(), form) {
				t.Errorf("the log has a share:\n%s", buf.String())
			}
		}
	}
	var stored []byte
	for _, key := range []string{keyBreakGlass, keySealed, barrier.KeyringPath, pathRecovery} {
		raw, err := h.store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, raw...)
	}
	for _, s := range res.RecoveryKeys {
		if bytes.Contains(stored, s.Expose()) {
			t.Error("a share is stored")
		}
	}
}

// TestBreakGlassInACluster: the first node that a quorum unseals leads and records it; a node that
// joins the leader serves nothing before the leader has recorded its unseal too.
func TestBreakGlassInACluster(t *testing.T) {
	e, res := newTestCluster(t, 1, false)
	shares := res.RecoveryKeys
	leader, a := e.leader()
	e.enrol(leader, recovery.PurposeBreakGlassEnroll, shares[:2])
	if err := e.put(a, "test/a", "1"); err != nil {
		t.Fatal(err)
	}
	e.stops[0]()
	e.lose()
	e.glass, e.nodes = true, nil
	first, second := e.add(false), e.add(false)
	for _, n := range []*Node{first, second} {
		eventually(t, "the seals fail", func() bool { return n.state.Load().trouble != nil })
	}
	if err := breaks(first, shares[1:]...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first node leads", func() bool { return first.writer() != nil })
	if r := lastRecord(t, first); r.Purpose != "break-glass" || len(r.Given) != 2 {
		t.Errorf("%+v", r)
	}
	if err := breaks(second, shares[:2]...); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second node waits", func() bool { return second.glass.waiting.Load() != nil })
	if second.role.Load() != nil {
		t.Error("it serves before its unseal is recorded")
	}
	self := second.replica.Self
	self.Report = SealAdminOf(second).announced()
	if err := first.replica.Echo(self); err != nil { // the nodes of a test have no listener
		t.Fatal(err)
	}
	eventually(t, "the second node serves", func() bool { return second.role.Load() != nil })
	if second.glass.waiting.Load() != nil || second.glass.pending.Load() != nil {
		t.Error("the second node still waits")
	}
	r := lastRecord(t, first)
	if r.Purpose != "break-glass" || !strings.Contains(r.Reason, "n2") || r.Given[0].Number != 1 {
		t.Errorf("%+v", r)
	}
	if names, err := first.Ceremonies().Transcripts(t.Context()); err != nil || len(names) != 3 {
		t.Errorf("%q, %v", names, err)
	}
}

// TestBreakGlassWhileSharesAreReplaced: the shares are replaced after break-glass has unsealed a
// standby, and before the leader has recorded that. The node does not wait for ever: it takes the
// current shares, or its seals once they work again, and the leader records what it did.
func TestBreakGlassWhileSharesAreReplaced(t *testing.T) {
	for _, again := range []string{"shares", "seals"} {
		t.Run(again, func(t *testing.T) {
			t.Parallel()
			e, res := newTestCluster(t, 1, false)
			leader, a := e.leader()
			e.enrol(leader, recovery.PurposeBreakGlassEnroll, res.RecoveryKeys[:2])
			if err := e.put(a, "test/a", "1"); err != nil {
				t.Fatal(err)
			}
			lost := &flaky{Wrapper: e.wrap.Wrapper, fail: seals.Fail(seals.KeyGone, errTest, "restore the key")}
			e.glass = true
			second := e.addWith(e.hub.Open(), e.set(seals.Seal{Name: "box", Type: "static", Wrapper: lost}), nil)
			eventually(t, "the seals fail", func() bool { return second.state.Load().trouble != nil })
			if err := breaks(second, res.RecoveryKeys[1:]...); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the second node waits", func() bool { return second.glass.waiting.Load() != nil })
			self := second.replica.Self
			self.Report = SealAdminOf(second).announced()
			fresh := e.rekey(leader, recovery.Recovery, recovery.Params{Shares: 1, Threshold: 1}, res.RecoveryKeys[:2])
			eventually(t, "the second node seals", second.sealed)

			if again == "seals" {
				lost.set(nil)
			} else {
				eventually(t, "it knows the new shares, and has tried its seals", func() bool {
					return BreakGlassOf(second).Status().Generation == 2 && second.state.Load().trouble != nil
				})
				if err := breaks(second, fresh[0]); err != nil {
					t.Fatal(err)
				}
				self.Report = SealAdminOf(second).announced()
			}
			eventually(t, "the second node waits again", func() bool { return second.glass.waiting.Load() != nil })
			if err := leader.replica.Echo(self); err != nil { // the nodes of a test have no listener
				t.Fatal(err)
			}
			eventually(t, "the second node serves", func() bool { return second.role.Load() != nil })
			r := lastRecord(t, leader)
			if again == "shares" {
				if len(r.Given) != 1 || r.GenerationBefore != 2 || r.Required != 1 {
					t.Errorf("%+v", r)
				}
				return
			}
			if len(r.Given) != 2 || r.Given[1].Number != 3 || r.Given[1].Name != "" || r.GenerationBefore != 1 ||
				r.Required != 2 || !strings.Contains(r.Reason, "by shares of generation 1, which were replaced") {
				t.Errorf("%+v", r)
			}
		})
	}
}
