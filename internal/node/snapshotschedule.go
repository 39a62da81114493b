package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot/target"
)

// SnapshotSchedule is a snapshot that the active node takes again and again.
type SnapshotSchedule struct {
	Name   string
	Every  time.Duration
	Keep   int           // newest snapshots that stay
	Within time.Duration // deadline of one, with its verification
	Target target.Target
	Place  string // of the target, as it is shown
}

// pathSchedules is where the state of each schedule is: JSON, with the version in "v".
const pathSchedules = "core/snapshot/schedule/" // + name

// ScheduleState is the result of a schedule's last run. The entry outlives a change of leader.
type ScheduleState struct {
	Version   int       `json:"v"`
	Attempted time.Time `json:"attempted"`           // start of the last attempt
	Verified  time.Time `json:"verified,omitzero"`   // start of the last one that was verified
	Snapshot  string    `json:"snapshot,omitempty"`  // its name
	Entries   int64     `json:"entries,omitempty"`   // in it
	Bytes     int64     `json:"bytes,omitempty"`     // of its file
	Failing   time.Time `json:"failing,omitzero"`    // since when attempts fail; zero: the last did not
	Failures  int       `json:"failures,omitempty"`  // in a row
	Error     string    `json:"error,omitempty"`     // of the last attempt
	Bad       []string  `json:"bad,omitempty"`       // stored, and not verified
	Kept      []string  `json:"kept,omitempty"`      // verified, in the order of their attempts
	Retention string    `json:"retention,omitempty"` // why old ones could not be removed
}

const (
	scheduleVersion = 1
	// maxBad bounds the names of unverified snapshots that a state keeps, and those of verified ones
	// beyond Keep, which a target does not remove.
	maxBad = 100
	// snapshotTime is the time in the name of a snapshot.
	snapshotTime, snapshotSuffix = "20060102T150405Z", ".snap"
	// snapshotRetry is the first wait after a failed attempt; it doubles up to maxSnapshotRetry, and
	// never exceeds the time between two snapshots.
	snapshotRetry, maxSnapshotRetry = time.Minute, time.Hour
	// recheckSchedule bounds a wait, so that a clock that was set is noticed.
	recheckSchedule = time.Minute
	// roleWait is the time between looks at a role that is about to begin.
	roleWait = 20 * time.Millisecond
)

// snapshotScheduler takes the scheduled snapshots of a node while it is active.
type snapshotScheduler struct {
	n *Node

	mu      sync.Mutex
	all     []*snapshotJob
	changed chan struct{} // closed when all is replaced
	sampled bool          // the metrics are registered
}

// snapshotJob is one schedule.
type snapshotJob struct {
	SnapshotSchedule
	n    *Node
	busy chan struct{} // held by an attempt: a call of a target can outlast its role

	mu    sync.Mutex
	state *ScheduleState // nil: this node is not active
}

func newSnapshotScheduler(n *Node) *snapshotScheduler {
	s := &snapshotScheduler{n: n, changed: make(chan struct{})}
	s.replace(n.cfg.Snapshots)
	return s
}

// ReplaceSnapshotSchedules makes a node use other schedules from now on. A schedule keeps its state
// under its name. A snapshot in progress is given up, and taken again where it is still due.
func ReplaceSnapshotSchedules(n *Node, all []SnapshotSchedule) { n.snapshots.replace(all) }

func (s *snapshotScheduler) replace(all []SnapshotSchedule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var jobs []*snapshotJob
	for _, c := range all {
		j := &snapshotJob{SnapshotSchedule: c, n: s.n, busy: make(chan struct{}, 1)}
		for _, old := range s.all {
			if old.Name == c.Name {
				j.busy = old.busy // its attempt may not have ended
			}
		}
		jobs = append(jobs, j)
	}
	close(s.changed)
	s.all, s.changed = jobs, make(chan struct{})
	if m := s.n.cfg.Metrics; len(jobs) > 0 && m != nil && !s.sampled {
		s.sampled = true
		m.Help("sealgate.snapshot.failing", "1 while a scheduled snapshot could not be taken or verified.")
		m.Help("sealgate.snapshot.verified_age_seconds", "Age of the newest verified snapshot of a schedule.")
		m.Sampled(s.sample)
	}
}

// jobs returns the schedules, and what is closed when they are replaced.
func (s *snapshotScheduler) jobs() ([]*snapshotJob, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, s.changed
}

// each calls f with each schedule whose state this node has.
func (s *snapshotScheduler) each(f func(*snapshotJob, *ScheduleState)) {
	jobs, _ := s.jobs()
	for _, j := range jobs {
		if st := j.current(); st != nil {
			f(j, st)
		}
	}
}

func (s *snapshotScheduler) sample(m *metrics.Sample) {
	s.each(func(j *snapshotJob, st *ScheduleState) {
		m.Gauge("sealgate.snapshot.failing", metrics.Truth(!st.Failing.IsZero()), "schedule", j.Name)
		if !st.Verified.IsZero() {
			m.Gauge("sealgate.snapshot.verified_age_seconds", s.n.cfg.Now().Sub(st.Verified).Seconds(), "schedule", j.Name)
		}
	})
}

// failing returns the name of a schedule whose last attempt failed, as far as this node takes them;
// "" for none. It reads memory alone.
func (s *snapshotScheduler) failing() (name, cause string) {
	s.each(func(j *snapshotJob, st *ScheduleState) {
		if name == "" && !st.Failing.IsZero() {
			name, cause = j.Name, st.Error
		}
	})
	return name, cause
}

// warnings describes the schedules whose last attempt failed.
func (s *snapshotScheduler) warnings() (out []string) {
	s.each(func(j *snapshotJob, st *ScheduleState) {
		if !st.Failing.IsZero() {
			out = append(out, fmt.Sprintf("ALARM: the scheduled snapshot %q fails since %s: %s", j.Name,
				st.Failing.Format(time.RFC3339), st.Error))
		}
	})
	return out
}

// worker returns the function that takes the snapshots of a role that may write.
func (s *snapshotScheduler) worker(b *barrier.Barrier) func(context.Context) {
	jobs, changed := s.jobs()
	return func(ctx context.Context) {
		for ctx.Err() == nil {
			within, cancel := context.WithCancel(ctx)
			var wg sync.WaitGroup
			for _, j := range jobs {
				wg.Go(func() { j.run(within, b) })
			}
			select {
			case <-ctx.Done():
			case <-changed:
			}
			cancel()
			wg.Wait()
			jobs, changed = s.jobs()
		}
	}
}

func (j *snapshotJob) current() *ScheduleState {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}

func (j *snapshotJob) set(st *ScheduleState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state = st
}

// run takes snapshots until ctx ends.
func (j *snapshotJob) run(ctx context.Context, b *barrier.Barrier) {
	defer j.set(nil)
	st, err := readSchedule(ctx, b, j.Name)
	if err != nil {
		j.n.log.Warn("the state of a scheduled snapshot could not be read; a snapshot is taken now", "schedule", j.Name,
			"error", err)
		st = &ScheduleState{}
	}
	j.set(st)
	for a := j.n.writer(); a == nil || a.barrier != b; a = j.n.writer() {
		if !clock.Sleep(ctx, roleWait) { // the role is published soon, or ends
			return
		}
	}
	for {
		wait := j.due(st).Sub(j.n.cfg.Now())
		if wait > 0 {
			if !clock.Sleep(ctx, min(wait, recheckSchedule)) {
				return
			}
			continue
		}
		next, ok := j.attempt(ctx, b, *st)
		if !ok {
			return
		}
		st = next
		j.set(st)
		if err := writeSchedule(ctx, b, j.Name, st); err != nil && ctx.Err() == nil {
			j.n.log.Warn("the state of a scheduled snapshot could not be written", "schedule", j.Name, "error", err)
		}
	}
}

// due returns when the next attempt is due.
func (j *snapshotJob) due(st *ScheduleState) time.Time {
	if st.Failing.IsZero() {
		if st.Attempted.After(j.n.cfg.Now()) { // the clock was set back
			return j.n.cfg.Now()
		}
		return st.Attempted.Add(j.Every)
	}
	wait := min(snapshotRetry<<min(st.Failures-1, 10), maxSnapshotRetry, j.Every)
	return st.Attempted.Add(wait)
}

// attempt takes one snapshot and returns the state after it; false: ctx has ended. It leaves a call
// that hangs, which ends within its own time, and no other starts before.
func (j *snapshotJob) attempt(ctx context.Context, b *barrier.Barrier, st ScheduleState) (*ScheduleState, bool) {
	select {
	case j.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	st.Version, st.Attempted = scheduleVersion, j.n.cfg.Now().UTC()
	st.Bad, st.Kept = slices.Clone(st.Bad), slices.Clone(st.Kept)
	done := make(chan *attempted, 1)
	within, cancel := context.WithTimeout(ctx, j.Within)
	defer cancel()
	go func() {
		defer func() { <-j.busy }()
		done <- j.take(within, st.Attempted)
	}()
	var t *attempted
	select {
	case <-ctx.Done():
		return nil, false
	case t = <-done:
	}
	if ctx.Err() != nil {
		return nil, false
	}
	j.note(&st, t)
	if t.err == nil {
		err := j.retain(within, &st)
		st.Retention = ""
		if err != nil {
			st.Retention = err.Error()
			j.n.log.Warn("old scheduled snapshots could not be removed; it is tried again", "schedule", j.Name, "error", err)
		}
	}
	return &st, true
}

// attempted is the result of an attempt.
type attempted struct {
	name   string
	stored bool // under its name
	check  *SnapshotCheck
	bytes  int64
	err    error
}

// note adds the result of an attempt to the state.
func (j *snapshotJob) note(st *ScheduleState, t *attempted) {
	log := j.n.log.With("schedule", j.Name, "snapshot", t.name)
	if t.stored { // after a clock was set back, an older object can have had the name
		other := func(name string) bool { return name == t.name }
		st.Kept, st.Bad = slices.DeleteFunc(st.Kept, other), slices.DeleteFunc(st.Bad, other)
	}
	if t.err == nil {
		st.Kept = append(st.Kept, t.name)
		st.Verified, st.Snapshot, st.Entries, st.Bytes = st.Attempted, t.name, t.check.Info.Entries, t.bytes
		if !st.Failing.IsZero() {
			log.Info("the scheduled snapshot succeeds again", "failed_since", st.Failing)
		}
		st.Failing, st.Failures, st.Error = time.Time{}, 0, ""
		log.Info("took a scheduled snapshot and verified it", "entries", st.Entries, "bytes", st.Bytes)
		return
	}
	if t.stored && len(st.Bad) < maxBad {
		st.Bad = append(st.Bad, t.name)
	}
	if st.Failing.IsZero() {
		st.Failing = st.Attempted
	}
	st.Failures++
	if text := t.err.Error(); text != st.Error {
		st.Error = text
		log.Error("ALARM: a scheduled snapshot failed; it is tried again", "error", t.err, "last_verified", st.Snapshot)
	}
	j.n.cfg.Metrics.Counter("sealgate.snapshot.failures").Inc()
}

// prefix starts the names of this schedule's snapshots of this cluster: others may share the
// target.
func (j *snapshotJob) prefix() string {
	return j.Name + "-" + j.n.state.Load().record.Cluster[:8] + "-"
}

// ours reports whether a name is one of this schedule and cluster. The prefix alone also matches
// the names of a schedule that is called like it.
func (j *snapshotJob) ours(name string) bool {
	at, ok := strings.CutPrefix(name, j.prefix())
	if !ok {
		return false
	}
	if at, ok = strings.CutSuffix(at, snapshotSuffix); !ok {
		return false
	}
	_, err := time.Parse(snapshotTime, at)
	return err == nil
}

// snapshotTaken returns when a scheduled snapshot was begun, from its name.
func snapshotTaken(name string) (time.Time, bool) {
	at, err := time.Parse(snapshotTime, strings.TrimSuffix(name[strings.LastIndexByte(name, '-')+1:], snapshotSuffix))
	return at, err == nil
}

// take makes a snapshot, and reads back and verifies what the target returns.
func (j *snapshotJob) take(ctx context.Context, at time.Time) *attempted {
	t := &attempted{name: j.prefix() + at.Format(snapshotTime) + snapshotSuffix}
	if s, ok := j.Target.(interface {
		Sweep(ours func(name string) bool) error
	}); ok {
		if t.err = s.Sweep(j.ours); t.err != nil {
			t.err = fmt.Errorf("removing an unfinished snapshot: %w", t.err)
			return t
		}
	}
	o, err := j.Target.Create(ctx, t.name)
	if err != nil {
		t.err = fmt.Errorf("writing: %w", err)
		return t
	}
	written := &hashed{w: o, sum: sha256.New()}
	if _, err := j.n.Snapshot(ctx, written, false); err != nil {
		o.Abort()
		t.err = fmt.Errorf("writing: %w", errors.Join(written.failed, err))
		return t
	}
	if err := o.Commit(); err != nil {
		t.err = fmt.Errorf("writing: %w", err)
		return t
	}
	t.stored, t.bytes = true, written.n
	if t.check, err = j.readBack(ctx, t.name, written); err != nil {
		t.err = fmt.Errorf("verifying: %w", err)
	}
	return t
}

// errReadBack is returned where a target returns something else than was written.
var errReadBack = errors.New("the target returned other data than was written")

// readBack verifies what the target has under the name, which must be what was written.
func (j *snapshotJob) readBack(ctx context.Context, name string, written *hashed) (*SnapshotCheck, error) {
	a, err := j.n.Role()
	if err != nil {
		return nil, err
	}
	want := written.sum.Sum(nil)
	return SealAdminOf(j.n).verify(ctx, a, func() (io.ReadCloser, error) {
		r, err := j.Target.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		return &compared{ReadCloser: r, left: written.n, sum: sha256.New(), want: want}, nil
	})
}

// retain removes the oldest verified snapshots beyond those to keep, and those that were not
// verified where a later one was. What was verified last always stays.
//
// It counts and removes only names that the state behind the barrier has: an attacker who may only
// add objects to the target could add names that are newer than all genuine ones. The snapshots of
// a program that kept no names, and those whose names a crash or a restore has lost, stay.
func (j *snapshotJob) retain(ctx context.Context, st *ScheduleState) error {
	names, err := j.Target.List(ctx, j.prefix())
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	st.Kept = slices.DeleteFunc(st.Kept, func(name string) bool { return name != st.Snapshot && !there[name] })
	beyond := max(len(st.Kept)-j.Keep, 0)
	var errs []error
	remove := func(names []string) (left []string) {
		for _, name := range names {
			if err := j.Target.Remove(ctx, name); err != nil {
				errs, left = append(errs, err), append(left, name)
			}
		}
		return left
	}
	old, kept := remove(st.Kept[:beyond]), st.Kept[beyond:]
	st.Kept = slices.Concat(old[max(len(old)-maxBad, 0):], kept)
	st.Bad = remove(st.Bad)
	return errors.Join(errs...)
}

// hashed counts and hashes what is written.
type hashed struct {
	w      io.Writer
	sum    hash.Hash
	n      int64
	failed error // of w; the snapshot's error may hide it
}

// Write implements io.Writer.
func (c *hashed) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	c.failed = err
	return n, err
}

// compared fails unless the content is the one that was written.
type compared struct {
	io.ReadCloser
	left int64
	sum  hash.Hash
	want []byte
}

// Read implements io.Reader.
func (c *compared) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sum.Write(p[:n])
	c.left -= int64(n)
	if c.left < 0 || errors.Is(err, io.EOF) && (c.left > 0 || !bytes.Equal(c.sum.Sum(nil), c.want)) {
		return 0, errReadBack
	}
	return n, err
}

func readSchedule(ctx context.Context, b *barrier.Barrier, name string) (*ScheduleState, error) {
	raw, err := b.Get(ctx, pathSchedules+name)
	if errors.Is(err, storage.ErrNotFound) {
		return &ScheduleState{}, nil
	}
	if err != nil {
		return nil, err
	}
	st := &ScheduleState{}
	if err := json.Unmarshal(raw, st); err != nil || st.Version != scheduleVersion {
		return nil, fmt.Errorf("entry %s%s is malformed, or of a newer program", pathSchedules, name)
	}
	return st, nil
}

func writeSchedule(ctx context.Context, b *barrier.Barrier, name string, st *ScheduleState) error {
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(pathSchedules+name, raw)}})
}

// Schedule is a schedule with its state, as sys/snapshots shows it.
type Schedule struct {
	Name          string        `json:"name"`
	Every         int64         `json:"every"` // seconds
	Keep          int           `json:"keep"`
	Target        string        `json:"target"`
	Next          time.Time     `json:"next"`
	Overdue       bool          `json:"overdue"` // none was verified for twice the time between two
	ScheduleState `json:"last"` // of the node that takes them
}

// Schedules returns the schedules of this node's configuration, with what was done by whichever
// node was active.
func (s SealAdmin) Schedules(ctx context.Context) ([]Schedule, error) {
	a, err := s.n.Role()
	if err != nil {
		return nil, err
	}
	all := []Schedule{}
	jobs, _ := s.n.snapshots.jobs()
	for _, j := range jobs {
		st := j.current()
		if st == nil {
			if st, err = readSchedule(ctx, a.barrier, j.Name); err != nil {
				return nil, barrier.Fault(err, "the state of the schedules could not be read")
			}
		}
		shown := *st
		shown.Kept = nil
		all = append(all, Schedule{Name: j.Name, Every: int64(j.Every / time.Second), Keep: j.Keep,
			Target: j.Place, Next: j.due(st), ScheduleState: shown,
			Overdue: s.n.cfg.Now().Sub(st.Verified) > 2*j.Every && !(st.Verified.IsZero() && st.Failing.IsZero())})
	}
	return all, nil
}
