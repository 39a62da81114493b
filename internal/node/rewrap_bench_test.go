package node

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
)

// BenchmarkReadsDuringRewrap reads 1 KiB entries from bbolt by turns without and with a throttled
// rewrap: the 99th percentiles, and their ratio.
func BenchmarkReadsDuringRewrap(b *testing.B) {
	store, err := bbolt.Open(context.Background(), b.TempDir(), bbolt.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	root, err := secret.Random(nil, 32)
	if err != nil {
		b.Fatal(err)
	}
	bar, tx, err := barrier.Format(store, root, 1, barrier.Options{})
	if err == nil {
		err = tx.Commit(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	const entries = 6000
	for i := 0; i < entries; i += 50 {
		var batch storage.Batch
		for j := range 50 {
			batch.Ops = append(batch.Ops, storage.Put(fmt.Sprint("logical/m/", i+j), make([]byte, 1024)))
		}
		if err := bar.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	var throttle rewrapThrottle
	bar.Meter(&throttle.meter)
	done := int64(0)
	rewrap := func(ctx context.Context) {
		after := ""
		for ctx.Err() == nil {
			paths, err := bar.NextEntries(ctx, after, rewrapPage)
			if err != nil {
				return
			}
			if len(paths) == 0 {
				after = ""
				if _, err := bar.Rotate(ctx); err != nil {
					return
				}
				continue
			}
			after = paths[len(paths)-1]
			begun := time.Now()
			throttle.meter.Work(true)
			r, err := bar.Rewrap(ctx, paths)
			throttle.meter.Work(false)
			if err != nil {
				return
			}
			done += r.Entries
			wait := time.NewTimer(throttle.wait(time.Since(begun), r.Entries, 0))
			select {
			case <-ctx.Done():
			case <-wait.C:
			}
			wait.Stop()
		}
	}
	if _, err := bar.Rotate(b.Context()); err != nil {
		b.Fatal(err)
	}
	var samples [2][]time.Duration
	worked := time.Duration(0)
	b.ResetTimer()
	for turn := range max(8, b.N/1000) {
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan struct{})
		if turn%2 == 1 {
			go func() { defer close(ended); rewrap(ctx) }()
		} else {
			close(ended)
		}
		begun := time.Now()
		for i := 0; time.Since(begun) < time.Second; i++ {
			start := time.Now()
			if _, err := bar.Get(b.Context(), fmt.Sprint("logical/m/", i*7919%entries)); err != nil {
				b.Fatal(err)
			}
			samples[turn%2] = append(samples[turn%2], time.Since(start))
		}
		if turn%2 == 1 {
			worked += time.Since(begun)
		}
		cancel()
		<-ended
	}
	var p99 [2]time.Duration
	for i, s := range samples {
		slices.Sort(s)
		p99[i] = s[len(s)*99/100]
	}
	b.ReportMetric(float64(p99[0]), "idle-p99-ns")
	b.ReportMetric(float64(p99[1]), "rewrap-p99-ns")
	b.ReportMetric(float64(p99[1])/float64(p99[0]), "x-idle")
	b.ReportMetric(float64(done)/worked.Seconds(), "entries/s")
}
