// Package remote calls the client libraries of remote services.
//
// It guarantees that a call returns by its deadline even where the library ignores its context, and
// that a panic of the library becomes an error of the call. An abandoned call runs until the
// library returns; [Limiter] bounds the number of such calls.
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

// ErrPanic is the cause of a failure for a call in which the library panicked.
var ErrPanic = errors.New("the service's client library panicked")

// Limiter bounds the calls in progress, including abandoned ones. Its goroutines serve many calls,
// which saves growing their stacks again, and end when idle.
type Limiter struct {
	slots chan struct{}
	work  chan func()
}

// idle is how long a goroutine waits for another call.
const idle = 100 * time.Millisecond

// NewLimiter allows n calls at once.
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
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for {
		f()
		timer.Reset(idle)
		select {
		case f = <-g.work:
		case <-timer.C:
			return
		}
	}
}

// Call runs f and returns its result, or a failure when the context ends first. f is then
// abandoned, and its late result goes to discard.
func Call[T any](ctx context.Context, g *Limiter, f func(context.Context) (T, error), discard func(T)) (T, error) {
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
		case <-ctx.Done():
			if discard != nil {
				discard(v)
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
			// The value of the panic may contain the arguments of the call.
			err = seals.Fail(seals.Corrupt, fmt.Errorf("%w: %T", ErrPanic, r),
				"check that the service's address is correct and no proxy answers in its place")
		}
	}()
	return f(ctx)
}

// Over classifies the end of ctx: a missed deadline or a cancelled request.
func Over(ctx context.Context, err error) *seals.Failure {
	if errors.Is(ctx.Err(), context.Canceled) {
		return seals.Fail(seals.Unreachable, err, "the request was cancelled before the service answered; try again")
	}
	return seals.Fail(seals.Unreachable, err,
		"check that the service is up and reachable from this host; raise timeout if it is only slow")
}

// Limit truncates responses that are longer than n bytes.
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

// Timeout parses the parameter timeout: a duration, or a number of seconds; "" means the default.
func Timeout(v string) (time.Duration, error) {
	if v == "" {
		return seals.DefaultDeadline, nil
	}
	d, err := time.ParseDuration(v)
	if n, nerr := strconv.Atoi(v); nerr == nil {
		d, err = time.Duration(min(n, 1<<20))*time.Second, nil
	}
	if err != nil || d < 100*time.Millisecond || d > 10*time.Minute {
		return 0, fmt.Errorf(
			"timeout = %q: it must be a duration from 100ms to 10m, like 10s, or a number of seconds",
			v,
		)
	}
	return d, nil
}
