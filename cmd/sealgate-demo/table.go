package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// table prints the measurements and returns an error if a request failed unexpectedly.
func (s *demo) table() error {
	l := s.load
	s.heading("Done")
	row("Requests answered (reads, writes)", "%d (%d, %d)", l.count(), l.reads.Load(), l.writes.Load())
	row("Unexpected request failures", "%d", len(l.failures))
	row("Requests refused while the server was down", "%d", l.expected.Load())
	row("Acknowledged writes lost", "%d of %d", l.lost, len(l.acked))
	row("Slowest request", "%.1f ms", ms(l.slowest))
	row("Start to unsealed, after each kill -9", "%.0f ms (median of %d)", ms(median(s.starts)), len(s.starts))
	row("Healthy after the HSM outage", "%.1f s", slices.Max(s.outages).Seconds())
	row("Total", "%.1f s", time.Since(s.began).Seconds())
	return l.verdict()
}

func row(name, format string, args ...any) {
	fmt.Printf("%-44s %s\n", name, fmt.Sprintf(format, args...))
}

// verdict returns an error if a request failed unexpectedly or a write was lost.
func (l *load) verdict() error {
	if len(l.failures) > 0 || l.lost > 0 {
		return errors.New("unexpected request failures: " + fmt.Sprint(l.failures[:min(5, len(l.failures))]))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}
