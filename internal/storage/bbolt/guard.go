package bbolt

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/sealgate/sealgate/internal/storage"
)

// panicError is a panic of the library: a failed assertion, or a fault in mapped memory.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprint(p.value) }

// guard runs f, which reads what, such that a damaged file causes an error. The library reads
// mapped memory by offsets from the file, which may point outside the map (SIGSEGV), beyond the end
// of the file or to a bad sector (SIGBUS), or fail an assertion.
func (s *Store) guard(what reading, f func() error) error {
	err := guarded(f)
	var p *panicError
	if errors.As(err, &p) {
		page, ok := s.unreadablePage(p)
		if !ok {
			return corrupt(s.path, "reading it failed: %v", p)
		}
		err = unreadableError(s.path, page, what)
		s.unreadable.failed(what, err)
		return err
	}
	if err == nil || errors.Is(err, storage.ErrNotFound) {
		s.unreadable.worked(what)
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

// noRoom lists the errors of a write without space: of the device, a quota, a limit of the process.
var noRoom = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}

// full reports whether err is one of them, even if the library kept only its text.
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

// fullError names the remedy.
func fullError(path string, cause error) error {
	return fmt.Errorf("%w: writing %s: %w; free space on its file system, then repeat the write", storage.ErrFull, path,
		cause)
}
