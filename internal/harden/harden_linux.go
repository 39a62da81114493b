package harden

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Process hardens this process. It is called before the first secret is read.
func Process() error {
	var errs []error
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("PR_SET_DUMPABLE: %w", err))
	}
	// EINVAL: the kernel has no Yama, and dumpable decides alone.
	if err := unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		errs = append(errs, fmt.Errorf("PR_SET_PTRACER: %w", err))
	}
	if err := limitCore(func(l *unix.Rlimit) { l.Cur = 0 }); err != nil {
		errs = append(errs, fmt.Errorf("RLIMIT_CORE: %w", err))
	}
	return errors.Join(errs...)
}

// AllowDebugging undoes Process, so that debuggers can attach and a crash can dump core.
func AllowDebugging() error {
	return errors.Join(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0),
		limitCore(func(l *unix.Rlimit) { l.Cur = l.Max }))
}

// limitCore changes the soft limit alone: a hard limit cannot be raised again.
func limitCore(change func(*unix.Rlimit)) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &l); err != nil {
		return err
	}
	change(&l)
	return unix.Setrlimit(unix.RLIMIT_CORE, &l)
}
