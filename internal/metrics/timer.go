package metrics

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// A timer has four buckets for each doubling from 1 microsecond to over an hour.
const (
	perDoubling = 4
	doublings   = 32
	numBuckets  = perDoubling * doublings
)

// window is the time for which observations count for quantiles: those of the current window and
// the one before.
const window = 5 * time.Minute

// Timer counts durations. It is safe for concurrent use. A nil Timer counts nothing.
type Timer struct {
	now   func() time.Time
	count atomic.Uint64
	sum   atomic.Int64 // ns
	least atomic.Int64 // ns + 1; 0: none yet
	most  atomic.Int64 // ns
	begun atomic.Int64 // start of the current window, Unix ns
	turn  atomic.Uint32
	ring  [2][numBuckets]atomic.Uint32
}

// Since counts the time from start to now.
func (t *Timer) Since(start time.Time) { t.Observe(time.Since(start)) }

// Observe counts one duration.
func (t *Timer) Observe(d time.Duration) {
	if t == nil {
		return
	}
	d = max(d, 0)
	t.count.Add(1)
	t.sum.Add(int64(d))
	for old := t.most.Load(); int64(d) > old && !t.most.CompareAndSwap(old, int64(d)); old = t.most.Load() {
	}
	for old := t.least.Load(); (old == 0 || int64(d)+1 < old) &&
		!t.least.CompareAndSwap(old, int64(d)+1); old = t.least.Load() {
	}
	t.ring[t.turn.Load()&1][bucketOf(d)].Add(1)
}

// bucketOf is the bucket of a duration: its highest bit gives the doubling, the next two bits give
// the quarter.
func bucketOf(d time.Duration) int {
	us := uint64(d / time.Microsecond)
	if us < perDoubling {
		return int(us)
	}
	high := bits.Len64(us) - 1
	return min((high-1)*perDoubling+int(us>>(high-2)&3), numBuckets-1)
}

// upperOf is the upper bound of a bucket.
func upperOf(bucket int) time.Duration {
	if bucket < perDoubling {
		return time.Duration(bucket+1) * time.Microsecond
	}
	high := bucket/perDoubling + 1
	return time.Duration(uint64(perDoubling+bucket%perDoubling+1)<<(high-2)) * time.Microsecond
}

// summary is the output of a timer, in milliseconds.
type summary struct {
	count            uint64
	sum, least, most float64
	quantiles        [len(quantiles)]float64 // NaN without recent observations
}

var quantiles = [...]float64{0.5, 0.9, 0.99}

func (t *Timer) summary() summary {
	t.age()
	s := summary{count: t.count.Load(), sum: ms(t.sum.Load()), most: ms(t.most.Load()),
		least: ms(max(t.least.Load()-1, 0))}
	var all [numBuckets]uint64
	var total uint64
	for i := range all {
		all[i] = uint64(t.ring[0][i].Load()) + uint64(t.ring[1][i].Load())
		total += all[i]
	}
	for i, q := range quantiles {
		s.quantiles[i] = math.NaN()
		if total == 0 {
			continue
		}
		rank, seen := uint64(math.Ceil(q*float64(total))), uint64(0)
		for b, n := range all {
			if seen += n; seen >= rank {
				s.quantiles[i] = min(ms(int64(upperOf(b))), s.most)
				break
			}
		}
	}
	return s
}

// age starts a new window if the current one is over. Concurrent observations may count for either.
func (t *Timer) age() {
	now, begun := t.now().UnixNano(), t.begun.Load()
	if now-begun < int64(window) || !t.begun.CompareAndSwap(begun, now) {
		return
	}
	next := (t.turn.Load() + 1) & 1
	for i := range t.ring[next] {
		t.ring[next][i].Store(0)
	}
	if now-begun >= 2*int64(window) {
		for i := range t.ring[1-next] {
			t.ring[1-next][i].Store(0)
		}
	}
	t.turn.Store(next)
}

func ms(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }
