// Package clock waits: until a time has passed or a context has ended, with jitter where several
// nodes would otherwise act at once.
package clock

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits for d, or until ctx ends. It reports whether ctx still lasts.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// Jitter returns d, longer or shorter by up to a quarter.
func Jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}
