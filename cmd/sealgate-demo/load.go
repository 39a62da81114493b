package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/e2e"
)

// load is a group of clients that write and read until stop.
type load struct {
	server *e2e.Server
	token  string
	cancel context.CancelFunc
	wg     sync.WaitGroup

	reads, writes atomic.Int64
	expected      atomic.Int64 // failures while the server was down
	down          atomic.Int32 // odd while the server is down

	mu       sync.Mutex
	acked    map[string]string // every acknowledged write
	failures []string          // unexpected ones
	lost     int
	slowest  time.Duration
}

// pause limits each client's rate: the demo shows that nothing is lost, not the speed.
const pause = 3 * time.Millisecond

func startLoad(s *e2e.Server, token string, clients int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{server: s, token: token, cancel: cancel, acked: map[string]string{}}
	for c := range clients {
		l.wg.Go(func() { l.client(ctx, c) })
	}
	return l
}

// client alternates between writing a new key and reading one of its own.
func (l *load) client(ctx context.Context, c int) {
	var mine []string
	for i := 0; ctx.Err() == nil; i++ {
		key, value := fmt.Sprintf("kv/client-%d/%d", c, i), fmt.Sprintf("value %d of client %d", i, c)
		if l.write(ctx, key, value) {
			mine = append(mine, key)
		}
		if len(mine) > 0 {
			l.read(ctx, mine[rand.IntN(len(mine))])
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (l *load) write(ctx context.Context, key, value string) bool {
	if !l.request(ctx, "PUT", key, map[string]string{"v": value}, 204, nil) {
		return false
	}
	l.writes.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[key] = value
	return true
}

func (l *load) read(ctx context.Context, key string) {
	ok := l.request(ctx, "GET", key, nil, 200, func(body []byte) error { return l.compare(key, body) })
	if ok {
		l.reads.Add(1)
	}
}

// compare checks a value against the acknowledged one.
func (l *load) compare(key string, body []byte) error {
	var r struct{ Data struct{ V string } }
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Data.V != l.acked[key] {
		l.lost++
		return fmt.Errorf("read %q, acknowledged was %q", r.Data.V, l.acked[key])
	}
	return nil
}

// request sends one request and checks the response. A failure is expected only if the server was
// down at its start or end.
func (l *load) request(ctx context.Context, method, key string, body any, want int, check func([]byte) error) bool {
	before := l.down.Load()
	begin := time.Now()
	r, err := l.server.Do(ctx, method, key, l.token, body)
	took := time.Since(begin)
	switch {
	case err == nil && r.Code != want:
		err = fmt.Errorf("status %d: %s", r.Code, r.Errors())
	case err == nil && check != nil:
		err = check(r.Body)
	}
	if err == nil {
		l.note(took)
		return true
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return false
	}
	if before%2 == 1 || l.down.Load() != before {
		l.expected.Add(1)
		time.Sleep(pause)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, fmt.Sprintf("%s %s: %v", method, key, err))
	return false
}

func (l *load) note(took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, took)
}

// window opens and closes the period in which requests may fail.
func (l *load) window(open bool) {
	if open != (l.down.Load()%2 == 1) {
		l.down.Add(1)
	}
}

func (l *load) count() int64 { return l.reads.Load() + l.writes.Load() }

// until waits for n responses.
func (l *load) until(n int64) error {
	deadline := time.Now().Add(30 * time.Second)
	for l.count() < n {
		if time.Now().After(deadline) {
			return fmt.Errorf("the clients got %d responses within 30 s, not %d", l.count(), n)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
}

// readBack reads every acknowledged key once.
func (l *load) readBack(ctx context.Context) error {
	keys := slices.Collect(maps.Keys(l.acked))
	next := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for key := range next {
				l.read(ctx, key)
			}
		})
	}
	before := l.reads.Load()
	for _, key := range keys {
		next <- key
	}
	close(next)
	wg.Wait()
	if got := l.reads.Load() - before; got != int64(len(keys)) {
		return fmt.Errorf("%d of %d acknowledged writes were read back; first failures: %v", got, len(keys),
			l.failures[:min(3, len(l.failures))])
	}
	fmt.Printf("  -> %d of %d\n", len(keys), len(keys))
	return nil
}
