package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/token"
	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
)

// pathRetire names the destruction of terms in the audit trail.
const pathRetire = "sys/rotate/retire"

// Retirement is what a destruction of the older terms would do.
type Retirement struct {
	Terms    []uint32             // that would be destroyed
	Entries  int64                // that still need them
	Exact    bool                 // the number is that of this moment
	Known    map[string]time.Time // the last snapshots that the server knows of, by seal
	Warnings []string
}

// Retirement says what a destruction of the older terms would do.
func (k KeyAdmin) Retirement(ctx context.Context) (*Retirement, error) {
	a, err := k.n.Role()
	if err != nil {
		return nil, err
	}
	ring := keyringOf(a.barrier)
	out := &Retirement{Exact: ring.Exact}
	var since time.Time
	for _, t := range ring.Terms {
		if t.Active {
			since = t.Installed
			continue
		}
		out.Terms, out.Entries = append(out.Terms, t.KeyStatus.Term), out.Entries+t.Entries
	}
	taken, err := readSnapshots(ctx, a.barrier)
	if err != nil {
		return nil, barrier.Fault(err, "the record of snapshots could not be read")
	}
	out.Known = taken.Last
	if len(out.Terms) == 0 {
		return out, nil
	}
	for seal, at := range out.Known {
		out.Warnings = append(out.Warnings, fmt.Sprintf("a snapshot of %s, which the seal %q opens, holds the keys of these "+
			"terms: delete it, and older ones, if it must not be read; restoring it needs -force and brings them back",
			at.UTC().Format(time.RFC3339), seal))
	}
	scheduled, err := scheduledSnapshots(ctx, a.barrier, since)
	if err != nil {
		return nil, barrier.Fault(err, "the states of the scheduled snapshots could not be read")
	}
	out.Warnings = append(out.Warnings, scheduled...)
	out.Warnings = append(out.Warnings, fmt.Sprintf("batch tokens that were made before %s end with their term",
		since.UTC().Format(time.RFC3339)))
	return out, nil
}

// scheduledSnapshots warns of the snapshots that schedules keep, all of which hold the keys of the
// older terms. Those from before the active term, whose checksums an older one sealed, are named.
func scheduledSnapshots(ctx context.Context, b *barrier.Barrier, active time.Time) (warnings []string, err error) {
	schedules, err := b.List(ctx, pathSchedules, "", 0)
	if err != nil {
		return nil, err
	}
	for _, schedule := range schedules {
		st, err := readSchedule(ctx, b, schedule)
		if err != nil {
			return nil, err
		}
		need := slices.DeleteFunc(slices.Clone(st.Kept), func(name string) bool {
			at, ok := snapshotTaken(name)
			return ok && !at.Before(active.Truncate(time.Second))
		})
		if since := len(st.Kept) - len(need); since > 0 {
			warnings = append(warnings, fmt.Sprintf("the schedule %q keeps %d snapshots since the last rotation, which hold "+
				"the keys of these terms too; restoring one brings them back", schedule, since))
		}
		if len(need) > 0 {
			warnings = append(warnings, fmt.Sprintf("the schedule %q keeps %d snapshots that need these terms: %s; restoring "+
				"one needs -force and brings the terms back", schedule, len(need), strings.Join(need, ", ")))
		}
	}
	return warnings, nil
}

// StartRetirement begins the destruction of all terms before the active one, without a rewrap: it
// fails where an entry needs one of them.
func (k KeyAdmin) StartRetirement(ctx context.Context) (*RewrapJob, error) {
	w, err := k.worker()
	if err != nil {
		return nil, err
	}
	if len(w.b.Terms(2)) < 2 {
		return nil, fault.New(fault.Invalid, "there is no older term; rotate the barrier key first")
	}
	job, err := w.fresh(w.b.KeyStatus().Term)
	if err != nil {
		return nil, err
	}
	if job.Total > 0 {
		return nil, fault.New(fault.Invalid, "%d entries need a term before %d; rewrap the data first "+
			"(sealgate operator rewrap start -retire)", job.Total, job.Target)
	}
	job.Retire, job.Phase, job.Passes = true, phaseRetire, rewrapPasses
	return w.change(ctx, func(old *RewrapJob) (*RewrapJob, error) {
		if old.active() {
			return nil, fault.New(fault.Invalid, "a rewrap is in progress (%s); resume it, or cancel it first", old.State)
		}
		return job, nil
	})
}

// retire is the last step of a job: it destroys the terms before its target.
func (w *dataRewrap) retire(ctx context.Context, job *RewrapJob) (time.Duration, error) {
	gone, err := w.destroy(ctx, job)
	var end func(*RewrapJob)
	switch {
	case err == nil || errors.Is(err, barrier.ErrNoTerm):
		end = func(j *RewrapJob) {
			j.Retired = append(j.Retired, gone...)
			w.end(j, RewrapDone, "")
		}
	case errors.Is(err, barrier.ErrTermInUse) && job.Passes < rewrapPasses:
		end = func(j *RewrapJob) { j.Phase, j.Cursor, j.Damaged = phaseRewrap, "", []string{} }
	case errors.Is(err, barrier.ErrTermInUse) && job.Compromised:
		return rewrapStalled, w.stalled(ctx, job)
	case errors.Is(err, barrier.ErrTermInUse):
		text := "entries that do not open, or that were written outside this program, name an old term: restore or delete " +
			"the listed ones, and start again"
		end = func(j *RewrapJob) { w.end(j, RewrapFailed, text) }
	case errors.Is(err, barrier.ErrUnsettled):
		end = func(j *RewrapJob) { j.Problem = err.Error() }
		return rewrapRetry, w.advance(ctx, job, end, false)
	default:
		return 0, err
	}
	failpoint.Point("retire.done")
	return 0, w.advance(ctx, job, end, true)
}

// destroy destroys the terms before a job's target, in one audited commit with the attestation that
// they are gone.
func (w *dataRewrap) destroy(ctx context.Context, job *RewrapJob) (gone []uint32, err error) {
	n := w.n
	a := n.writer()
	if a == nil || a.rewrap != w {
		return nil, fault.New(fault.Unavailable, "the role has not begun yet, or has ended")
	}
	locked := false
	defer func() {
		if locked {
			n.transition.Unlock()
		}
	}()
	// What stops the node holds transition while it waits for this worker.
	attest := func(tx *barrier.Tx) error {
		for !n.transition.TryLock() {
			if !clock.Sleep(ctx, 10*time.Millisecond) {
				return ctx.Err()
			}
		}
		locked = true
		return integrity{n}.attestFloor(ctx, a, tx, job.Target)
	}
	err = n.keeper.audited(pathRetire, map[string]string{"before_term": strconv.Itoa(int(job.Target))}, func() error {
		gone, err = w.b.Retire(ctx, job.Target, w.snapshotter(), w.pacer(ctx), attest)
		return err
	})
	if err != nil {
		return nil, err
	}
	token.ForgetBatch(w.tokens)
	n.log.Info("destroyed old terms of the barrier key", "terms", gone, "remaining_from", job.Target)
	if core := n.core.Load(); core != nil {
		if err := core.Reload(ctx); err != nil {
			n.log.Warn("the keys for this node's next role could not be read again; they are when it begins", "error", err)
		}
	}
	return gone, nil
}
