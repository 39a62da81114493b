// Package metrics counts what a server does and shows it: as text for Prometheus, and as the JSON of Vault's sys/metrics.
//
// It guarantees that counting takes no lock and allocates nothing once a metric is there, so that it may stand in every
// request's way; that what is shown is in a fixed order; and that the number of time series is bounded by what the program asks
// for, never by what clients send.
//
// It does not guarantee one instant for all values of one answer, nor exact quantiles: they are those of a histogram whose
// buckets are a fifth apart, over the last five to ten minutes.
//
// Stays compatible: the names. A name is written with dots: "core.unsealed" has the registry's prefix before it, and
// "sealgate.barrier.term" has none. In Prometheus's text dots are underscores.
package metrics

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// own is what names begin with that are this program's own.
const own = "sealgate."

// Registry holds metrics. It is safe for concurrent use. Of a nil one, counters and timers count nothing.
type Registry struct {
	prefix string
	now    func() time.Time

	mu      sync.RWMutex
	series  map[string]*series
	helps   map[string]string
	sources []func(*Sample)
}

// New makes an empty registry. prefix stands before all names that are not the program's own; nil means the clock.
func New(prefix string, now func() time.Time) *Registry {
	if now == nil {
		now = time.Now
	}
	return &Registry{prefix: prefix, now: now, series: map[string]*series{}, helps: map[string]string{}}
}

// kind is what a series is.
type kind uint8

const (
	counter kind = iota
	gauge
	timer
)

// series is one metric with its labels.
type series struct {
	name   string // with the prefix
	labels []label
	kind   kind
	count  Counter
	timer  *Timer
	value  float64 // of a gauge
}

type label struct{ name, value string }

// Help says what a metric is; Prometheus shows it.
func (r *Registry) Help(name, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.helps[r.full(name)] = text
}

func (r *Registry) full(name string) string {
	if strings.HasPrefix(name, own) || r.prefix == "" {
		return name
	}
	return r.prefix + "." + name
}

// find returns a series, made when it is first asked for. labels are names and values in turn.
func (r *Registry) find(k kind, name string, labels []string) *series {
	key := name + "\x00" + strings.Join(labels, "\x00")
	r.mu.RLock()
	s := r.series[key]
	r.mu.RUnlock()
	if s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s = r.series[key]; s == nil {
		s = newSeries(k, r.full(name), labels)
		if k == timer {
			s.timer = &Timer{now: r.now}
			s.timer.begun.Store(r.now().UnixNano())
		}
		r.series[key] = s
	}
	if s.kind != k {
		panic(fmt.Sprintf("metrics: %s is two things", name))
	}
	return s
}

func newSeries(k kind, name string, labels []string) *series {
	s := &series{name: name, kind: k}
	for i := 0; i+1 < len(labels); i += 2 {
		s.labels = append(s.labels, label{labels[i], labels[i+1]})
	}
	return s
}

// Counter returns a counter. Keep it where it is counted often.
func (r *Registry) Counter(name string, labels ...string) *Counter {
	if r == nil {
		return nil
	}
	return &r.find(counter, name, labels).count
}

// Timer returns a timer. Keep it where it is used often.
func (r *Registry) Timer(name string, labels ...string) *Timer {
	if r == nil {
		return nil
	}
	return r.find(timer, name, labels).timer
}

// Sampled adds a source of values that are looked up when somebody wants to see them.
func (r *Registry) Sampled(source func(*Sample)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = append(r.sources, source)
}

// Sample collects gauges and counters of which something else keeps the value.
type Sample struct {
	r   *Registry
	out []*series
}

// Gauge adds a value that goes up and down.
func (s *Sample) Gauge(name string, v float64, labels ...string) {
	g := newSeries(gauge, s.r.full(name), labels)
	g.value = v
	s.out = append(s.out, g)
}

// Counter adds a value that only grows.
func (s *Sample) Counter(name string, v uint64, labels ...string) {
	c := newSeries(counter, s.r.full(name), labels)
	c.count.n.Store(v)
	s.out = append(s.out, c)
}

// Truth is 1 for what is so.
func Truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// snapshot is every series, by name and labels.
func (r *Registry) snapshot() []*series {
	r.mu.RLock()
	all := make([]*series, 0, len(r.series)+64)
	for _, s := range r.series {
		all = append(all, s)
	}
	sources := r.sources
	r.mu.RUnlock()
	sample := &Sample{r: r}
	for _, source := range sources {
		source(sample)
	}
	all = append(all, sample.out...)
	slices.SortFunc(all, func(a, b *series) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return slices.CompareFunc(a.labels, b.labels, func(a, b label) int {
			if c := strings.Compare(a.name, b.name); c != 0 {
				return c
			}
			return strings.Compare(a.value, b.value)
		})
	})
	return all
}

// Counter only grows. A nil one stays at nothing.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) {
	if c != nil {
		c.n.Add(n)
	}
}

// Value is what was counted.
func (c *Counter) Value() uint64 { return c.n.Load() }
