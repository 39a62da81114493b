package node

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// statuses are what a node reported under each version.
type statuses struct {
	t    *testing.T
	seen map[StatusVersion]string
}

// check asks a node, and compares the answer with the one under the same version before. It returns
// whether the version is a new one.
func (s *statuses) check(n *Node, when string) (isNew bool) {
	s.t.Helper()
	for {
		before, _ := StatusVersionOf(n)
		st, err := n.SealStatus(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		text, err := json.Marshal(struct {
			S SealStatus
			H Health
		}{st, n.Health()})
		if err != nil {
			s.t.Fatal(err)
		}
		if after, _ := StatusVersionOf(n); after != before {
			continue // it changed meanwhile
		}
		last, known := s.seen[before]
		if known && last != string(text) {
			s.t.Errorf("%s: the version is the same, the status is not:\n%s\n%s", when, last, text)
		}
		s.seen[before] = string(text)
		return !known
	}
}

// TestStatusVersion: whatever changes the status changes its version: progress of an unseal, a
// migration of the seals, a new configuration, failures of a seal, an alarm.
func TestStatusVersion(t *testing.T) {
	h := newHarness(t)
	s := &statuses{t, map[StatusVersion]string{}}
	changed := func(n *Node, when string) {
		t.Helper()
		if !s.check(n, when) {
			t.Errorf("%s: the version did not change", when)
		}
	}
	give := func(n *Node, share *secret.Bytes, migrate bool) {
		t.Helper()
		if err := n.Unseal(t.Context(), share, migrate); err != nil {
			t.Fatal(err)
		}
	}
	n, stop := h.start(h.shamirSeals())
	changed(n, "uninitialised")
	res, err := n.Init(t.Context(), InitRequest{SecretShares: 3, SecretThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	changed(n, "initialised")
	give(n, res.Keys[0], false)
	changed(n, "one share")
	give(n, res.Keys[1], false)
	changed(n, "unsealed")
	alarm := errors.New("forged")
	n.tampered.Store(&alarm)
	changed(n, "an alarm")
	lost := errors.New("commits are lost")
	n.commits.lost.Store(&lost)
	changed(n, "lost commits")
	j := &snapshotJob{SnapshotSchedule: SnapshotSchedule{Name: "daily"}, n: n}
	n.snapshots.all = append(n.snapshots.all, j)
	j.set(&ScheduleState{Failing: h.clock(), Error: "the bucket is gone"})
	changed(n, "a snapshot that fails")
	j.set(&ScheduleState{Failing: h.clock(), Error: "the bucket is full"})
	changed(n, "a snapshot that fails otherwise")
	j.set(&ScheduleState{})
	s.check(n, "a snapshot that succeeds again")
	stop()

	box := h.set(seals.Seal{Name: "box", Type: "static", Wrapper: h.wrap})
	n, stop = h.startFrom(h.shamirSeals(), box)
	eventually(t, "a pending migration", n.migration.pending)
	changed(n, "a pending migration")
	give(n, res.Keys[0], true)
	changed(n, "one share of the migration")
	give(n, res.Keys[1], true)
	changed(n, "migrated")
	stop()

	n, _ = h.start(h.autoSeals())
	eventually(t, "unsealed", isActive(n))
	changed(n, "unsealed automatically")
	if _, err := n.ReplaceSeals(t.Context(), h.set(seals.Seal{Name: "box", Type: "static", Wrapper: h.wrap},
		h.box("bb"))); err != nil {
		t.Fatal(err)
	}
	changed(n, "a new configuration")
	h.wrap.set(errors.New("no device"))
	eventually(t, "the probe fails", func() bool { return s.check(n, "probing") && !n.Health().WouldUnseal })
	h.wrap.set(nil)
	eventually(t, "the probe succeeds", func() bool { return s.check(n, "probing") && n.Health().WouldUnseal })
}
