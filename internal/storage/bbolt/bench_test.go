package bbolt

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// BenchmarkCommit writes 1 KiB values from one and from 16 writers. The ratio at the end is that
// of commits per second: what sharing an fsync gives.
func BenchmarkCommit(b *testing.B) {
	rates := map[int]float64{}
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			rates[writers] = commitRate(b, writers)
			b.ReportMetric(rates[writers], "commits/s")
			if writers > 1 && rates[1] > 0 {
				b.ReportMetric(rates[writers]/rates[1], "x-one-writer")
			}
		})
	}
}

func commitRate(b *testing.B, writers int) float64 {
	s := open(b, b.TempDir())
	value := make([]byte, 1024)
	var next atomic.Int64
	done := make(chan error, writers)
	b.ResetTimer()
	start := time.Now()
	for range writers {
		go func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					done <- nil
					return
				}
				key := fmt.Sprintf("kv/%d", n%5000)
				if err := s.Commit(context.Background(), storage.Batch{Ops: []storage.Op{storage.Put(key, value)}}); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	return float64(b.N) / time.Since(start).Seconds()
}

func BenchmarkGet(b *testing.B) {
	s := open(b, b.TempDir())
	for i := range 1000 {
		put(b, s, fmt.Sprintf("kv/%d", i), string(make([]byte, 1024)))
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Get(context.Background(), "kv/77"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen is what the check of the structure costs: a database of 64 MiB.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir)
	value := make([]byte, 16<<10)
	for i := range 4096 / 32 {
		var ops []storage.Op
		for j := range 32 {
			ops = append(ops, storage.Put(fmt.Sprintf("kv/%d/%d", i, j), value))
		}
		if err := s.Commit(context.Background(), storage.Batch{Ops: ops}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(context.Background(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
