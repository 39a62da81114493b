package storage

import "sync/atomic"

// Acknowledger is implemented by [Sequencer]s that remember what they have acknowledged.
type Acknowledger interface {
	// Acknowledged returns the highest number of the commits of this process that have returned nil;
	// 0: none is known. Where Revision, called afterwards, returns less, the storage has lost
	// commits. So it has where lost is true: a later commit got a number that an earlier one had.
	Acknowledged() (highest uint64, lost bool)
}

// Acknowledgements implement [Acknowledger].
type Acknowledgements struct {
	highest atomic.Uint64
	lost    atomic.Bool
}

// Acknowledged implements Acknowledger.
func (a *Acknowledgements) Acknowledged() (highest uint64, lost bool) {
	return a.highest.Load(), a.lost.Load()
}

// Note takes the number of a commit that was acknowledged, and the highest number when it was sent.
func (a *Acknowledgements) Note(before, number uint64) {
	if number <= before {
		a.lost.Store(true)
	}
	Raise(&a.highest, number)
}

// Raise makes n at least v.
func Raise(n *atomic.Uint64, v uint64) {
	for {
		if old := n.Load(); old >= v || n.CompareAndSwap(old, v) {
			return
		}
	}
}
