// Package remote is what providers share whose key is in somebody else's service.
//
// It guarantees that a call returns by its deadline even where the library below ignores its context, and that a panic of that library is an
// error of the call. A call that was left behind goes on until the library returns; [Limiter] bounds how many do.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// ErrPanic is the cause of the failure of a call in which the library panicked.
var ErrPanic = errors.New("the service's library broke down")

// Limiter bounds the calls under way, those that nobody waits for any more among them. Its goroutines serve call after call, with
// the stacks that libraries have grown in them, and end when there is nothing to do.
type Limiter struct {
	slots chan struct{}
	work  chan func()
}

// rest is how long a goroutine waits for another call.
const rest = 100 * time.Millisecond

// NewLimiter lets n calls through at once.
func NewLimiter(n int) *Limiter {
	return &Limiter{slots: make(chan struct{}, n), work: make(chan func())}
}

func (g *Limiter) run(f func()) {
	select {
	case g.work <- f:
	default:
		go g.serve(f)
	}
}

func (g *Limiter) serve(f func()) {
	timer := time.NewTimer(rest)
	defer timer.Stop()
	for {
		f()
		timer.Reset(rest)
		select {
		case f = <-g.work:
		case <-timer.C:
			return
		}
	}
}

// Call runs f and returns what it returns, or a failure when the context ends first; then f goes on by itself, and what it
// returns late goes to drop.
func Call[T any](ctx context.Context, g *Limiter, f func(context.Context) (T, error), drop func(T)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, Over(ctx, ctx.Err())
	}
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return none, Over(ctx, fmt.Errorf("%d earlier calls have not returned: %w", cap(g.slots), ctx.Err()))
	}
	type result struct {
		v   T
		err error
	}
	answer := make(chan result)
	g.run(func() {
		v, err := guarded(ctx, f)
		<-g.slots
		select {
		case answer <- result{v, err}:
		case <-ctx.Done(): // nobody waits any more
			if drop != nil {
				drop(v)
			}
		}
	})
	select {
	case r := <-answer:
		return r.v, r.err
	case <-ctx.Done():
		return none, Over(ctx, ctx.Err())
	}
}

func guarded[T any](ctx context.Context, f func(context.Context) (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			// What it panicked with may quote what it was given: the kind is enough.
			err = seals.Fail(seals.Corrupt, fmt.Errorf("%w: %T", ErrPanic, r), "see what stands at the service's address: its answer is not one of the service's")
		}
	}()
	return f(ctx)
}

// Over tells a deadline from a caller that went away.
func Over(ctx context.Context, err error) *seals.Failure {
	if errors.Is(ctx.Err(), context.Canceled) {
		return seals.Fail(seals.Unreachable, err, "the request was given up before the service answered; try again")
	}
	return seals.Fail(seals.Unreachable, err, "see whether the service is up and reachable from this host; raise timeout if it is only slow")
}

// Limit cuts answers that are longer than n bytes.
func Limit(inner http.RoundTripper, n int64) http.RoundTripper { return limited{inner, n} }

type limited struct {
	inner http.RoundTripper
	n     int64
}

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.inner.RoundTrip(req)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, l.n), resp.Body}
	}
	return resp, err
}

// Timeout reads the parameter of that name: a duration, or a number of seconds; "" is the usual one.
func Timeout(v string) (time.Duration, error) {
	if v == "" {
		return seals.DefaultDeadline, nil
	}
	d, err := time.ParseDuration(v)
	if n, nerr := strconv.Atoi(v); nerr == nil {
		d, err = time.Duration(min(n, 1<<20))*time.Second, nil
	}
	if err != nil || d < 100*time.Millisecond || d > 10*time.Minute {
		return 0, fmt.Errorf("timeout = %q: it must be a duration from 100ms to 10m, like 10s, or a number of seconds", v)
	}
	return d, nil
}
