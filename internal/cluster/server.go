package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of the listener. One connection can carry many requests of a node's clients at once.
const (
	handshakeTimeout = 5 * time.Second
	idleTimeout      = 2 * time.Minute
	maxStreams       = 4096
	maxHeaders       = 1 << 20 // a client's headers and its certificates
)

// ErrNotLeading fails the handshake on a node that does not lead.
var ErrNotLeading = errors.New("cluster: this node does not lead")

// Server is the listener for the other nodes.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// NewServer returns a server on a listener; it answers after [Server.Serve]. Each handshake calls
// identity, which returns nil while this node does not lead: then the handshake fails.
func NewServer(l net.Listener, identity func() *Identity, h http.Handler, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{listener: l, http: &http.Server{
		Handler: h, ReadHeaderTimeout: handshakeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaders,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				if i := identity(); i != nil {
					return i.server(), nil
				}
				return nil, ErrNotLeading
			},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, ErrNotLeading },
		},
	}}
}

// Addr is the address of the listener.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until [Server.Shutdown], and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown accepts no more requests and waits for those in flight until ctx ends; then it closes
// their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	var err error
	if s.http.Shutdown(ctx) != nil { // connections of nodes that have not noticed
		err = s.http.Close()
	}
	if closed := s.listener.Close(); closed != nil && !errors.Is(closed, net.ErrClosed) {
		err = errors.Join(err, closed)
	}
	return err
}
