package etcd

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock is CLOCK_BOOTTIME, which runs on while the process is stopped and while the machine is
// suspended.
func clock() func() time.Duration {
	return func() time.Duration {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
			panic("etcd: CLOCK_BOOTTIME: " + err.Error()) // exists since Linux 2.6.39; leases are unsafe without it
		}
		return time.Duration(t.Nano())
	}
}
