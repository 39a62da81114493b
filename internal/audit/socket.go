package audit

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// socketSink writes to a connection and replaces a broken one. A write has no deadline of its own:
// the device stops waiting after its deadline, and sends nothing else while the peer does not read.
// Closing and reconnecting instead would lose entry after entry to a peer that never reads.
type socketSink struct {
	network, address string
	timeout          time.Duration // of connecting
	conn             net.Conn
	gone             *atomic.Bool // the peer closed the connection
	reader           sync.WaitGroup

	mu      sync.Mutex
	current net.Conn // conn, for abort
	aborted bool
}

// abort interrupts a hung write. It may be called at any time.
func (s *socketSink) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.aborted = true
		_ = s.current.Close()
	}
}

// publish makes the connection visible to abort, and reports whether the previous one was aborted.
func (s *socketSink) publish(c net.Conn) (aborted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	aborted, s.aborted = s.aborted, false
	s.current = c
	return aborted
}

func (s *socketSink) reopen() error {
	if s.conn != nil {
		return nil
	}
	return s.open()
}

func (s *socketSink) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, s.network, s.address)
	if err != nil {
		return err
	}
	gone := &atomic.Bool{}
	s.conn, s.gone = conn, gone
	s.publish(conn)
	if s.stream() {
		s.reader.Go(func() {
			_, _ = io.Copy(io.Discard, conn) // until either side closes it
			gone.Store(true)
		})
	}
	return nil
}

func (s *socketSink) stream() bool {
	return strings.HasPrefix(s.network, "tcp") || s.network == "unix"
}

func (s *socketSink) close() error {
	if s.conn == nil {
		return nil
	}
	s.publish(nil)
	err := s.conn.Close()
	s.conn = nil
	s.reader.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// write sends the lines, over a new connection if necessary.
func (s *socketSink) write(lines []byte, ends []int) (n int, err error) {
	for range 2 {
		if s.conn != nil && s.gone.Load() {
			_ = s.close() // every line it sent was counted
		}
		if s.conn == nil {
			if err = s.open(); err != nil {
				return n, err
			}
		}
		var sent int
		sent, err = s.send(lines, ends, n)
		if n += sent; err == nil {
			return n, nil
		}
		aborted := s.publish(nil)
		_ = s.close() // the write's error is the one to report
		if aborted {
			return n, err
		}
	}
	return n, err
}

// send sends the lines from number first on: a stream in one write, datagrams one by one.
func (s *socketSink) send(lines []byte, ends []int, first int) (int, error) {
	begin := 0
	if first > 0 {
		begin = ends[first-1]
	}
	if s.stream() {
		n, err := s.conn.Write(lines[begin:])
		return whole(ends, begin+n) - first, err
	}
	for i, end := range ends[first:] {
		if _, err := s.conn.Write(lines[begin:end]); err != nil {
			return i, err
		}
		begin = end
	}
	return len(ends) - first, nil
}

// logSink writes each entry as one syslog message.
type logSink struct {
	open func() (io.WriteCloser, error)
	w    io.WriteCloser
}

func (s *logSink) reopen() error {
	if s.w != nil {
		return nil
	}
	w, err := s.open()
	if err != nil {
		return err
	}
	s.w = w
	return nil
}

func (s *logSink) close() error {
	if s.w == nil {
		return nil
	}
	err := s.w.Close()
	s.w = nil
	return err
}

func (s *logSink) write(lines []byte, ends []int) (int, error) {
	begin := 0
	for i, end := range ends {
		if err := s.message(lines[begin:end]); err != nil {
			return i, err
		}
		begin = end
	}
	return len(ends), nil
}

// message sends one message, over a new connection if the old one is broken.
func (s *logSink) message(line []byte) error {
	var err error
	for range 2 {
		if err = s.reopen(); err != nil {
			return err
		}
		if _, err = s.w.Write(line); err == nil {
			return nil
		}
		_ = s.close() // the write's error is the one to report
	}
	return err
}
