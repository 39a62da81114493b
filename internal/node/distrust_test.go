package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// stalling is a storage that is full for entries below a prefix.
type stalling struct {
	*inmem.Store
	prefix atomic.Pointer[string]
}

func (s *stalling) Commit(ctx context.Context, b storage.Batch) error {
	if p := s.prefix.Load(); p != nil && slices.ContainsFunc(b.Ops, func(op storage.Op) bool {
		return strings.HasPrefix(op.Key, *p)
	}) {
		return storage.ErrFull
	}
	return s.Store.Commit(ctx, b)
}

// compromised is a store whose keys were replaced, and an attacker who has the old ones. The rewrap
// stopped in a phase, and no node runs.
type compromised struct {
	*harness
	store *stalling
	m     *attacker
}

func compromise(t *testing.T, phase string) *compromised {
	t.Helper()
	h := newHarness(t)
	c := &compromised{harness: h, store: &stalling{Store: h.store.(*inmem.Store)}}
	h.store = c.store
	n, stop, _ := h.initAuto(1, 1)
	eventually(t, "active", isActive(n))
	h.write(n, "a", "before")
	c.data(n, "before")
	c.m = h.attacker(n, nil)
	stuck := "test/"
	if phase == phaseRewrap {
		stuck = "logical/"
	}
	c.store.prefix.Store(&stuck)
	ctx, cancel := context.WithCancel(t.Context())
	replaced := make(chan error, 1)
	go func() {
		_, err := KeysOf(n).ReplaceCompromised(ctx, 0) // returns when the control records are re-encrypted
		replaced <- err
	}()
	eventually(t, "the rewrap is at "+stuck, func() bool {
		job, err := KeysOf(n).Rewrap(t.Context())
		return err == nil && job != nil && job.Phase == phase
	})
	cancel()
	if err := <-replaced; err != nil {
		t.Fatal(err)
	}
	if phase == phaseRewrap {
		a, err := n.Role()
		if err != nil {
			t.Fatal(err)
		}
		if before, refused := a.barrier.Distrusted(); before != 2 || !refused {
			t.Fatalf("distrusted before %d, %v", before, refused)
		}
	}
	stop()
	c.store.prefix.Store(nil)
	return c
}

// data writes an entry of a secrets engine.
func (c *compromised) data(n *Node, value string) {
	c.t.Helper()
	a, err := n.Role()
	if err == nil {
		err = a.Store().Commit(c.t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("logical/m/a", []byte(value))}})
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *compromised) remove(path string) {
	c.t.Helper()
	err := c.store.Commit(c.t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete(path)}})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *compromised) plant(path string, plain []byte) {
	c.t.Helper()
	c.forge(path, c.m.ring.Seal(path, plain))
}

// TestCompromiseCannotBeStopped: who has the old keys and writes the storage replaces the state of
// the rewrap while no node leads. The next one starts again, and ends with the old term destroyed.
func TestCompromiseCannotBeStopped(t *testing.T) {
	t.Parallel()
	done := func(change func(*RewrapJob)) func(c *compromised) {
		return func(c *compromised) {
			j := &RewrapJob{ID: "x", State: RewrapDone, Phase: phaseRetire, Target: 2, Retire: true, Compromised: true,
				Cursor: "zzz", Passes: 1}
			change(j)
			c.plant(pathRewrapJob, j.marshal())
		}
	}
	attacks := map[string]func(c *compromised){
		"done":      done(func(*RewrapJob) {}),
		"cancelled": done(func(j *RewrapJob) { j.State = RewrapCancelled }),
		"paused":    done(func(j *RewrapJob) { j.State, j.Phase, j.Rate = RewrapPaused, phaseRewrap, 1 }),
		"ordinary":  done(func(j *RewrapJob) { j.Compromised = false }),
		"lower":     done(func(j *RewrapJob) { j.Target = 1 }),
		"malformed": func(c *compromised) { c.plant(pathRewrapJob, []byte("{")) },
		"foreign":   func(c *compromised) { c.forge(pathRewrapJob, []byte("nothing")) },
		"absent": func(c *compromised) {
			c.remove(pathRewrapJob)
		},
	}
	for _, phase := range []string{phaseControl, phaseRewrap} {
		for name, attack := range attacks {
			t.Run(fmt.Sprint(phase, "/", name), func(t *testing.T) {
				t.Parallel()
				c := compromise(t, phase)
				attack(c)
				n, _ := c.start(c.autoSeals())
				eventually(t, "active", isActive(n))
				job := c.rewrapped(n)
				if job.State != RewrapDone || !job.Compromised || !slices.Equal(job.Retired, []uint32{1}) || job.Target != 2 {
					t.Fatalf("%+v", job)
				}
				if status := n.role.Load().barrier; status.OldestTerm() != 2 {
					t.Errorf("term %d is still there", status.OldestTerm())
				}
				c.mustRead(n, "a", "before")
			})
		}
	}
}

// TestPauseEndsWithTheLeadership: a pause of the rewrap after a compromise is no way to keep the
// old terms.
func TestPauseEndsWithTheLeadership(t *testing.T) {
	t.Parallel()
	c := compromise(t, phaseRewrap)
	stuck := "logical/"
	c.store.prefix.Store(&stuck)
	n, stop := c.start(c.autoSeals())
	eventually(t, "active", isActive(n))
	if job, err := KeysOf(n).ControlRewrap(t.Context(), RewrapPaused, -1); err != nil || job.State != RewrapPaused {
		t.Fatalf("%+v, %v", job, err)
	}
	stop()
	c.store.prefix.Store(nil)
	n, _ = c.start(c.autoSeals())
	eventually(t, "active", isActive(n))
	if job := c.rewrapped(n); job.State != RewrapDone || !slices.Equal(job.Retired, []uint32{1}) {
		t.Fatalf("%+v", job)
	}
}

// TestPlantedControlRecords: once the control records are re-encrypted, none by an old term is
// believed: a node does not open with one, or does without what it says.
func TestPlantedControlRecords(t *testing.T) {
	t.Parallel()
	attestation, err := json.Marshal(map[string]any{"v": 1, "name": "his", "attested": attestation{Revision: 1 << 40}})
	if err != nil {
		t.Fatal(err)
	}
	for path, plain := range map[string][]byte{
		pathCluster: attestation, pathRecovery: []byte("x"), "core/mounts": []byte("x"), "core/auth": []byte("x"),
		"core/transcript/head": []byte("x"), "core/snapshot/key": []byte("x"), "auth/salt": []byte("x"),
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			c := compromise(t, phaseRewrap)
			genuine, err := c.store.Get(t.Context(), path)
			if err != nil && !errors.Is(err, storage.ErrNotFound) {
				t.Fatal(err)
			}
			c.plant(path, plain)
			log := &syncBuffer{}
			n, stop := c.startWith(c.autoSeals(), slog.New(slog.NewTextHandler(log, nil)))
			eventually(t, "the refusal", func() bool {
				return strings.Contains(log.String(), path) && strings.Contains(log.String(), "may be known to others")
			})
			if isActive(n)() {
				t.Error("a node serves with a control record of an old term")
			}
			stop()
			if c.remove(path); genuine != nil {
				c.forge(path, genuine)
			}
			n, _ = c.start(c.autoSeals())
			eventually(t, "active", isActive(n))
			if job := c.rewrapped(n); job.State != RewrapDone {
				t.Errorf("%+v", job)
			}
		})
	}
}

// TestPlantedDataKeepsTheAlarm: data by an old term that is put back behind the rewrap keeps the
// term, and the job continues with an alarm until it is gone.
func TestPlantedDataKeepsTheAlarm(t *testing.T) {
	t.Parallel()
	c := compromise(t, phaseRewrap)
	c.forge("logical/m/a", c.m.ring.Seal("logical/other", []byte("opens nowhere")))
	n, _ := c.start(c.autoSeals())
	eventually(t, "active", isActive(n))
	var job *RewrapJob
	eventually(t, "the alarm", func() bool {
		var err error
		job, err = KeysOf(n).Rewrap(t.Context())
		return err == nil && job.Problem != ""
	})
	if job.State != RewrapRunning || !slices.Equal(job.Damaged, []string{"logical/m/a"}) {
		t.Errorf("%+v", job)
	}
	c.data(n, "written again")
	if _, err := KeysOf(n).ControlRewrap(t.Context(), RewrapRunning, 0); err != nil { // now, not in five minutes
		t.Fatal(err)
	}
	if job := c.rewrapped(n); job.State != RewrapDone || !slices.Equal(job.Retired, []uint32{1}) {
		t.Errorf("%+v", job)
	}
}

// TestAdoptedCompromise: the compromise that an older program began, which knew no distrusted
// terms, is named by the keyring before the rewrap continues.
func TestAdoptedCompromise(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, stop, _ := h.initAuto(1, 1)
	eventually(t, "active", isActive(n))
	h.write(n, "a", "before")
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	job := &RewrapJob{ID: "x", State: RewrapRunning, Phase: phaseRewrap, Target: 2, Retire: true, Compromised: true,
		Cursor: "core/z"}
	tx := a.barrier.Begin()
	tx.RotateKeyring()
	tx.Put(pathRewrapJob, job.marshal())
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	n, _ = h.start(h.autoSeals())
	eventually(t, "active", isActive(n))
	if job := h.rewrapped(n); job.State != RewrapDone || !slices.Equal(job.Retired, []uint32{1}) || job.Passes == 0 {
		t.Fatalf("%+v", job)
	}
	if before, _ := n.role.Load().barrier.Distrusted(); before != 0 || h.raw(barrier.KeyringPath)[0] != 1 {
		t.Errorf("terms before %d are still distrusted", before)
	}
}

// TestSnapshotsOfDestroyedTerms: a retirement names the scheduled snapshots that need the terms,
// and the restore of one afterwards says what it needs and what to do.
func TestSnapshotsOfDestroyedTerms(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n, _, _ := h.initAuto(1, 1)
	eventually(t, "active", isActive(n))
	h.write(n, "a", "1")
	a, err := n.Role()
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if _, err := n.Snapshot(t.Context(), &archive, false); err != nil {
		t.Fatal(err)
	}
	h.wait(time.Hour)
	if err := n.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := &ScheduleState{Version: 1, Kept: []string{"nightly-12345678-20250101T000000Z.snap",
		"nightly-12345678-20990101T000000Z.snap"}}
	if err := writeSchedule(t.Context(), a.barrier, "nightly", st); err != nil {
		t.Fatal(err)
	}
	r, err := KeysOf(n).Retirement(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	warnings := strings.Join(r.Warnings, "\n")
	for _, words := range []string{
		`"nightly" keeps 1 snapshots that need these terms: nightly-12345678-20250101T000000Z.snap`,
		`"nightly" keeps 1 snapshots since the last rotation`,
	} {
		if !strings.Contains(warnings, words) {
			t.Errorf("no %q in:\n%s", words, warnings)
		}
	}

	if _, err := KeysOf(n).StartRewrap(t.Context(), 0, true); err != nil {
		t.Fatal(err)
	}
	if job := h.rewrapped(n); job.State != RewrapDone {
		t.Fatalf("%+v", job)
	}
	restore := func(force bool) error {
		_, err := n.Restore(t.Context(), bytes.NewReader(archive.Bytes()), force, nil)
		return err
	}
	err = restore(false)
	for _, words := range []string{"needs term 1, which was destroyed since (the oldest one left is term 2)",
		"snapshot restore -force"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Fatalf("%v; want %q", err, words)
		}
	}
	if err := restore(true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	h.mustRead(n, "a", "1")
}
