package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"
)

// sink creates the destination of a device, and returns its deadline.
func (t *Trail) sink(kind string, s settings) (sink, time.Duration) {
	switch {
	case s.file == "stdout":
		return &streamSink{t.o.Stdout}, t.o.Deadline
	case s.file == "discard":
		return &streamSink{io.Discard}, t.o.Deadline
	case kind == "file":
		return &fileSink{path: s.file, mode: s.mode, folder: s.folder, prefix: s.prefix}, t.o.Deadline
	case kind == "socket":
		return &socketSink{network: s.network, address: s.address, timeout: s.timeout}, s.timeout
	}
	return &logSink{open: func() (io.WriteCloser, error) { return t.o.Syslog(s.facility, s.tag) }}, t.o.Deadline
}

// whole returns how many lines are complete within the first n bytes.
func whole(ends []int, n int) int {
	return sort.SearchInts(ends, n+1)
}

// streamSink writes to an already open stream.
type streamSink struct{ w io.Writer }

func (s *streamSink) write(lines []byte, ends []int) (int, error) {
	n, err := s.w.Write(lines)
	return whole(ends, n), err
}

func (s *streamSink) reopen() error { return nil }
func (s *streamSink) close() error  { return nil }

// fileSink appends to a file. It removes a partially written entry, for example on a full disk, if
// it can; otherwise it starts the next entry on a new line.
type fileSink struct {
	path   string
	folder string      // that confines path, see [openConfined]; "": none
	prefix string      // of entries
	mode   os.FileMode // 0: unchanged
	f      *os.File    // nil: not open
	size   int64       // as far as this sink knows; -1: not a regular file
	torn   bool        // the file ends with an incomplete line
}

func (s *fileSink) reopen() error {
	old := s.f
	s.f = nil
	if err := s.open(); err != nil {
		// The open file was moved, removed or asked to be reopened. If its name cannot be opened,
		// it is not written to either.
		return errors.Join(err, closeFile(old))
	}
	return closeFile(old)
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func (s *fileSink) close() error {
	f := s.f
	s.f = nil
	return closeFile(f)
}

// open opens the file for appending and creates it if it does not exist. Its folder must exist.
func (s *fileSink) open() error {
	mode := s.mode
	if mode == 0 {
		mode = 0o600
	}
	flags := os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if info, err := os.Stat(s.path); err == nil && info.Mode().IsRegular() {
		flags = os.O_RDWR | os.O_APPEND | os.O_CREATE // readable, to check its last byte
	}
	f, err := s.openFile(flags, mode)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.f, s.size, s.torn = f, -1, false
	if !info.Mode().IsRegular() {
		return nil
	}
	if s.mode != 0 && info.Mode().Perm() != s.mode {
		if err := f.Chmod(s.mode); err != nil {
			return errors.Join(fmt.Errorf("setting the mode of the audit log: %w", err), s.close())
		}
	}
	if s.size = info.Size(); s.size > 0 {
		var last [1]byte
		_, err := f.ReadAt(last[:], s.size-1)
		s.torn = err == nil && last[0] != '\n'
	}
	return nil
}

func (s *fileSink) openFile(flags int, mode os.FileMode) (*os.File, error) {
	if s.folder != "" {
		return openConfined(s.folder, s.path, s.prefix, mode)
	}
	f, err := os.OpenFile(s.path, flags, mode)
	if errors.Is(err, os.ErrPermission) && flags&os.O_RDWR != 0 {
		return os.OpenFile(s.path, os.O_WRONLY|os.O_APPEND, mode)
	}
	return f, err
}

// write appends the lines. If the file was removed meanwhile, it is created again, provided that
// its folder exists.
func (s *fileSink) write(lines []byte, ends []int) (int, error) {
	for range 2 {
		if s.f == nil {
			if err := s.open(); err != nil {
				return 0, err
			}
		}
		n, err := s.append(lines, ends)
		if err != nil {
			return n, errors.Join(err, s.close())
		}
		info, err := s.f.Stat()
		if err != nil {
			return 0, errors.Join(err, s.close())
		}
		if !removed(info) {
			return n, nil
		}
		if err := s.close(); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("audit: %s is removed each time it is created; find the process that removes it", s.path)
}

func (s *fileSink) append(lines []byte, ends []int) (int, error) {
	if s.torn {
		if _, err := s.f.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		s.size, s.torn = s.size+1, false
	}
	n, err := s.f.Write(lines)
	if err == nil {
		if s.size >= 0 {
			s.size += int64(n)
		}
		return len(ends), nil
	}
	done := whole(ends, n)
	keep := 0
	if done > 0 {
		keep = ends[done-1]
	}
	if n > keep {
		s.torn = true
		s.repair(int64(n), int64(keep))
	}
	return done, err
}

// repair truncates an incomplete line, unless another process writes to the file too.
func (s *fileSink) repair(wrote, keep int64) {
	info, err := s.f.Stat()
	if s.size < 0 || err != nil || info.Size() != s.size+wrote {
		return
	}
	s.torn = s.f.Truncate(s.size+keep) != nil
}
