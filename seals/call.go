package seals

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// maxCalls bounds the calls in progress to one seal, so that a provider that never returns costs a
// few goroutines, not one for each probe.
const maxCalls = 8

// semaphore counts the calls in progress to one seal.
type semaphore chan struct{}

func newSemaphores(n int) []semaphore {
	out := make([]semaphore, n)
	for i := range out {
		out[i] = make(semaphore, maxCalls)
	}
	return out
}

// invoke calls a seal. A provider that is [Bounded] runs on the caller's goroutine and keeps its
// own deadline; any other runs in a goroutine that is abandoned at the set's deadline.
func invoke[T any](
	ctx context.Context, s *Set, i int, call func(context.Context) (T, error), discard func(T),
) (T, error) {
	if _, ok := s.seals[i].Wrapper.(Bounded); ok {
		return call(ctx)
	}
	return abandonable(ctx, s.calls[i], s.opts.Deadline, call, discard)
}

// abandonable runs a call with a deadline that holds even where the provider ignores its context.
// An abandoned call keeps its place in the semaphore until it returns; its late result goes to
// discard.
func abandonable[T any](
	ctx context.Context, sem semaphore, d time.Duration, call func(context.Context) (T, error), discard func(T),
) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, d)
	select {
	case sem <- struct{}{}:
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
		<-sem
		select {
		case answer <- result{v, err}:
		case <-ctx.Done():
			if discard != nil {
				discard(v)
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

// overdue distinguishes a missed deadline from a cancelled request.
func overdue(ctx context.Context, d time.Duration) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return Fail(Unreachable, ctx.Err(), "the request was cancelled before the seal answered; try again")
	}
	return Fail(Unreachable, fmt.Errorf("no answer within %s: %w", d, ctx.Err()),
		"check that the device or service is up and reachable from this host")
}
