// Package listener opens the sockets of a server: TCP with TLS, unix sockets, and the PROXY
// protocol before either.
//
// It guarantees that TLS is on unless it is disabled by name, that slow clients are cut off, that
// certificates are replaced without closing a connection, and that a stop lets requests under way
// finish until its deadline.
package listener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/config"
)

// Timeouts of a connection that the configuration does not set. They bound how long a slow client
// holds a connection.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 5 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Server is one listener with its connections.
type Server struct {
	http     *http.Server
	listener net.Listener
	tls      *reloadable // nil without TLS
	stop     func()      // ends requests that have no end, such as streams of the log
}

// stoppingKey finds, in a request's context, the context that ends when the server stops. The
// request's own does not: requests under way may finish, except those that have no end.
type stoppingKey struct{}

// Stopping is closed when the request's server stops.
func Stopping(ctx context.Context) <-chan struct{} {
	if s, ok := ctx.Value(stoppingKey{}).(context.Context); ok {
		return s.Done()
	}
	return nil
}

// Listen opens a listener, with TLS unless that is disabled by name. It answers nothing before
// [Server.Serve].
func Listen(ctx context.Context, c config.Listener, h http.Handler, log *slog.Logger) (*Server, error) {
	stopping, stop := context.WithCancel(context.Background())
	s := &Server{stop: stop, http: &http.Server{
		BaseContext: func(net.Listener) context.Context {
			return withStreams(context.WithValue(context.Background(), stoppingKey{}, stopping), c.HTTPWriteTimeout == 0)
		},
		Handler:           h,
		ReadHeaderTimeout: cmp.Or(c.HTTPReadHeaderTimeout, readHeaderTimeout),
		ReadTimeout:       cmp.Or(c.HTTPReadTimeout, readTimeout),
		WriteTimeout:      c.HTTPWriteTimeout,
		IdleTimeout:       cmp.Or(c.HTTPIdleTimeout, idleTimeout),
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(cmp.Or(log, slog.New(slog.DiscardHandler)).Handler(), slog.LevelDebug),
	}}
	if c.HTTPWriteTimeout == 0 {
		s.http.Handler = boundedBy(h, c.MaxRequestDuration+streamWrite)
	}
	if !c.TLSDisable {
		r, err := newReloadable(c)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", c.Address, err)
		}
		s.tls, s.http.TLSConfig = r, r.config()
	}
	var err error
	if s.listener, err = open(ctx, c); err != nil {
		return nil, fmt.Errorf("listener %s: %w", c.Address, err)
	}
	s.listener = patient{proxied(&exhaustible{Listener: s.listener, http: s.http,
		log: cmp.Or(log, slog.New(slog.DiscardHandler))}, c)}
	return s, nil
}

func open(ctx context.Context, c config.Listener) (net.Listener, error) {
	var lc net.ListenConfig
	if c.Type != "unix" {
		return lc.Listen(ctx, "tcp", c.Address)
	}
	if err := removeStale(ctx, c.Address); err != nil {
		return nil, err
	}
	l, err := lc.Listen(ctx, "unix", c.Address)
	if err != nil {
		return nil, err
	}
	if err := grant(c); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// removeStale removes the socket of a process that was killed; a live process answers.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil // listening reports what is wrong with anything else
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return errors.New("another process listens on this socket; stop it, or choose another address")
	}
	return os.Remove(path)
}

// grant sets mode and owner of a socket.
func grant(c config.Listener) error {
	if c.SocketMode != "" {
		mode, err := strconv.ParseUint(c.SocketMode, 8, 32)
		if err != nil {
			return fmt.Errorf("socket_mode %q is not an octal number such as \"660\"", c.SocketMode)
		}
		if err := os.Chmod(c.Address, os.FileMode(mode)); err != nil {
			return err
		}
	}
	uid, gid := -1, -1
	if c.SocketUser != "" {
		u, err := user.Lookup(c.SocketUser)
		if err != nil {
			return fmt.Errorf("socket_user: %w", err)
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return fmt.Errorf("socket_user: %w", err)
		}
	}
	if c.SocketGroup != "" {
		g, err := user.LookupGroup(c.SocketGroup)
		if err != nil {
			return fmt.Errorf("socket_group: %w", err)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return fmt.Errorf("socket_group: %w", err)
		}
	}
	if uid == -1 && gid == -1 {
		return nil
	}
	return os.Chown(c.Address, uid, gid)
}

// Addr returns the listener's address, with the real port where 0 was configured.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers requests until [Server.Shutdown], and then returns nil.
func (s *Server) Serve() error {
	var err error
	if s.tls != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Reload reads certificates and client CAs again. Where they cannot be used the old ones stay in
// use, and the error says why.
func (s *Server) Reload() error {
	if s.tls == nil {
		return nil
	}
	if err := s.tls.reload(); err != nil {
		return fmt.Errorf("listener %s keeps its old certificate: %w", s.Addr(), err)
	}
	return nil
}

// ReloadFrom is Reload with the TLS settings of another configuration of the same listener, which
// stay in use if they are valid.
func (s *Server) ReloadFrom(c config.Listener) error {
	if s.tls == nil {
		return nil
	}
	old := s.tls.from
	s.tls.from = c
	if err := s.Reload(); err != nil {
		s.tls.from = old
		return err
	}
	return nil
}

// Shutdown accepts no more requests and waits for those under way until ctx ends; then it closes
// their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(err, s.http.Close())
	}
	// A server that never served does not close its listener.
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
