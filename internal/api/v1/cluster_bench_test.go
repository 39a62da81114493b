package v1

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/etcd"
	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/testkit"
)

// onEtcd is a cluster of nodes on one real etcd.
func onEtcd(b *testing.B, nodes int) *testCluster {
	b.Helper()
	c := etcdtest.Start(b, etcdtest.Options{NoSync: true})
	return federateOn(b, nodes, func() storage.Store {
		s, err := etcd.Open(b.Context(), etcd.Options{Endpoints: c.Direct, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		return s
	})
}

// BenchmarkCluster compares, on one real etcd, what a client gets from the leader, from a standby
// that answers itself (reads), and from one that forwards (writes).
func BenchmarkCluster(b *testing.B) {
	f := onEtcd(b, 2)
	leader, standbys := f.settled()
	leader.answer("POST", "secret/data/x", `{"data":{"k":"v"}}`)
	for _, clients := range []int{1, 16} {
		for _, kind := range []struct {
			name, path string
			at         *testNode
		}{
			{"read/leader", "secret/data/x", leader}, {"read/standby", "secret/data/x", standbys[0]},
			{"write/leader", "secret/data/x", leader}, {"write/standby", "secret/data/x", standbys[0]},
		} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, clients), func(b *testing.B) {
				hammer(b, kind.at, kind.path, strings.HasPrefix(kind.name, "write"), clients)
			})
		}
	}
}

// BenchmarkStepDown is from the request to step down to the first acknowledged write at the node
// that led, which forwards it to the next leader.
func BenchmarkStepDown(b *testing.B) {
	f := onEtcd(b, 3)
	var took []time.Duration
	for b.Loop() {
		leader, _ := f.settled()
		begun := time.Now()
		if code, body := leader.do("PUT", "sys/step-down", ""); code != http.StatusNoContent {
			b.Fatal(code, body)
		}
		if code, body := leader.do("POST", "secret/data/x", `{"data":{"k":"v"}}`); code != http.StatusOK {
			b.Fatal(code, body)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	median := float64(took[len(took)/2].Microseconds()) / 1000
	b.ReportMetric(median, "ms-median")
	testkit.AtMost(b, "step-down to the next acknowledged write on etcd in ms, median", median, 200)
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-worst")
}

// BenchmarkStandbyRead compares one client's reads at a standby with those at the leader, by turns.
func BenchmarkStandbyRead(b *testing.B) {
	f := onEtcd(b, 2)
	leader, standbys := f.settled()
	leader.answer("POST", "secret/data/x", `{"data":{"k":"v"}}`)
	var ratios []float64
	for b.Loop() {
		var took [2]time.Duration
		for i, n := range []*testNode{leader, standbys[0]} {
			begun := time.Now()
			for range 100 {
				n.answer("GET", "secret/data/x", "")
			}
			took[i] = time.Since(begun)
		}
		ratios = append(ratios, float64(took[0])/float64(took[1]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "standby/leader")
	testkit.AtLeast(b, "read at a standby / at the leader, one client", ratios[len(ratios)/2], 0.85)
}

func hammer(b *testing.B, n *testNode, path string, write bool, clients int) {
	work := make(chan struct{}, clients)
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range clients {
		wg.Go(func() {
			method, path, body := "GET", path, ""
			if write {
				method, path, body = "POST", fmt.Sprintf("%s%d", path, i), `{"data":{"k":"v"}}`
			}
			for range work {
				a, err := n.send(method, path, body)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, a.Body)
				if _ = a.Body.Close(); a.StatusCode != http.StatusOK {
					b.Error(a.StatusCode)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "requests/s")
}
