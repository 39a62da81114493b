// Package sdnotify reports the state of a service to systemd by the protocol of sd_notify(3), so
// that units with Type=notify, Type=notify-reload and WatchdogSec work.
//
// It guarantees that nothing is sent unless NOTIFY_SOCKET is set, that a send takes at most a
// second, and that a failed send never affects the service. It supports paths and abstract sockets
// (@name).
package sdnotify

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendTime bounds one send.
const sendTime = time.Second

// Notifier sends to the service manager. A nil Notifier sends nothing.
type Notifier struct {
	address  *net.UnixAddr
	watchdog time.Duration // interval that the manager expects; 0: none
}

// New reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. It returns nil without NOTIFY_SOCKET.
func New(getenv func(string) string) (*Notifier, error) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
		return nil, fmt.Errorf("NOTIFY_SOCKET must be a path or an abstract socket (@name): only unix sockets are supported")
	}
	n := &Notifier{address: &net.UnixAddr{Name: path, Net: "unixgram"}} // net maps @ to an abstract name
	if pid := getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	return n, nil
}

func (n *Notifier) send(lines ...string) error {
	if n == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, n.address.Net, n.address.Name)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(sendTime)); err != nil {
		return err
	}
	_, err = c.Write([]byte(strings.Join(lines, "\n")))
	return err
}

// Ready reports that the service accepts requests, after a start or a reload.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+oneLine(status)) }

// Reloading reports that a reload begins; Ready ends it. The time is the one that
// Type=notify-reload requires.
func (n *Notifier) Reloading() error {
	if n == nil {
		return nil
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	return n.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
}

// Stopping reports that the service stops.
func (n *Notifier) Stopping() error { return n.send("STOPPING=1", "STATUS=stopping") }

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// Run reports changes of the status each second, and feeds the watchdog at half of its interval.
// Each time it calls status first: if that hangs, the watchdog starves, and systemd restarts the
// service.
func (n *Notifier) Run(ctx context.Context, status func() string) {
	if n == nil {
		return
	}
	every := time.Second
	if n.watchdog > 0 {
		every = min(every, n.watchdog/2)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := ""
	for {
		lines := []string{}
		if now := oneLine(status()); now != last {
			lines, last = append(lines, "STATUS="+now), now
		}
		if n.watchdog > 0 {
			lines = append(lines, "WATCHDOG=1")
		}
		if len(lines) > 0 && n.send(lines...) != nil {
			last = "" // sent again
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
