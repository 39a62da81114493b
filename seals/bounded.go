package seals

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxCalls bounds the calls that one seal has under way, so that a provider that never returns costs a few goroutines, not one for each probe.
const maxCalls = 8

// gate counts the calls under way to one seal.
type semaphore chan struct{}

func newSemaphores(n int) []semaphore {
	out := make([]semaphore, n)
	for i := range out {
		out[i] = make(semaphore, maxCalls)
	}
	return out
}

// bounded runs a call with a deadline that holds even where the provider ignores its context: the call is then
// left to end by itself, and what it returns late goes to drop.
func bounded[T any](ctx context.Context, g semaphore, d time.Duration, call func(context.Context) (T, error), drop func(T)) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, d)
	select {
	case g <- struct{}{}:
	case <-ctx.Done():
		cancel()
		return none, Fail(Unreachable, fmt.Errorf("%d earlier calls have not returned: %w", maxCalls, ctx.Err()),
			"the device or service accepts calls and does not answer them; restart it")
	}
	type result struct {
		v   T
		err error
	}
	answer := make(chan result)
	go func() {
		defer cancel()
		v, err := call(ctx)
		<-g
		select {
		case answer <- result{v, err}:
		case <-ctx.Done(): // nobody waits any more
			if drop != nil {
				drop(v)
			}
		}
	}()
	select {
	case r := <-answer:
		return r.v, r.err
	case <-ctx.Done():
		return none, overdue(ctx, d)
	}
}

// overdue tells a deadline from a caller that went away.
func overdue(ctx context.Context, d time.Duration) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return Fail(Unreachable, ctx.Err(), "the request was given up before the seal answered; try again")
	}
	return Fail(Unreachable, fmt.Errorf("no answer within %s: %w", d, ctx.Err()),
		"see whether the device or service is up and reachable from this host")
}
