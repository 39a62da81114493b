package bbolt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/storage"
)

// lockRetry is the pause between two attempts.
const lockRetry = 20 * time.Millisecond

// lock takes the exclusive lock on a file, and waits for it at most wait.
func lock(ctx context.Context, f *os.File, wait time.Duration) error {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return ioError(f.Name(), "locking", err)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("%w: %s is open%s; stop that process, or use another folder", storage.ErrLocked, f.Name(),
				holder(f))
		}
	}
}

// letGo closes a file that the library cannot close. The library's map keeps the lock, so it is
// released explicitly.
func letGo(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// holder names the process that holds the lock, if the kernel reports it (Linux).
func holder(f *os.File) string {
	pid := holderPID(f)
	switch {
	case pid <= 0:
		return ""
	case pid == os.Getpid():
		return " in this process"
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		return fmt.Sprintf(" in process %d (%s)", pid, strings.TrimSpace(string(name)))
	}
	return fmt.Sprintf(" in process %d", pid)
}

// holderPID looks the file up in /proc/locks:
//
//	1: FLOCK  ADVISORY  WRITE 4711 08:02:1835010 0 EOF
func holderPID(f *os.File) int {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	dev := uint64(stat.Dev)
	want := fmt.Sprintf("%02x:%02x:%d", unix.Major(dev), unix.Minor(dev), stat.Ino)
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return 0
	}
	defer locks.Close()
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 6 && fields[1] == "FLOCK" && fields[5] == want {
			pid, _ := strconv.Atoi(fields[4])
			return pid
		}
	}
	return 0
}
