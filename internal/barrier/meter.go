package barrier

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ReadMeter measures the reads of others while a job works in the background, so that the job can
// give way: separately while it works and while it waits.
type ReadMeter struct {
	busy atomic.Bool

	mu      sync.Mutex
	samples [2][]time.Duration // waiting, working
}

// meterSamples bounds a measurement.
const meterSamples = 4096

// Work marks the time in which the job works.
func (m *ReadMeter) Work(on bool) { m.busy.Store(on) }

func (m *ReadMeter) observe(d time.Duration, working bool) {
	i := 0
	if working {
		i = 1
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples[i]) < meterSamples {
		m.samples[i] = append(m.samples[i], d)
	}
}

// Take returns the 99th percentiles since the last call, and the size of the smaller sample.
func (m *ReadMeter) Take() (waiting, working time.Duration, reads int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	reads = min(len(m.samples[0]), len(m.samples[1]))
	var p [2]time.Duration
	for i, s := range m.samples {
		slices.Sort(s)
		if len(s) > 0 {
			p[i] = s[len(s)*99/100]
		}
		m.samples[i] = s[:0]
	}
	return p[0], p[1], reads
}

// Meter makes reads report to m; nil ends that.
func (b *Barrier) Meter(m *ReadMeter) { b.meter.Store(m) }
