package storage

import "time"

// A group of commits that is written together costs about the same for one batch as for sixteen.
// Callers that were answered by the last group often come back at once. Without a wait half of them
// would find the writer busy with the other half, and each group would have half of the possible
// size. So a writer waits for as many batches as it saw lately, for less time than a group takes. A
// single caller never waits.
const maxGroupWait = 5 * time.Millisecond

// Pacer decides how long a writer waits for more batches. The writer's goroutine alone uses it. The
// zero value waits for none until a group was written.
type Pacer struct {
	expected int           // batches in the last group and behind it
	wait     time.Duration // half of the time of the last group
	skip     int           // groups to write without a wait
	penalty  int           // the next skip
}

// Wrote notes a group that was written, and how many batches wait behind it.
func (p *Pacer) Wrote(size, waiting int, took time.Duration) {
	p.expected, p.wait = size+waiting, min(took/2, maxGroupWait)
}

// gathered notes the outcome of a wait. Each that gained nothing makes the next ones rarer.
func (p *Pacer) gathered(waited, expired bool) {
	const maxPenalty = 64
	switch {
	case !waited:
		p.skip = max(0, p.skip-1)
	case expired:
		p.penalty = min(2*p.penalty+1, maxPenalty)
		p.skip = p.penalty
	default:
		p.penalty /= 2
	}
}

// Arrivals are the batches of one group, as they come out of a queue.
type Arrivals[T any] struct {
	pacer   *Pacer
	queue   <-chan T
	timer   *time.Timer // nil: no wait has begun
	expired bool
}

// Gather begins a group. The caller calls End.
func Gather[T any](p *Pacer, queue <-chan T) *Arrivals[T] {
	return &Arrivals[T]{pacer: p, queue: queue}
}

// Next returns the next batch for a group that has size of them. It reports false when the group is
// to be written as it is: no batch arrives soon, or the queue is closed.
func (a *Arrivals[T]) Next(size int) (next T, ok bool) {
	select {
	case next, ok = <-a.queue:
		return next, ok
	default:
	}
	p := a.pacer
	if a.expired || p.skip > 0 || size >= p.expected || p.wait <= 0 {
		return next, false
	}
	if a.timer == nil {
		a.timer = time.NewTimer(p.wait)
	}
	select {
	case next, ok = <-a.queue:
		return next, ok
	case <-a.timer.C:
		a.expired = true
		return next, false
	}
}

// End ends the group.
func (a *Arrivals[T]) End() {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.pacer.gathered(a.timer != nil, a.expired)
}
