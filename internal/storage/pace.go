package storage

import (
	"log/slog"
	"sync"
	"time"
)

// Paced is implemented by stores that know how long their commits take.
type Paced interface {
	// Slow reports whether commits are so slow that an operator should know, and what they take on
	// average.
	Slow() (average time.Duration, slow bool)
}

const (
	// slowFrom is the average from which commits count as slow; a disk or a cluster that works takes
	// a few milliseconds.
	slowFrom = 100 * time.Millisecond
	// slowUntil is the average at which they no longer do.
	slowUntil = slowFrom / 2
	// paceWeight is how many commits the average looks back on.
	paceWeight = 8
)

// Pace notices slow commits, and logs when that begins and ends. The zero value with a Log is
// ready.
type Pace struct {
	Log *slog.Logger

	mu      sync.Mutex
	average time.Duration
	slow    bool
}

// Took notes a commit that was written. One alone, however slow, is not enough to count as slow.
func (p *Pace) Took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.average += (min(d, 4*slowFrom) - p.average) / paceWeight
	switch about := p.average.Round(time.Millisecond).String(); {
	case !p.slow && p.average >= slowFrom:
		p.slow = true
		p.Log.Warn("the storage is slow: every write waits for it; check the disk and the network of the storage, and what "+
			"else uses them", "average_commit", about)
	case p.slow && p.average < slowUntil:
		p.slow = false
		p.Log.Info("the storage is no longer slow", "average_commit", about)
	}
}

// Slow implements [Paced].
func (p *Pace) Slow() (average time.Duration, slow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.average, p.slow
}
