package sdnotify

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// manager is a service manager: it returns what is sent to a socket.
func manager(t *testing.T, address string) func() string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return func() string {
		t.Helper()
		buf := make([]byte, 4096)
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for _, address := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@sealgate-test-%d", os.Getpid())} {
		next := manager(t, address)
		n, err := New(env("NOTIFY_SOCKET", address))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Ready("sealed:\n waiting"); err != nil {
			t.Fatal(err)
		}
		if got := next(); got != "READY=1\nSTATUS=sealed: waiting" {
			t.Errorf("%s: %q", address, got)
		}
		if err := n.Reloading(); err != nil {
			t.Fatal(err)
		}
		got := next()
		us, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
		if v, err := strconv.ParseInt(us, 10, 64); !ok || err != nil || v <= 0 {
			t.Errorf("%s: %q", address, got)
		}
		if err := n.Stopping(); err != nil {
			t.Fatal(err)
		}
		if got := next(); got != "STOPPING=1\nSTATUS=stopping" {
			t.Errorf("%s: %q", address, got)
		}
	}
}

func TestWatchdogAndStatus(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "notify")
	next := manager(t, address)
	n, err := New(env("NOTIFY_SOCKET", address, "WATCHDOG_USEC", "20000", "WATCHDOG_PID", strconv.Itoa(os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	var state atomic.Value
	state.Store("sealed")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx, func() string { return state.Load().(string) }); close(done) }()
	if got := next(); got != "STATUS=sealed\nWATCHDOG=1" {
		t.Errorf("first: %q", got)
	}
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("second: %q", got)
	}
	state.Store("active")
	for got := next(); got != "STATUS=active\nWATCHDOG=1"; got = next() {
		if got != "WATCHDOG=1" {
			t.Fatalf("%q", got)
		}
	}
	cancel()
	<-done
}

func TestOff(t *testing.T) {
	t.Parallel()
	n, err := New(env())
	if n != nil || err != nil {
		t.Fatalf("%v, %v", n, err)
	}
	for _, err := range []error{n.Ready("x"), n.Reloading(), n.Stopping()} {
		if err != nil {
			t.Error(err)
		}
	}
	n.Run(t.Context(), func() string { return "" })
	if _, err := New(env("NOTIFY_SOCKET", "vsock:2:3")); err == nil {
		t.Error("a vsock address was accepted")
	}
	n, err = New(env("NOTIFY_SOCKET", "/nowhere/socket", "WATCHDOG_USEC", "5000000", "WATCHDOG_PID", "1"))
	if err != nil || n.watchdog != 0 {
		t.Errorf("another process's watchdog: %v, %v", n, err)
	}
	if err := n.Stopping(); err == nil {
		t.Error("a missing socket gave no error")
	}
}
