package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
	"github.com/sealgate/sealgate/seals"
)

// shelf is a target that fails on demand.
type shelf struct {
	mu      sync.Mutex
	objects map[string][]byte
	fail    error               // of every call
	change  func([]byte) []byte // what is returned for what was written; nil: the same
	hang    chan struct{}       // Create waits for it, whatever its context says; nil: it does not
}

func newShelf() *shelf { return &shelf{objects: map[string][]byte{}} }

func (s *shelf) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *shelf) names() (all []string) {
	s.set(func() { all = slices.Sorted(maps.Keys(s.objects)) })
	return all
}

type shelved struct {
	*shelf
	bytes.Buffer
	name string
}

func (s *shelf) Create(_ context.Context, name string) (target.Object, error) {
	var hang chan struct{}
	s.set(func() { hang = s.hang })
	if hang != nil {
		<-hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &shelved{shelf: s, name: name}, s.fail
}

func (o *shelved) Commit() error {
	o.set(func() { o.objects[o.name] = bytes.Clone(o.Bytes()) })
	return nil
}

func (o *shelved) Abort() {}

func (s *shelf) Open(_ context.Context, name string) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.objects[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if s.change != nil {
		b = s.change(bytes.Clone(b))
	}
	return io.NopCloser(bytes.NewReader(b)), s.fail
}

func (s *shelf) List(_ context.Context, prefix string) (names []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.objects {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, s.fail
}

func (s *shelf) Remove(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return s.fail
}

// scheduled starts an active node with one schedule.
func scheduled(t *testing.T, keep int) (*harness, *Node, *shelf, func() Schedule) {
	h, s := newHarness(t), newShelf()
	h.snapshots = []SnapshotSchedule{{Name: "daily", Every: time.Hour, Keep: keep, Within: time.Minute, Target: s}}
	n, _ := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	return h, n, s, func() Schedule { return schedule(t, n) }
}

func schedule(t *testing.T, n *Node) Schedule {
	t.Helper()
	all, err := SealAdminOf(n).Schedules(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0]
}

func firstJob(n *Node) *snapshotJob {
	jobs, _ := n.snapshots.jobs()
	return jobs[0]
}

// once makes the schedule's job do what is due, without its wait.
func once(t *testing.T, n *Node) *ScheduleState {
	t.Helper()
	j, a := firstJob(n), n.writer()
	st, ok := j.attempt(t.Context(), a.barrier, *j.current())
	if !ok {
		t.Fatal("the attempt was given up")
	}
	j.set(st)
	if err := writeSchedule(t.Context(), a.barrier, j.Name, st); err != nil {
		t.Fatal(err)
	}
	return st
}

// TestScheduledSnapshots: a snapshot is taken when the node becomes active, and stored only if it
// is one that could be restored; retention removes the oldest of this schedule and cluster.
func TestScheduledSnapshots(t *testing.T) {
	t.Parallel()
	h, n, s, now := scheduled(t, 2)
	eventually(t, "a first snapshot", func() bool { return !now().Verified.IsZero() })
	first := now()
	if first.Snapshot != s.names()[0] || !first.Next.Equal(first.Attempted.Add(time.Hour)) || first.Entries == 0 {
		t.Fatalf("%+v; the target has %q", first, s.names())
	}
	if c, err := SealAdminOf(n).VerifySnapshot(t.Context(), bytes.NewReader(s.objects[first.Snapshot])); err != nil ||
		!c.Ours || !c.Signed() {
		t.Errorf("%+v, %v", c, err)
	}
	foreign := []string{"daily-00000000-20200101T000000Z.snap", "other-20200101T000000Z.snap", "daily"}
	s.set(func() {
		for _, name := range foreign {
			s.objects[name] = nil
		}
	})
	var last *ScheduleState
	for range 3 {
		h.wait(time.Hour)
		last = once(t, n)
	}
	names := slices.DeleteFunc(s.names(), func(name string) bool { return slices.Contains(foreign, name) })
	if len(names) != 2 || names[1] != last.Snapshot || len(s.names()) != 5 {
		t.Errorf("after four snapshots of which two are kept: %q", s.names())
	}
}

// TestForeignSnapshotsNeitherCountNorGo: an attacker who may only add objects to the target makes
// retention remove none that it would have kept, and no state without names removes any.
func TestForeignSnapshotsNeitherCountNorGo(t *testing.T) {
	t.Parallel()
	h, n, s, now := scheduled(t, 2)
	eventually(t, "a first snapshot", func() bool { return !now().Verified.IsZero() })
	j := firstJob(n)
	eventually(t, "its state", func() bool {
		st, err := readSchedule(t.Context(), n.writer().barrier, "daily")
		return err == nil && len(st.Kept) == 1
	})
	h.wait(time.Hour)
	second := once(t, n)
	genuine := slices.Clone(second.Kept)
	if len(genuine) != 2 || !slices.Equal(genuine, s.names()) || now().Kept != nil {
		t.Fatalf("%+v; the target has %q", second, s.names())
	}
	planted := []string{j.prefix() + "20200101T000000Z.snap", j.prefix() + "29990101T000000Z.snap",
		j.prefix() + "29990102T000000Z.snap", j.prefix() + "29990103T000000Z.snap"}
	s.set(func() {
		for _, name := range planted {
			s.objects[name] = nil
		}
	})
	h.wait(time.Hour)
	third := once(t, n)
	want := slices.Sorted(slices.Values(append(slices.Clone(planted), genuine[1], third.Snapshot)))
	if !slices.Equal(s.names(), want) {
		t.Fatalf("with planted names the target has %q, want %q", s.names(), want)
	}
	if kept, err := readSchedule(t.Context(), n.writer().barrier, "daily"); err != nil ||
		!slices.Equal(kept.Kept, []string{genuine[1], third.Snapshot}) {
		t.Errorf("behind the barrier: %+v, %v", kept, err)
	}
	older := *third // of a program that kept no names
	older.Kept = nil
	j.set(&older)
	for i := range 3 {
		h.wait(time.Hour)
		once(t, n)
		if has := len(s.names()); has != len(want)+min(i+1, 2) {
			t.Errorf("%d snapshots after a state without names: %q", i+1, s.names())
		}
	}
}

// TestNamesOfASchedule: the objects of a schedule that is called like the prefix of another one are
// not of the other.
func TestNamesOfASchedule(t *testing.T) {
	t.Parallel()
	_, n, _, _ := scheduled(t, 2)
	j := firstJob(n)
	for name, want := range map[string]bool{
		j.prefix() + "20260102T030405Z.snap":                              true,
		j.prefix() + j.prefix()[len("daily-"):] + "20260102T030405Z.snap": false,
		j.prefix() + "x-01234567-20260102T030405Z.snap":                   false,
		j.prefix() + "20260102T030405Z":                                   false,
		"daily-00000000-20260102T030405Z.snap":                            false,
	} {
		if j.ours(name) != want {
			t.Errorf("%s: ours is %t", name, !want)
		}
	}
}

// TestScheduledSnapshotFails: an attempt that fails raises the alarm, is repeated with backoff, and
// removes nothing; one that succeeds ends the alarm and removes what was not verified.
func TestScheduledSnapshotFails(t *testing.T) {
	t.Parallel()
	h, n, s, now := scheduled(t, 1)
	eventually(t, "a first snapshot", func() bool { return !now().Verified.IsZero() })
	good := now().Snapshot
	corrupt := map[string]func([]byte) []byte{
		"cut":      func(b []byte) []byte { return b[:len(b)-9] },
		"extended": func(b []byte) []byte { return append(b, 'x') },
		"changed":  func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"older":    func([]byte) []byte { return s.objects[good] },
	}
	for name, change := range corrupt {
		h.wait(time.Hour)
		h.write(n, name, "entry")
		s.set(func() { s.change = change })
		st := once(t, n)
		if st.Failing.IsZero() || !strings.Contains(st.Error, "verifying:") || st.Snapshot != good ||
			!slices.Contains(s.names(), good) {
			t.Errorf("%s: %+v; %q", name, st, s.names())
		}
	}
	if got := n.Health().FailingSnapshot; got != "daily" {
		t.Errorf("health names %q", got)
	}
	if st, err := n.SealStatus(t.Context()); err != nil || !strings.Contains(strings.Join(st.Warnings, "\n"),
		`ALARM: the scheduled snapshot "daily" fails since`) {
		t.Errorf("%q, %v", st.Warnings, err)
	}
	s.set(func() { s.change, s.fail = nil, errors.New("the disk is full") })
	h.wait(time.Hour)
	st := once(t, n)
	if !strings.Contains(st.Error, "writing: the disk is full") || st.Failures != 5 || len(st.Bad) != 4 {
		t.Errorf("%+v", st)
	}
	if wait := firstJob(n).due(st).Sub(st.Attempted); wait != 16*time.Minute {
		t.Errorf("after five failures it waits %s", wait)
	}
	s.set(func() { s.fail = nil })
	h.wait(time.Hour)
	h.wrap.set(seals.Fail(seals.Unreachable, errTest, "wait"))
	if st := once(t, n); !strings.Contains(st.Error, "do not unwrap its root key") {
		t.Errorf("without its seal: %+v", st)
	}
	h.wrap.set(nil)
	h.wait(time.Hour)
	st = once(t, n)
	if st.Error != "" || !st.Failing.IsZero() || len(st.Bad) != 0 || !slices.Equal(s.names(), []string{st.Snapshot}) ||
		n.Health().FailingSnapshot != "" {
		t.Errorf("at last: %+v; %q", st, s.names())
	}
}

// TestScheduleSurvivesARestart: what was done is known behind the barrier, so that the next node
// waits for its time; a call that hangs keeps no node from stopping.
func TestScheduleSurvivesARestart(t *testing.T) {
	t.Parallel()
	h, s := newHarness(t), newShelf()
	h.snapshots = []SnapshotSchedule{{Name: "daily", Every: time.Hour, Keep: 3, Within: time.Minute, Target: s}}
	n, stop := h.start(h.autoSeals())
	if _, err := n.Init(t.Context(), InitRequest{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a first snapshot", func() bool { return !schedule(t, n).Verified.IsZero() })
	first := schedule(t, n)
	a := n.writer()
	eventually(t, "its state", func() bool {
		st, err := readSchedule(t.Context(), a.barrier, "daily")
		return err == nil && st.Snapshot == first.Snapshot
	})
	stop()
	n, stop = h.start(h.autoSeals())
	eventually(t, "active", isActive(n))
	if again := schedule(t, n); again.Snapshot != first.Snapshot || !again.Next.Equal(first.Next) {
		t.Errorf("after a restart: %+v, want %+v", again, first)
	}
	stop()
	hang := make(chan struct{})
	s.set(func() { s.hang = hang })
	h.wait(2 * time.Hour)
	n, stop = h.start(h.autoSeals())
	eventually(t, "an attempt", func() bool { return len(firstJob(n).busy) == 1 })
	stop()
	close(hang)
	eventually(t, "the end of the call", func() bool { return len(firstJob(n).busy) == 0 })
}

// TestSchedulesAreReplaced: an active node takes the snapshots of other schedules from now on, and
// one that keeps its name continues where it was.
func TestSchedulesAreReplaced(t *testing.T) {
	t.Parallel()
	_, n, s, now := scheduled(t, 2)
	eventually(t, "a first snapshot", func() bool { return !now().Verified.IsZero() })
	other := newShelf()
	daily := SnapshotSchedule{Name: "daily", Every: 2 * time.Hour, Keep: 3, Within: time.Minute, Target: s, Place: "moved"}
	hourly := SnapshotSchedule{Name: "hourly", Every: time.Hour, Keep: 1, Within: time.Minute, Target: other}
	ReplaceSnapshotSchedules(n, []SnapshotSchedule{daily, hourly})
	eventually(t, "a snapshot of the new schedule", func() bool { return len(other.names()) == 1 })
	var all []Schedule
	eventually(t, "the state of the old one", func() bool {
		var err error
		all, err = SealAdminOf(n).Schedules(t.Context())
		return err == nil && len(all) == 2 && !all[0].Verified.IsZero()
	})
	if first := all[0]; len(s.names()) != 1 || first.Target != "moved" || first.Keep != 3 ||
		!first.Next.Equal(first.Attempted.Add(2*time.Hour)) {
		t.Errorf("%+v; the target has %q", first, s.names())
	}
	ReplaceSnapshotSchedules(n, nil)
	if all, err := SealAdminOf(n).Schedules(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
