package chaos

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// eventCount is the number of events in a run: a few in the tests, 200 by `make chaos`.
func eventCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CHAOS_EVENTS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("CHAOS_EVENTS=%q is not a number", text)
	}
	return n
}

// An event happens to a cluster; what it returns undoes it. Nothing else happens in between.
type event struct {
	name string
	do   func(f *testCluster) (undo func())
}

// victim is the leader three times out of four: faults there do the most damage.
func victim(f *testCluster) *node {
	if l := f.leading(); l != nil && rand.IntN(4) > 0 {
		return l
	}
	return f.nodes[rand.IntN(len(f.nodes))]
}

var events = []event{
	{"kill -9", func(f *testCluster) func() {
		n := victim(f)
		f.must(n.Kill())
		return func() { f.must(n.Start()) }
	}},
	{"SIGSTOP", func(f *testCluster) func() {
		n := victim(f)
		f.must(n.Signal(syscall.SIGSTOP))
		return func() { f.must(n.Signal(syscall.SIGCONT)) }
	}},
	{"partitioned from the storage", func(f *testCluster) func() {
		n := victim(f)
		n.link.Stall()
		n.link.Cut()
		return n.link.Flow
	}},
	{"storage unresponsive for one node", func(f *testCluster) func() {
		n := victim(f)
		n.link.Stall()
		return n.link.Flow
	}},
	{"storage killed", func(f *testCluster) func() {
		f.storage.restart()
		return func() {}
	}},
	{"connections reset", func(f *testCluster) func() {
		for _, n := range f.nodes {
			n.link.Cut()
		}
		return func() {}
	}},
	{"step-down", func(f *testCluster) func() {
		if l := f.leading(); l != nil {
			_, _ = request(l.Server, f.Root, "PUT", "sys/step-down", nil) // it may have lost leadership already
		}
		return func() {}
	}},
	{"graceful restart", func(f *testCluster) func() {
		n := victim(f)
		f.must(n.Stop())
		return func() { f.must(n.Start()) }
	}},
	{"rotation", func(f *testCluster) func() {
		if reply, err := request(victim(f).Server, f.Root, "PUT", "sys/rotate", nil); err == nil &&
			reply.Code == http.StatusNoContent {
			f.rotations++
		}
		return func() {}
	}},
}

// TestLinearizable runs clients against a cluster while events happen, and judges the history.
func TestLinearizable(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *sharedStorage{"etcd": onEtcd, "postgresql": onPostgreSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, open(t))
			h := &history{began: time.Now(), unexpected: map[string]int{}}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() { h.client(ctx, i, f) })
			}
			happened := map[string]int{}
			for i := range eventCount(t) {
				e := events[(i+rand.IntN(2))%len(events)]
				happened[e.name]++
				t.Logf("%d: %s", i, e.name)
				f.leaderships()
				undo := e.do(f)
				lasts := time.Duration(rand.IntN(4000)) * time.Millisecond // shorter than a lease, or longer
				pause(lasts)
				undo()
				pause(time.Duration(rand.IntN(1500)) * time.Millisecond)
			}
			f.untilLed()
			pause(time.Second)
			stop()
			wg.Wait()
			f.untilWhole()
			f.leaderships()
			t.Logf("%v; %d epochs", happened, len(f.epochs))
			h.judge(t)
			f.terms()
		})
	}
}

// pause lets things happen: it is the length of an event, not a wait for something.
func pause(d time.Duration) { time.Sleep(d) }

// terms checks that the keyring has a term for every acknowledged rotation.
func (f *testCluster) terms() {
	f.t.Helper()
	reply := f.call(f.untilLed(), 200, "GET", "sys/key-status", nil)
	var status struct{ Term int }
	if err := reply.Decode(&status); err != nil || status.Term < 1+f.rotations {
		f.t.Errorf("after %d rotations: %s, %v", f.rotations, reply.Body, err)
	}
}
