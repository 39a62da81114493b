package sealtest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// RoundTrip returns a function for [Compare] that wraps and unwraps a key of 32 bytes with
// additional data.
func RoundTrip(b *testing.B, w wrapping.Wrapper) func(worker int) error {
	plain := random(32)
	return func(int) error {
		blob, err := w.Encrypt(b.Context(), plain, wrapping.WithAad(aad))
		if err != nil {
			return err
		}
		_, err = w.Decrypt(b.Context(), blob, wrapping.WithAad(aad))
		return err
	}
}

// Compare runs a seal and the bare calls of its SDK alternately for 100 ms each, with the given
// number of workers, and reports the median of the ratios of their rates. Other load on the machine
// affects single rounds, not the median.
func Compare(b *testing.B, workers int, seal, bare func(worker int) error) {
	var rates [2][]float64
	var ratios []float64
	var failed int64
	for _, f := range []func(int) error{seal, bare} { // set up connections and credentials first
		if err := f(0); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for i, f := range []func(int) error{seal, bare} {
			rate, bad := turn(workers, f)
			rates[i] = append(rates[i], rate)
			failed += bad
		}
		n := len(ratios)
		ratios = append(ratios, rates[0][n]/rates[1][n])
	}
	b.ReportMetric(median(rates[0]), "seal/s")
	b.ReportMetric(median(rates[1]), "bare/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(float64(failed), "errors")
	b.ReportMetric(0, "ns/op")
}

func turn(workers int, f func(int) error) (rate float64, failed int64) {
	var wg sync.WaitGroup
	var done, bad atomic.Int64
	start := time.Now()
	for i := range workers {
		wg.Go(func() {
			for time.Since(start) < 100*time.Millisecond {
				if f(i) != nil {
					bad.Add(1)
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds(), bad.Load()
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
