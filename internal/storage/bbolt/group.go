package bbolt

import "time"

// A group's members share two fsyncs, so a commit costs about the same for one batch as for
// sixteen. Callers that were answered by the last group often come back at once. Without a wait
// half of them would find the writer busy with the other half, and each group would have half of
// the possible size. So the writer waits for as many batches as it saw lately, for less time than a
// commit takes. A single writer never waits.
const maxGroupWait = 5 * time.Millisecond

// pacer decides how long the writer waits for more batches.
type pacer struct {
	expected int           // batches in the last group and behind it
	wait     time.Duration // half of the time of the last commit
	skip     int           // groups to write without a wait
	penalty  int           // the next skip
}

// wrote notes a group that was committed, and how many batches wait behind it.
func (p *pacer) wrote(size, waiting int, took time.Duration) {
	p.expected, p.wait = size+waiting, min(took/2, maxGroupWait)
}

// patience returns how long to wait for a batch when a group has that many.
func (p *pacer) patience(size int) time.Duration {
	if p.skip > 0 || size >= p.expected {
		return 0
	}
	return p.wait
}

// gathered notes the outcome of a wait. Each that gained nothing makes the next ones rarer.
func (p *pacer) gathered(waited, inVain bool) {
	const maxPenalty = 64
	switch {
	case !waited:
		p.skip = max(0, p.skip-1)
	case inVain:
		p.penalty = min(2*p.penalty+1, maxPenalty)
		p.skip = p.penalty
	default:
		p.penalty /= 2
	}
}

// gather takes the queued batches, and those that arrive soon, within the bounds of a group. A
// request that is not a batch ends the group, and runs after it.
func (w *writer) gather(first *request, queue <-chan *request) (group []*request, last *request) {
	size, waited, inVain := 0, false, false
	var expired <-chan time.Time
	defer func() { w.pacer.gathered(waited, inVain) }()
	for r := first; r != nil; {
		switch {
		case !r.taken.CompareAndSwap(false, true):
		case r.run != nil:
			return group, r
		default:
			group = append(group, r)
			for _, op := range r.batch.Ops {
				size += len(op.Key) + len(op.Value)
			}
		}
		if len(group) == groupBatches || size >= groupBytes {
			return group, nil
		}
		select {
		case r = <-queue: // nil when it is closed
			continue
		default:
		}
		patience := w.pacer.patience(len(group))
		if patience == 0 {
			return group, nil
		}
		if !waited {
			waited = true
			timer := time.NewTimer(patience)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case r = <-queue:
		case <-expired:
			inVain = true
			return group, nil
		}
	}
	return group, nil
}
