package listener

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// net/http sets the read deadline of a connection up to six times for each request: before and
// after it waits for the request, before and after the headers, and twice to end the read that
// watches for a closed connection. Each is a timer of the runtime. These connections note the
// deadline and set a timer only where the one that runs would fire too late. A timer that fires too
// early is set again, and the read continues.

// timerStep is how far ahead a timer is set at most, so that the deadlines that follow are later.
const timerStep = readHeaderTimeout

// begun is before every deadline that is to be waited for: an earlier one interrupts a read.
var begun = time.Now()

// patient is a listener of such connections.
type patient struct{ net.Listener }

// Accept accepts a connection.
func (l patient) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &patientConn{Conn: c, writing: writing{stall: writeStall}}, nil
}

type patientConn struct {
	net.Conn

	mu       sync.Mutex
	deadline time.Time // of reads; zero: none
	timer    time.Time // when the connection's own deadline fires; zero: never

	writing writing
}

// SetReadDeadline sets the deadline of reads, those under way included.
func (c *patientConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if t.IsZero() || !c.timer.IsZero() && !t.Before(c.timer) {
		return nil
	}
	return c.set(t)
}

// SetDeadline sets both deadlines.
func (c *patientConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// set sets the connection's own deadline. The caller holds mu.
func (c *patientConn) set(t time.Time) error {
	c.timer = t
	return c.Conn.SetReadDeadline(t)
}

// Read reads until the deadline.
func (c *patientConn) Read(b []byte) (int, error) {
	if err := c.resume(); err != nil {
		return 0, err
	}
	for {
		n, err := c.Conn.Read(b)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.early() {
			return n, err
		}
	}
}

// resume sets the timer of a connection whose last read was interrupted.
func (c *patientConn) resume() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	interrupted := !c.timer.IsZero() && c.timer.Before(begun)
	switch {
	case !interrupted:
		return nil
	case c.deadline.IsZero():
		return c.set(c.deadline)
	case c.deadline.Before(begun):
		return nil // the read fails at once
	}
	if next := time.Now().Add(timerStep); next.Before(c.deadline) {
		return c.set(next)
	}
	return c.set(c.deadline)
}

// early reports whether the timer fired before the deadline, and sets it again.
func (c *patientConn) early() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		return false
	}
	return c.set(c.deadline) == nil
}

// CloseWrite ends the stream to the client; net/http does so before it closes a connection with
// unread bytes, so that the client gets the answer.
func (c *patientConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
