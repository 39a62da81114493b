package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// traffic is clients that write and read all the time, each a few hundred keys in turn.
type traffic struct {
	harness *harness
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	n       atomic.Int64

	mu     sync.Mutex
	acked  map[string]string
	faults []string
}

func (r *harness) startTraffic(clients int) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	l := &traffic{harness: r, cancel: cancel, acked: map[string]string{}}
	r.t.Cleanup(func() { l.end() })
	for c := range clients {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.once(ctx, fmt.Sprintf("load/%d-%d", c, i%300), fmt.Sprint("value ", i))
			}
		})
	}
	return l
}

func (l *traffic) once(ctx context.Context, key, value string) {
	for _, step := range []func() (Reply, int, error){
		func() (Reply, int, error) {
			reply, err := l.harness.Server.Do(ctx, "PUT", "kv/"+key, l.harness.root, map[string]string{"v": value})
			return reply, 204, err
		},
		func() (Reply, int, error) {
			reply, err := l.harness.Server.Do(ctx, "GET", "kv/"+key, l.harness.root, nil)
			return reply, 200, err
		},
	} {
		began := time.Now()
		reply, want, err := step()
		if ctx.Err() != nil {
			return // cut off by the end of the test: it may have happened or not
		}
		l.mu.Lock()
		switch {
		case err != nil || reply.Code != want:
			l.faults = append(l.faults, fmt.Sprintf("%s: %d %s %v after %s", key, reply.Code, reply.Body, err,
				time.Since(began)))
		case want == 204:
			l.acked[key] = value
		}
		l.mu.Unlock()
		l.n.Add(1)
	}
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Millisecond):
	}
}

// goesOn waits for n more answers.
func (l *traffic) goesOn(n int64) {
	l.harness.t.Helper()
	from := l.n.Load()
	l.harness.eventually(patience, fmt.Sprintf("serving %d more requests", n),
		func() bool { return l.n.Load() >= from+n })
}

func (l *traffic) end() {
	l.cancel()
	l.wg.Wait()
}

// stop ends the clients: no request may have failed, and all that was acknowledged must be there.
// What was under way at the end may have been written.
func (l *traffic) stop(t *testing.T) {
	t.Helper()
	l.end()
	if len(l.faults) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(l.faults), l.n.Load(), l.faults[0])
	}
	newer := 0
	for key, want := range l.acked {
		if got, reply := l.harness.get(key); reply.Code != 200 || got != want {
			if newer++; reply.Code != 200 || newer > 8 {
				t.Errorf("read back %s: %d %q, want %q", key, reply.Code, got, want)
			}
		}
	}
}
