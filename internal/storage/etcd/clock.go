//go:build !linux

package etcd

import "time"

// clock is Go's monotonic clock, which runs on while the process is stopped.
func clock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
