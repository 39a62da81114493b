package api

import (
	"context"
	"sync"
	"time"
)

// deadline is the context of a request that ends at a time. Unlike [context.WithTimeout] it sets no
// timer before its end is waited for: most requests end without that, and setting a timer costs
// more than authorising them. It is safe for concurrent use.
type deadline struct {
	context.Context // the connection's
	at              time.Time

	mu    sync.Mutex
	inner context.Context // with a timer; nil until Done is called
	stop  context.CancelFunc
	ended bool // the request is over
}

// WithTimeout is [context.WithTimeout], with a timer only where the end is waited for.
func WithTimeout(parent context.Context, d time.Duration) (ctx context.Context, end func()) {
	c := new(deadline).begin(parent, time.Now().Add(d))
	return c, c.end
}

// begin sets the deadline of a request.
func (c *deadline) begin(parent context.Context, at time.Time) *deadline {
	c.Context, c.at = parent, at
	if at, ok := parent.Deadline(); ok && at.Before(c.at) {
		c.at = at
	}
	return c
}

// Deadline returns the time.
func (c *deadline) Deadline() (time.Time, bool) { return c.at, true }

// Done is closed when the request is over, its connection is closed, or its time is up.
func (c *deadline) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.stop = context.WithDeadline(c.Context, c.at)
		if c.ended {
			c.stop()
		}
	}
	return c.inner.Done()
}

// Err returns why Done is closed.
func (c *deadline) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner != nil {
		return c.inner.Err()
	}
	if err := c.Context.Err(); err != nil {
		return err
	}
	switch {
	case c.ended:
		return context.Canceled
	case !time.Now().Before(c.at):
		return context.DeadlineExceeded
	}
	return nil
}

// end marks the request as over.
func (c *deadline) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.stop != nil {
		c.stop()
	}
}
