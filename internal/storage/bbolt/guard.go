package bbolt

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/sealgate/sealgate/internal/storage"
)

// panicError is what the library panicked with: a failed assertion, or a fault in mapped memory.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprint(p.value) }

// guard runs f such that a damaged file gives an error. The library reads mapped memory by offsets that lie in the
// file: they may lead out of the map (SIGSEGV), behind the end of the file or to a bad sector (SIGBUS), or into an assertion.
func (s *Store) guard(f func() error) error {
	err := guarded(f)
	var p *panicError
	if errors.As(err, &p) {
		return corrupt(s.path, "reading it failed: %v", p)
	}
	return err
}

// guarded returns a panic of f as a *panicError.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v}
		}
	}()
	return f()
}

// noRoom are the errors of a write for which there is no room: the device, a quota, a limit of the process.
var noRoom = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}

// full recognises them, also where the library kept only their text.
func full(err error) bool {
	if err == nil {
		return false
	}
	for _, errno := range noRoom {
		if errors.Is(err, errno) || strings.HasSuffix(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}

// fullError tells what to do.
func fullError(path string, cause error) error {
	return fmt.Errorf("%w: writing %s: %w; make room on its file system, the write can then be repeated", storage.ErrFull, path, cause)
}
