package metrics

import (
	"bufio"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// ContentType is the content type of [Registry.WritePrometheus].
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// WritePrometheus writes all metrics in Prometheus's text format 0.0.4. Timers are summaries in
// milliseconds.
func (r *Registry) WritePrometheus(w io.Writer) error {
	b := bufio.NewWriter(w)
	last := ""
	for _, s := range r.snapshot() {
		name := metricName(s.name)
		if name != last {
			r.writeHead(b, name, s)
			last = name
		}
		switch s.kind {
		case gauge:
			writeLine(b, name, s.labels, "", s.value)
		case counter:
			writeLine(b, name, s.labels, "", float64(s.count.Value()))
		case timer:
			sum := s.timer.summary()
			for i, q := range quantiles {
				writeLine(b, name, s.labels, strconv.FormatFloat(q, 'g', -1, 64), sum.quantiles[i])
			}
			writeLine(b, name+"_sum", s.labels, "", sum.sum)
			writeLine(b, name+"_count", s.labels, "", float64(sum.count))
		}
	}
	return b.Flush()
}

var kindNames = [...]string{counter: "counter", gauge: "gauge", timer: "summary"}

func (r *Registry) writeHead(b *bufio.Writer, name string, s *series) {
	r.mu.RLock()
	help := r.helps[s.name]
	r.mu.RUnlock()
	if help == "" {
		help = name
	}
	b.WriteString("# HELP " + name + " " + strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(help) + "\n")
	b.WriteString("# TYPE " + name + " " + kindNames[s.kind] + "\n")
}

// metricName is a valid name for Prometheus.
func metricName(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
			return c
		}
		return '_'
	}, name)
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func writeLine(b *bufio.Writer, name string, labels []label, quantile string, v float64) {
	b.WriteString(name)
	sep := byte('{')
	for _, l := range labels {
		b.WriteByte(sep)
		b.WriteString(metricName(l.name) + `="` + escapeLabel.Replace(l.value) + `"`)
		sep = ','
	}
	if quantile != "" {
		b.WriteByte(sep)
		b.WriteString(`quantile="` + quantile + `"`)
		sep = ','
	}
	if sep == ',' {
		b.WriteByte('}')
	}
	b.WriteByte(' ')
	b.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	b.WriteByte('\n')
}

// Summary is the JSON form, as Vault's sys/metrics has it.
type Summary struct {
	Timestamp string
	Gauges    []Value
	Points    []Value
	Counters  []Distribution
	Samples   []Distribution
}

// Value is a gauge.
type Value struct {
	Name   string
	Value  float64
	Labels map[string]string
}

// Distribution is a counter, or a timer in milliseconds.
type Distribution struct {
	Name                              string
	Count                             uint64
	Rate, Sum, Min, Max, Mean, Stddev float64
	Labels                            map[string]string
}

// Summary returns all metrics since the start.
func (r *Registry) Summary() Summary {
	out := Summary{
		Timestamp: r.now().UTC().Round(time.Second).Format("2006-01-02 15:04:05 -0700 MST"),
		Gauges:    []Value{}, Points: []Value{}, Counters: []Distribution{}, Samples: []Distribution{},
	}
	for _, s := range r.snapshot() {
		labels := map[string]string{}
		for _, l := range s.labels {
			labels[l.name] = l.value
		}
		switch s.kind {
		case gauge:
			v := s.value
			if math.IsNaN(v) || math.IsInf(v, 0) {
				v = 0 // JSON has no such numbers
			}
			out.Gauges = append(out.Gauges, Value{s.name, v, labels})
		case counter:
			n := float64(s.count.Value())
			out.Counters = append(out.Counters, Distribution{Name: s.name, Count: s.count.Value(), Sum: n, Min: 1, Max: 1,
				Mean: 1, Labels: labels})
		case timer:
			sum := s.timer.summary()
			d := Distribution{Name: s.name, Count: sum.count, Sum: sum.sum, Min: sum.least, Max: sum.most, Labels: labels}
			if sum.count > 0 {
				d.Mean = sum.sum / float64(sum.count)
			}
			out.Samples = append(out.Samples, d)
		}
	}
	return out
}
