package node

import (
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
)

// rewrapThrottle lets a rewrap use what foreground requests leave: after each page it waits a
// multiple of the time that the page took. Where the 99th percentile of reads is more than a tenth
// higher while it works, it works less; without reads, more.
type rewrapThrottle struct {
	meter  barrier.ReadMeter
	factor float64 // 0: not yet set
	judged time.Time
}

const (
	throttleFirst = 4.0  // a fifth of the time
	throttleLeast = 0.25 // without reads
	throttleMost  = 200.0
	throttleEvery = time.Second
	throttleReads = 100 // fewer are no measurement
)

// wait returns the pause after a page.
func (t *rewrapThrottle) wait(took time.Duration, entries int64, rate int) time.Duration {
	if t.factor == 0 {
		t.factor = throttleFirst
	}
	if now := time.Now(); now.Sub(t.judged) >= throttleEvery {
		t.judged = now
		t.judge(t.meter.Take())
	}
	wait := time.Duration(t.factor * float64(took))
	if rate > 0 {
		wait = max(wait, time.Duration(entries)*time.Second/time.Duration(rate)-took)
	}
	return wait
}

// judge adapts the factor to what was measured.
func (t *rewrapThrottle) judge(waiting, working time.Duration, reads int) {
	switch ratio := float64(working) / float64(max(waiting, 1)); {
	case reads < throttleReads:
		t.factor /= 2
	case ratio > 1.1:
		t.factor *= 2
	default:
		t.factor *= 0.8
	}
	t.factor = min(max(t.factor, throttleLeast), throttleMost)
}
