package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
)

// pathRewrapJob is the entry of the last rewrap of data: JSON, with the version in "v".
const pathRewrapJob = "core/rewrap"

// States of a rewrap.
const (
	RewrapRunning   = "running"
	RewrapPaused    = "paused"
	RewrapDone      = "done"
	RewrapFailed    = "failed"
	RewrapCancelled = "cancelled"
)

// Phases of a rewrap.
const (
	phaseControl = "control" // after a compromise: the control records, before the data
	phaseRewrap  = "rewrap"
	phaseRetire  = "retire"
)

// RewrapJob is a rewrap of all data by the newest term, as it is stored. The node that leads works
// on it; after a change of leader the next one continues at the cursor, which is stored every few
// seconds: entries that were done after that are found done.
type RewrapJob struct {
	Version     int              `json:"v"`
	ID          string           `json:"id"`
	State       string           `json:"state"`
	Phase       string           `json:"phase"`  // "control" after a compromise, "rewrap", "retire"
	Target      uint32           `json:"target"` // entries of terms before it are re-encrypted
	Retire      bool             `json:"retire"` // then destroy the terms before the target
	Rate        int              `json:"rate"`   // entries per second, of the data; 0: as foreground requests allow
	Compromised bool             `json:"compromised,omitempty"`
	Cursor      string           `json:"cursor"` // the last path that was visited
	Passes      int              `json:"passes"` // over all entries, that ended
	Started     time.Time        `json:"started"`
	Updated     time.Time        `json:"updated"`
	Ended       *time.Time       `json:"ended,omitempty"`
	Entries     int64            `json:"entries"` // re-encrypted
	Bytes       int64            `json:"bytes"`
	Visited     int64            `json:"visited"`
	Total       int64            `json:"total"`   // entries of older terms at the start; -1: not known
	Retired     []uint32         `json:"retired"` // terms that were destroyed
	Damaged     []string         `json:"damaged"` // entries that do not open
	Problem     string           `json:"problem,omitempty"`
	Working     time.Duration    `json:"working"` // for how long it has worked
	Change      []ChangedOutside `json:"change_outside,omitempty"`
}

const (
	rewrapVersion    = 1
	rewrapPage       = 30
	rewrapCheckpoint = 5 * time.Second
	rewrapRetry      = 5 * time.Second
	rewrapBusy       = 10 * time.Millisecond // until entries that others write are tried again
	rewrapStalled    = 5 * time.Minute       // between the attempts of a job that must not fail
	rewrapPasses     = 3                     // over all entries, until a retirement gives up
	maxDamaged       = 100                   // paths that a job keeps
	maxRewrapRate    = 1_000_000
)

func (j *RewrapJob) active() bool {
	return j != nil && (j.State == RewrapRunning || j.State == RewrapPaused)
}

func (j *RewrapJob) marshal() []byte {
	j.Version = rewrapVersion
	b, err := json.Marshal(j)
	if err != nil {
		panic(err) // its fields always encode
	}
	return b
}

var errRewrapRecord = fmt.Errorf("node: entry %s is malformed, or of a newer program", pathRewrapJob)

func readRewrapJob(ctx context.Context, b *barrier.Barrier) (*RewrapJob, error) {
	raw, err := b.Get(ctx, pathRewrapJob)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var j RewrapJob
	if err := json.Unmarshal(raw, &j); err != nil || j.Version != rewrapVersion {
		return nil, errRewrapRecord
	}
	return &j, nil
}

// dataRewrap works on the rewrap of the data, on the node that writes.
type dataRewrap struct {
	n      *Node
	b      *barrier.Barrier
	tokens *token.Store
	wake   chan struct{}

	mu     sync.Mutex
	loaded bool
	job    *RewrapJob // immutable; nil: there was none
	renew  bool       // the keys were replaced in this leadership: see renewAuthority

	controlled chan struct{} // closed when the control records are re-encrypted; nil: nobody waits
}

func newDataRewrap(n *Node, b *barrier.Barrier, tokens *token.Store) *dataRewrap {
	return &dataRewrap{n: n, b: b, tokens: tokens, wake: make(chan struct{}, 1)}
}

// current returns the job, from memory once it was read.
func (w *dataRewrap) current(ctx context.Context) (*RewrapJob, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read(ctx)
}

// read is current. The caller holds mu.
func (w *dataRewrap) read(ctx context.Context) (*RewrapJob, error) {
	if w.loaded {
		return w.job, nil
	}
	job, err := readRewrapJob(ctx, w.b)
	if before, refused := w.b.Distrusted(); before > 0 {
		job, err = w.mustEnd(job, err, before, refused)
	}
	if err == nil {
		w.job, w.loaded = job, true
	}
	return job, err
}

// change stores a changed job, and makes the worker look at it.
func (w *dataRewrap) change(ctx context.Context, f func(j *RewrapJob) (*RewrapJob, error)) (*RewrapJob, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	job, err := w.read(ctx)
	if err != nil {
		return nil, barrier.Fault(err, "the state of the rewrap could not be read")
	}
	if job != nil {
		again := *job
		job = &again
	}
	if job, err = f(job); err != nil {
		return nil, err
	}
	if err := w.store(ctx, job); err != nil {
		return nil, barrier.Fault(err, "the state of the rewrap could not be written; nothing was changed")
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return job, nil
}

// store writes a job and takes it over. The caller holds mu.
func (w *dataRewrap) store(ctx context.Context, job *RewrapJob) error {
	job.Updated = w.n.cfg.Now().UTC()
	err := w.b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(pathRewrapJob, job.marshal())}})
	if err == nil {
		w.job, w.loaded = job, true
	} else if !storage.NothingWritten(err) {
		w.loaded = false
	}
	return err
}

// run works until ctx ends.
func (w *dataRewrap) run(ctx context.Context) {
	var t rewrapThrottle
	defer w.b.Meter(nil)
	for ctx.Err() == nil {
		job, err := w.current(ctx)
		if err == nil && (job == nil || job.State != RewrapRunning) {
			w.b.Meter(nil)
			select {
			case <-ctx.Done():
			case <-w.wake:
			}
			continue
		}
		wait := time.Duration(0)
		if err == nil {
			w.b.Meter(&t.meter)
			wait, err = w.step(ctx, job, &t)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, barrier.ErrSealed) {
			w.n.log.Warn("the rewrap of the data does not advance; it is tried again", "error", err)
			wait = clock.Jitter(rewrapRetry)
		}
		w.pause(ctx, wait)
	}
}

// pause waits, or until the job is changed.
func (w *dataRewrap) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-w.wake:
	case <-timer.C:
	}
}

// step re-encrypts a page, or does what follows the last one. It returns how long to wait.
func (w *dataRewrap) step(ctx context.Context, job *RewrapJob, t *rewrapThrottle) (time.Duration, error) {
	if job.Compromised {
		if wait, err := w.awaitWriters(ctx, job); wait > 0 || err != nil {
			return wait, err
		}
	}
	if job.Phase == phaseRetire {
		return w.retire(ctx, job)
	}
	next, end := w.b.NextEntries, w.endPass
	if job.Phase == phaseControl {
		next, end = w.b.NextControl, w.endControl
	}
	paths, err := next(ctx, job.Cursor, rewrapPage)
	if err != nil {
		return 0, err
	}
	if len(paths) == 0 {
		return 0, end(ctx, job)
	}
	begun := time.Now()
	t.meter.Work(true)
	done, err := w.b.Rewrap(ctx, paths)
	t.meter.Work(false)
	took := time.Since(begun)
	if err != nil {
		return 0, err
	}
	wait := t.wait(took, done.Entries, job.Rate)
	switch {
	case job.Compromised && done.Left > 0:
		return rewrapBusy, nil // a path is behind the cursor only once its entry is of a trusted term
	case job.Phase == phaseControl:
		wait = 0 // until it ends, records by the old terms are believed
	case job.Compromised && job.Phase == phaseRewrap:
		w.b.RefuseUpTo(paths[len(paths)-1], job.Target)
	}
	err = w.advance(ctx, job, func(j *RewrapJob) {
		j.Cursor, j.Visited = paths[len(paths)-1], j.Visited+int64(len(paths))
		j.Entries, j.Bytes, j.Working = j.Entries+done.Entries, j.Bytes+done.Bytes, j.Working+took+wait
		for _, path := range done.Damaged {
			if len(j.Damaged) < maxDamaged && !slices.Contains(j.Damaged, path) {
				j.Damaged = append(j.Damaged[:len(j.Damaged):len(j.Damaged)], path)
			}
		}
	}, false)
	return wait, err
}

// advance notes progress of a job that was not replaced meanwhile, and stores it now and then.
func (w *dataRewrap) advance(ctx context.Context, job *RewrapJob, f func(*RewrapJob), now bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.job == nil || w.job.ID != job.ID || !w.job.active() {
		return nil
	}
	next := *w.job
	f(&next)
	if !now && w.n.cfg.Now().Sub(next.Updated) < rewrapCheckpoint {
		w.job = &next
		return nil
	}
	return w.store(ctx, &next)
}

// endPass follows the last entry: a pass that leaves entries behind is repeated.
func (w *dataRewrap) endPass(ctx context.Context, job *RewrapJob) error {
	census := w.b.Census()
	left := census.Exact && census.Below(job.Target).Entries > 0
	again := left && job.Passes+1 < rewrapPasses && len(job.Damaged) == 0
	err := w.advance(ctx, job, func(j *RewrapJob) {
		j.Passes, j.Cursor = j.Passes+1, ""
		switch {
		case again:
		case j.Retire:
			j.Phase = phaseRetire
		case len(j.Damaged) > 0:
			w.end(j, RewrapFailed, fmt.Sprintf("%d entries do not open; they are listed: restore or delete them",
				len(j.Damaged)))
		default:
			w.end(j, RewrapDone, "")
		}
	}, true)
	if err == nil && !again && !job.Retire {
		w.n.log.Info("the rewrap of the data has ended", "entries", job.Entries, "term", job.Target)
	}
	return err
}

func (w *dataRewrap) end(j *RewrapJob, state, problem string) {
	at := w.n.cfg.Now().UTC()
	j.State, j.Problem, j.Ended = state, problem, &at
}

// StartRewrap begins a rewrap of the data by the active term; with retire, the older terms are
// destroyed when no entry needs them.
func (k KeyAdmin) StartRewrap(ctx context.Context, rate int, retire bool) (*RewrapJob, error) {
	w, err := k.worker()
	if err != nil {
		return nil, err
	}
	if rate < 0 || rate > maxRewrapRate {
		return nil, fault.New(fault.Invalid, "rate must be 0 to %d entries per second", maxRewrapRate)
	}
	job, err := w.fresh(w.b.KeyStatus().Term)
	if err != nil {
		return nil, err
	}
	job.Rate, job.Retire = rate, retire
	return w.change(ctx, func(old *RewrapJob) (*RewrapJob, error) {
		if old.active() {
			return nil, fault.New(fault.Invalid, "a rewrap is in progress (%s); resume it, or cancel it first", old.State)
		}
		failpoint.Point("rewrap-data.start")
		return job, nil
	})
}

// RotateAndRewrap adds a term, and begins a rewrap by it.
func (k KeyAdmin) RotateAndRewrap(ctx context.Context, rate int, retire bool) (*RewrapJob, error) {
	w, err := k.worker()
	if err != nil {
		return nil, err
	}
	job, err := w.current(ctx)
	switch {
	case err != nil:
		return nil, barrier.Fault(err, "the state of the rewrap could not be read")
	case job.active():
		return nil, fault.New(fault.Invalid, "a rewrap is in progress (%s); resume it, or cancel it first", job.State)
	case rate < 0 || rate > maxRewrapRate:
		return nil, fault.New(fault.Invalid, "rate must be 0 to %d entries per second", maxRewrapRate)
	}
	if err := k.n.Rotate(ctx); err != nil {
		return nil, err
	}
	return k.StartRewrap(ctx, rate, retire)
}

// fresh returns a new job.
func (w *dataRewrap) fresh(target uint32) (*RewrapJob, error) {
	id, err := uuid.New(w.n.cfg.Rand)
	if err != nil {
		return nil, err
	}
	j := &RewrapJob{ID: id, State: RewrapRunning, Phase: phaseRewrap, Target: target, Started: w.n.cfg.Now().UTC(),
		Total: -1, Retired: []uint32{}, Damaged: []string{}}
	if census := w.b.Census(); census.Exact {
		j.Total = census.Below(target).Entries
	}
	return j, nil
}

var errNoRewrap = fault.New(fault.Invalid, "no rewrap is in progress")

// ControlRewrap pauses, resumes or cancels the rewrap. A rate of -1 stays.
func (k KeyAdmin) ControlRewrap(ctx context.Context, state string, rate int) (*RewrapJob, error) {
	w, err := k.worker()
	if err != nil {
		return nil, err
	}
	if rate < -1 || rate > maxRewrapRate {
		return nil, fault.New(fault.Invalid, "rate must be 0 to %d entries per second", maxRewrapRate)
	}
	return w.change(ctx, func(j *RewrapJob) (*RewrapJob, error) {
		switch {
		case !j.active():
			return nil, errNoRewrap
		case state == RewrapCancelled && j.Compromised:
			return nil, fault.New(fault.Invalid, "the old keys are compromised: this rewrap can be paused, not cancelled")
		case state == RewrapCancelled:
			w.end(j, RewrapCancelled, "")
		default:
			j.State, j.Problem = state, ""
		}
		if rate >= 0 {
			j.Rate = rate
		}
		return j, nil
	})
}

// Rewrap returns the last rewrap, nil where there was none.
func (k KeyAdmin) Rewrap(ctx context.Context) (*RewrapJob, error) {
	w, err := k.worker()
	if err != nil {
		return nil, err
	}
	job, err := w.current(ctx)
	return job, barrier.Fault(err, "the state of the rewrap could not be read")
}
