package listener

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// exhaustedEvery is the time between two warnings.
const exhaustedEvery = time.Minute

// exhaustible is a listener that notices when no file descriptor is left for a connection: it
// warns, and closes the idle connections, so that waiting clients are served.
type exhaustible struct {
	net.Listener
	http   *http.Server
	log    *slog.Logger
	warned atomic.Int64 // Unix time of the last warning
}

// Accept accepts a connection. net/http waits and tries again after the errors of a full table.
func (e *exhaustible) Accept() (net.Conn, error) {
	c, err := e.Listener.Accept()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		e.exhausted(err)
	}
	return c, err
}

func (e *exhaustible) exhausted(cause error) {
	e.http.SetKeepAlivesEnabled(false) // closes idle connections
	e.http.SetKeepAlivesEnabled(true)
	now, last := time.Now().Unix(), e.warned.Load()
	if now-last < int64(exhaustedEvery/time.Second) || !e.warned.CompareAndSwap(last, now) {
		return
	}
	var l syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) // 0 if unknown
	e.log.Warn("connections wait: all file descriptors are in use; idle connections were closed", "listener",
		e.Addr().String(),
		"limit", l.Cur, "error", cause, "remedy", "raise LimitNOFILE in the systemd unit, or ulimit -n")
}
