package transit

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// renewer renews the token when a third of its lease is left.
type renewer struct {
	name  string
	log   *slog.Logger
	renew func(context.Context) (lease time.Duration, renewable bool, err error) // nil: nothing is renewed

	mu      sync.Mutex
	cancel  context.CancelFunc
	ended   chan struct{}
	changed chan struct{} // capacity 1: another token is in use
	closed  bool
}

const (
	renewAgain    = 5 * time.Second // after a failure, and the minimum between renewals
	renewAgainMax = time.Minute
)

// tokenChanged is called when a new token is in use, including the first.
func (r *renewer) tokenChanged() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.renew == nil || r.closed {
		return
	}
	if r.cancel == nil {
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel, r.ended, r.changed = cancel, make(chan struct{}), make(chan struct{}, 1)
		go r.run(ctx)
		return
	}
	select {
	case r.changed <- struct{}{}:
	default: // a change is already pending
	}
}

func (r *renewer) close() {
	r.mu.Lock()
	r.closed = true
	cancel, ended := r.cancel, r.ended
	r.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
}

func (r *renewer) run(ctx context.Context) {
	defer close(r.ended)
	failures := 0
	for {
		lease, renewable, err := r.renew(ctx)
		var wait time.Duration
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			wait = min(renewAgain<<min(failures-1, 10), renewAgainMax)
			r.log.Warn("the token of the transit seal could not be renewed",
				"seal", r.name, "error", cause(err), "retry_in", wait)
		default:
			failures, wait = 0, r.next(lease, renewable)
		}
		if !r.sleep(ctx, wait) {
			return
		}
	}
}

// next returns the wait until the next renewal, 0 for a token that cannot be renewed.
func (r *renewer) next(lease time.Duration, renewable bool) time.Duration {
	switch {
	case lease <= 0: // a root token, or one that only its issuer renews
		r.log.Debug("the token of the transit seal is not renewable", "seal", r.name)
		return 0
	case !renewable:
		r.log.Warn("the token of the transit seal expires and cannot be renewed; replace it before it does",
			"seal", r.name, "left", lease)
		return 0
	}
	spread := 0.9 + 0.2*rand.Float64()
	return max(time.Duration(float64(lease)*2/3*spread), min(renewAgain, lease/2))
}

// sleep waits for d (0: without limit) or for another token. It returns false where ctx ended.
func (r *renewer) sleep(ctx context.Context, d time.Duration) bool {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-over:
	case <-r.changed:
	}
	return true
}

// cause shortens the client's multi-line error.
func cause(err error) error {
	if text := answer(err); text != "" {
		return errors.New(text)
	}
	return err
}
