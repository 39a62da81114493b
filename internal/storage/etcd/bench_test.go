package etcd_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/testkit"
)

// BenchmarkCommit writes 1 KiB values, fenced, beside the bare client with the same durability, in
// turns. The ratio is what is left of the bare client's rate: the median of the turns, because
// disks have moods.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			server := etcdtest.Start(b, etcdtest.Options{ElectionTimeout: time.Second})
			o := options(server)
			o.Endpoints, o.LeaseTTL = server.Direct, time.Minute
			s := open(b, o)
			leadership := campaign(b, s, "a")
			client, err := clientv3.New(clientv3.Config{Endpoints: server.Direct})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			value := make([]byte, 1024)
			var ours, bare time.Duration
			var ratios []float64
			rounds := max(b.N/100, 1)
			n := b.N/rounds + 1
			b.ResetTimer()
			for range rounds {
				bareTurn := timed(b, writers, n, func(key string) error {
					_, err := client.Put(context.Background(), "/bare/"+key, string(value))
					return err
				})
				turn := timed(b, writers, n, func(key string) error {
					return s.Commit(context.Background(),
						storage.Batch{Epoch: leadership.Epoch(), Ops: []storage.Op{storage.Put(key, value)}})
				})
				bare, ours, ratios = bare+bareTurn, ours+turn, append(ratios, 100*bareTurn.Seconds()/turn.Seconds())
			}
			slices.Sort(ratios)
			total := float64(rounds * n)
			b.ReportMetric(total/ours.Seconds(), "commits/s")
			b.ReportMetric(total/bare.Seconds(), "bare-puts/s")
			b.ReportMetric(ratios[len(ratios)/2], "%-of-bare")
		})
	}
}

// timed carries out n writes by that many writers.
func timed(b *testing.B, writers, n int, write func(key string) error) time.Duration {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range writers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if err := write(fmt.Sprintf("kv/%d", i%1000)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// BenchmarkTakeover is from the silence of a leader to the first commit of the next one, ten times
// in each iteration, at the default lease and etcd's default timing.
func BenchmarkTakeover(b *testing.B) {
	server := etcdtest.Start(b, etcdtest.Options{ElectionTimeout: time.Second})
	o := options(server)
	var all []time.Duration
	for i := range 10 * b.N {
		silent, proxy := behind(b, server, o)
		campaign(b, silent, "silent")
		next := open(b, o)
		done := make(chan time.Time, 1)
		go func() {
			l := campaign(b, next, "next")
			if err := next.Commit(context.Background(),
				storage.Batch{Epoch: l.Epoch(), Ops: put("k", fmt.Sprint(i))}); err != nil {
				b.Error(err)
			}
			done <- time.Now()
		}()
		// the leader is leading; it dies at any moment between renewals
		time.Sleep(time.Duration(1000+137*(i%10)) * time.Millisecond)
		died := time.Now()
		proxy.Stall()
		all = append(all, (<-done).Sub(died))
		proxy.Flow()
		if err := next.Close(); err != nil {
			b.Error(err)
		}
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(all[len(all)-1].Milliseconds()), "ms-worst")
	testkit.AtMost(b, "silent leader to the next one's first commit on etcd in ms, median",
		float64(all[len(all)/2].Milliseconds()), 1200)
}

// BenchmarkStepDown is from a resignation to the first commit of the next leader.
func BenchmarkStepDown(b *testing.B) {
	server := etcdtest.Start(b, etcdtest.Options{ElectionTimeout: time.Second})
	o := options(server)
	stores := []*etcd.Store{open(b, o), open(b, o)}
	l := campaign(b, stores[0], "0")
	for i := range b.N {
		next := stores[(i+1)%2]
		elected := make(chan storage.Leadership, 1)
		go func() { elected <- campaign(b, next, "next") }()
		time.Sleep(100 * time.Millisecond) // the candidate waits for the election
		start := time.Now()
		if err := l.Resign(context.Background()); err != nil {
			b.Fatal(err)
		}
		l = <-elected
		if err := next.Commit(context.Background(), storage.Batch{Epoch: l.Epoch(), Ops: put("k", "v")}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms-last")
	}
}
