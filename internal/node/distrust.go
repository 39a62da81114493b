package node

import (
	"context"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/storage"
)

// mustEnd returns the job that destroys the distrusted terms, the ones before a term. The keyring
// demands it, whatever the stored job says: who has such a term can have sealed that record, or put
// back an older one. It is believed on progress alone, and only where no distrusted term can have
// sealed it. So a pause lasts until the next leadership.
func (w *dataRewrap) mustEnd(job *RewrapJob, err error, before uint32, refused bool) (*RewrapJob, error) {
	if err != nil && !errors.Is(err, storage.ErrCorrupt) && !errors.Is(err, errRewrapRecord) {
		return nil, err
	}
	if err != nil || job == nil || !job.Compromised || job.Target != before {
		w.n.log.Warn("ALARM: the stored state of the rewrap is not that of the compromise that the keyring names; all data "+
			"is re-encrypted from the start", "before_term", before, "error", err)
		if job, err = w.fresh(before); err != nil {
			return nil, err
		}
		if a := w.n.writer(); a != nil && a.rewrap == w {
			job.Change = changedOutside(a, w.n.state.Load())
		}
	}
	next := *job
	next.State, next.Problem, next.Ended = RewrapRunning, "", nil
	next.Retire, next.Compromised, next.Passes, next.Damaged = true, true, 0, []string{}
	switch {
	case !refused:
		next.Phase, next.Cursor, next.Rate = phaseControl, "", 0
		w.renew = true // the commit that replaced the keys may be of this leadership: its outcome was unknown
	case next.Phase != phaseRewrap && next.Phase != phaseRetire:
		next.Phase, next.Cursor = phaseRewrap, ""
	}
	return &next, nil
}

// awaitWriters precedes a pass over entries of distrusted terms: nothing may be written by such a
// term behind its cursor. It returns how long to wait for that.
func (w *dataRewrap) awaitWriters(ctx context.Context, job *RewrapJob) (time.Duration, error) {
	if before, _ := w.b.Distrusted(); before == 0 && w.b.OldestTerm() < job.Target {
		return rewrapBusy, w.adoptDistrust(ctx, job)
	}
	if job.Phase == phaseRetire || job.Cursor != "" {
		return 0, nil
	}
	err := w.b.Settled(job.Target)
	if !errors.Is(err, barrier.ErrUnsettled) {
		return 0, err
	}
	return rewrapRetry, w.advance(ctx, job, func(j *RewrapJob) { j.Problem = err.Error() }, false)
}

// adoptDistrust has the keyring name the compromise of a job that an older program began.
func (w *dataRewrap) adoptDistrust(ctx context.Context, job *RewrapJob) error {
	tx := w.b.Begin()
	tx.Distrust(job.Target)
	err := tx.Commit(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loaded = false
	return err
}

// endControl follows the last control record: from here on those of distrusted terms are refused.
func (w *dataRewrap) endControl(ctx context.Context, job *RewrapJob) error {
	if err := w.b.RefuseOld(ctx); err != nil {
		return err
	}
	w.n.log.Info("re-encrypted what decides about access and keys; such records are refused by older terms from now on",
		"before_term", job.Target)
	w.n.poke() // it may have to step down
	err := w.advance(ctx, job, func(j *RewrapJob) { j.Phase, j.Cursor, j.Problem = phaseRewrap, "", "" }, true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.controlled != nil {
		close(w.controlled)
		w.controlled = nil
	}
	return err
}

// stalled keeps the job of a compromise: entries name a distrusted term after all passes.
func (w *dataRewrap) stalled(ctx context.Context, job *RewrapJob) error {
	const text = "entries of a compromised term do not open, or are written outside this program, so the term cannot be " +
		"destroyed; restore or delete the listed entries, and find out who can write to the storage"
	w.n.log.Error("ALARM: "+text, "before_term", job.Target, "entries", job.Damaged,
		"next_attempt", clock.Jitter(rewrapStalled).Round(time.Second))
	return w.advance(ctx, job, func(j *RewrapJob) {
		j.Phase, j.Cursor, j.Passes, j.Problem = phaseRewrap, "", 0, text
	}, true)
}
