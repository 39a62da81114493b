// Package metrics counts events and durations, and shows them as text for Prometheus and as the
// JSON of Vault's sys/metrics.
//
// It guarantees that counting takes no lock and allocates nothing once a metric exists, so that
// every request can afford it; that the output has a fixed order; and that the number of time
// series depends on the program only, never on requests.
//
// It does not guarantee that all values of one output are from the same instant, nor exact
// quantiles: they come from a histogram with buckets that are a fifth apart, over the last five to
// ten minutes.
//
// The names stay compatible. Names have dots: "core.unsealed" gets the registry's prefix,
// "sealgate.barrier.term" gets none. In Prometheus's text the dots are underscores.
package metrics

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// own is the prefix of metrics that only this program has.
const own = "sealgate."

// Registry holds metrics. It is safe for concurrent use. Counters and timers of a nil Registry
// count nothing.
type Registry struct {
	prefix string
	now    func() time.Time

	mu      sync.RWMutex
	series  map[string]*series
	helps   map[string]string
	sources []func(*Sample)
}

// New makes an empty registry. prefix is that of all metrics that Vault has as well; a nil now
// means time.Now.
func New(prefix string, now func() time.Time) *Registry {
	if now == nil {
		now = time.Now
	}
	return &Registry{prefix: prefix, now: now, series: map[string]*series{}, helps: map[string]string{}}
}

// kind is the type of a series.
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

// Help sets the help text of a metric, which Prometheus shows.
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

// find returns a series and creates it at the first call. labels alternate names and values.
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
		panic(fmt.Sprintf("metrics: %s is used with two types", name))
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

// Counter returns a counter. Callers that count often should keep it.
func (r *Registry) Counter(name string, labels ...string) *Counter {
	if r == nil {
		return nil
	}
	return &r.find(counter, name, labels).count
}

// Timer returns a timer. Callers that use it often should keep it.
func (r *Registry) Timer(name string, labels ...string) *Timer {
	if r == nil {
		return nil
	}
	return r.find(timer, name, labels).timer
}

// Sampled adds a source of values that is called for each output.
func (r *Registry) Sampled(source func(*Sample)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = append(r.sources, source)
}

// Sample collects gauges and counters whose values are kept elsewhere.
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

// Truth is 1 for true and 0 for false.
func Truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// snapshot is all series, sorted by name and labels.
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

// Counter is a count that only grows. A nil Counter counts nothing.
type Counter struct{ n atomic.Uint64 }

// Inc adds one.
func (c *Counter) Inc() { c.Add(1) }

// Add adds n.
func (c *Counter) Add(n uint64) {
	if c != nil {
		c.n.Add(n)
	}
}

// Value is the current count.
func (c *Counter) Value() uint64 { return c.n.Load() }
