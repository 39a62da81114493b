package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/testkit"
)

// BenchmarkFailover is from kill -9 of the leader of three nodes to the first write that another
// acknowledges, ten times in each iteration, at the default lease and etcd's default timing. The
// deaths are spread over the time between two renewals of the lease.
func BenchmarkFailover(b *testing.B) {
	server := etcdtest.Start(b, etcdtest.Options{ElectionTimeout: time.Second})
	f := NewCluster(b, buildPlain(b), func(int) string {
		return fmt.Sprintf("storage \"etcd\" {\n  address = %q\n}\n", server.Direct[0])
	}, 3)
	f.Begin()
	interval := etcd.DefaultLeaseTTL / 3 // between two renewals
	var took []time.Duration
	for b.Loop() {
		for i := range 10 {
			leader := f.Settled()
			time.Sleep(time.Second + time.Duration(i)*interval/10)
			begun := time.Now()
			if err := f.Nodes[leader].Kill(); err != nil {
				b.Fatal(err)
			}
			took = append(took, f.firstWrite(b, f.Others(leader), fmt.Sprintf("failover-%d", i)).Sub(begun))
			if err := f.Nodes[leader].Start(); err != nil {
				b.Fatal(err)
			}
		}
	}
	slices.Sort(took)
	median, worst := took[len(took)/2].Seconds(), took[len(took)-1].Seconds()
	b.ReportMetric(median, "s-median")
	b.ReportMetric(worst, "s-worst")
	testkit.AtMost(b, "kill -9 of the leader of three to the first acknowledged write on etcd in s, median", median, 1.2)
}

// firstWrite writes through each node, again and again, until one of them acknowledges, and returns
// when that was.
func (f *Cluster) firstWrite(b *testing.B, nodes []int, key string) time.Time {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	var first atomic.Pointer[time.Time]
	var wg sync.WaitGroup
	for _, i := range nodes {
		wg.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
				if f.Put(ctx, i, key, "v") {
					now := time.Now()
					first.CompareAndSwap(nil, &now)
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if first.Load() == nil {
		b.Fatal("no node acknowledges a write within a minute")
	}
	return *first.Load()
}
