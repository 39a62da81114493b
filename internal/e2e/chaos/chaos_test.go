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

// events is how many things happen in a run: a few in the tests, 200 by `make chaos`.
func events(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CHAOS_EVENTS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("CHAOS_EVENTS=%q is no number", text)
	}
	return n
}

// An event happens to a cluster; what it returns undoes it. Nothing else happens in between.
type event struct {
	name string
	do   func(f *testCluster) (undo func())
}

// somebody is the leader three times of four: that is where it hurts.
func somebody(f *testCluster) *node {
	if l := f.leader(); l != nil && rand.IntN(4) > 0 {
		return l
	}
	return f.nodes[rand.IntN(len(f.nodes))]
}

var happenings = []event{
	{"kill -9", func(f *testCluster) func() {
		n := somebody(f)
		f.must(n.Kill())
		return func() { f.must(n.Start()) }
	}},
	{"stopped in its tracks", func(f *testCluster) func() {
		n := somebody(f)
		f.must(n.Signal(syscall.SIGSTOP))
		return func() { f.must(n.Signal(syscall.SIGCONT)) }
	}},
	{"cut off from the storage", func(f *testCluster) func() {
		n := somebody(f)
		n.line.Stall()
		n.line.Cut()
		return n.line.Flow
	}},
	{"the storage is mute for one", func(f *testCluster) func() {
		n := somebody(f)
		n.line.Stall()
		return n.line.Flow
	}},
	{"the storage is killed", func(f *testCluster) func() {
		f.depot.restart()
		return func() {}
	}},
	{"connections are cut", func(f *testCluster) func() {
		for _, n := range f.nodes {
			n.line.Cut()
		}
		return func() {}
	}},
	{"step-down", func(f *testCluster) func() {
		if l := f.leader(); l != nil {
			_, _ = request(l.Server, f.root, "PUT", "sys/step-down", nil) // it may have lost the office by itself
		}
		return func() {}
	}},
	{"restart in order", func(f *testCluster) func() {
		n := somebody(f)
		f.must(n.Stop())
		return func() { f.must(n.Start()) }
	}},
	{"rotation", func(f *testCluster) func() {
		if reply, err := request(somebody(f).Server, f.root, "PUT", "sys/rotate", nil); err == nil && reply.Code == http.StatusNoContent {
			f.rotations++
		}
		return func() {}
	}},
}

// TestLinearizable runs clients against a cluster while events happen, and judges the history.
func TestLinearizable(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *depot{"etcd": onEtcd, "postgresql": onPostgreSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newTestCluster(t, open(t))
			h := &history{began: time.Now(), odd: map[string]int{}}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() { h.client(ctx, i, f) })
			}
			happened := map[string]int{}
			for i := range events(t) {
				e := happenings[(i+rand.IntN(2))%len(happenings)]
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
			t.Logf("%v; %d terms of office", happened, len(f.epochs))
			h.judge(t)
			f.terms()
		})
	}
}

// pause lets things happen: it is the length of an event, not a wait for something.
func pause(d time.Duration) { time.Sleep(d) }

// terms looks at the barrier's terms: every rotation that was acknowledged is there.
func (f *testCluster) terms() {
	f.t.Helper()
	reply := f.call(f.untilLed(), 200, "GET", "sys/key-status", nil)
	var status struct{ Term int }
	if err := reply.Decode(&status); err != nil || status.Term < 1+f.rotations {
		f.t.Errorf("after %d rotations: %s, %v", f.rotations, reply.Body, err)
	}
}
