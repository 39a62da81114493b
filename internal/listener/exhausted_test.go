package listener

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// full is a listener whose second accept fails for want of a descriptor, after wait.
type full struct {
	net.Listener
	calls atomic.Int32
	wait  chan struct{}
}

func (f *full) Accept() (net.Conn, error) {
	if f.calls.Add(1) == 2 {
		<-f.wait
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

// TestExhaustedDescriptors fills the table while a connection is idle: the idle one is closed, a
// warning says the limit, and the next client is served.
func TestExhaustedDescriptors(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }),
		ReadHeaderTimeout: time.Minute}
	f := &full{Listener: l, wait: make(chan struct{})}
	e := &exhaustible{Listener: f, http: srv, log: slog.New(slog.NewTextHandler(&log, nil))}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(e) }()
	idle, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	exchange := func(c net.Conn) string {
		t.Helper()
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1024)
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
	if got := exchange(idle); !strings.Contains(got, "204") {
		t.Fatalf("%q", got)
	}
	close(f.wait)
	next, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if got := exchange(next); !strings.Contains(got, "204") {
		t.Fatalf("after the failure: %q", got)
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("the idle connection was not closed")
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "limit=") {
		t.Errorf("log: %s", log.String())
	}
}
