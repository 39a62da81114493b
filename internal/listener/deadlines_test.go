package listener

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair is a patient connection and its client.
func pair(t *testing.T) (c *patientConn, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	accepted, err := patient{l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = accepted.Close(), client.Close() })
	return accepted.(*patientConn), client
}

// timedOut reads until the deadline, and returns when that was.
func timedOut(t *testing.T, c net.Conn) time.Time {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v; want a deadline", n, err)
	}
	return time.Now()
}

// TestReadDeadlines: a later deadline holds although the timer of an earlier one runs, an earlier
// one holds at once, and a read that was interrupted can be made again.
func TestReadDeadlines(t *testing.T) {
	t.Parallel()
	c, client := pair(t)
	set := func(at time.Time) time.Time {
		t.Helper()
		if err := c.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	set(time.Now().Add(5 * time.Millisecond))
	later := set(time.Now().Add(50 * time.Millisecond))
	if at := timedOut(t, c); at.Before(later) {
		t.Errorf("the read ended %v before its deadline", later.Sub(at))
	}
	set(time.Now().Add(time.Hour))
	sooner := set(time.Now().Add(5 * time.Millisecond))
	if at := timedOut(t, c); at.Before(sooner) {
		t.Errorf("the read ended %v before its deadline", sooner.Sub(at))
	}
	for _, next := range []time.Time{{}, time.Now().Add(time.Hour)} {
		set(time.Unix(1, 0)) // as net/http interrupts its read
		timedOut(t, c)
		set(next)
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatalf("after an interruption, with a deadline of %v: %v", next, err)
		}
	}
	waiting := make(chan error)
	set(time.Now().Add(time.Hour))
	go func() { _, err := c.Read(make([]byte, 1)); waiting <- err }()
	set(time.Unix(1, 0)) // before the read, or during it
	if err := <-waiting; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a read that is interrupted: %v", err)
	}
	// The timer is no further away than the first of the deadlines that follow.
	set(time.Now().Add(time.Hour))
	if err := c.resume(); err != nil || time.Until(c.timer) > timerStep {
		t.Errorf("%v, the timer fires in %v", err, time.Until(c.timer))
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after CloseWrite the client read %d bytes, %v", n, err)
	}
}
