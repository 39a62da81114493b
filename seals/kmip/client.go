package kmip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// maxIdle bounds the connections that are kept.
const maxIdle = 4

// client sends requests, one at a time on each connection.
type client struct {
	s settings

	version atomic.Uint32 // minor version that the server takes; starts with the newest
	peer    atomic.Pointer[x509.Certificate]

	mu     sync.Mutex
	idle   []*tls.Conn
	closed bool
}

// Minor versions of KMIP 1.x.
const (
	newest = 4
	oldest = 2
)

func newClient(s settings) *client {
	c := &client{s: s}
	c.version.Store(newest)
	return c
}

// config reads the files anew, so that a renewed certificate is used.
func (c *client) config() (*tls.Config, error) {
	pair, err := secret.KeyPair(c.s.clientCert, c.s.clientKey)
	if err != nil {
		return nil, &configError{fmt.Errorf("client_cert and client_key: %w", err)}
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, ServerName: c.s.serverName, MinVersion: tls.VersionTLS12}
	if c.s.caCert != "" {
		pem, err := os.ReadFile(c.s.caCert)
		if err != nil {
			return nil, &configError{fmt.Errorf("ca_cert: %w", err)}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &configError{fmt.Errorf("ca_cert: %s has no certificate", c.s.caCert)}
		}
	}
	if len(c.s.suites) > 0 {
		cfg.CipherSuites = c.s.suites
	}
	return cfg, nil
}

// configError is a mistake in files that the stanza names.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

// dial connects to the first endpoint that answers.
func (c *client) dial(ctx context.Context) (*tls.Conn, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	var errs []error
	for i, endpoint := range c.s.endpoints {
		// The time that is left is shared among the endpoints that are left.
		each, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok {
			each, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(len(c.s.endpoints)-i))
		}
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(each, "tcp", endpoint)
		cancel()
		if err == nil {
			secured := conn.(*tls.Conn)
			if shown := secured.ConnectionState().PeerCertificates; len(shown) > 0 {
				c.peer.Store(shown[0])
			}
			return secured, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (c *client) take() *tls.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle) - 1
	if n < 0 {
		return nil
	}
	conn := c.idle[n]
	c.idle = c.idle[:n]
	return conn
}

func (c *client) put(conn *tls.Conn) {
	c.mu.Lock()
	keep := !c.closed && len(c.idle) < maxIdle
	if keep {
		c.idle = append(c.idle, conn)
	}
	c.mu.Unlock()
	if !keep {
		_ = conn.Close()
	}
}

// drop closes the connections that are not in use.
func (c *client) drop(forGood bool) {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, c.closed || forGood
	c.mu.Unlock()
	for _, conn := range idle {
		_ = conn.Close()
	}
}

// do runs one operation, and negotiates the version if the server refuses the one that is used.
func (c *client) do(ctx context.Context, op uint32, payload func(version) []item) (item, error) {
	v := version(c.version.Load())
	out, err := c.operation(ctx, v, op, payload(v))
	var r *refusal
	if !errors.As(err, &r) || r.reason != reasonInvalidMessage && r.reason != reasonVersion {
		return out, err
	}
	lower, nerr := c.negotiate(ctx, v)
	if nerr != nil || lower == v {
		return out, err
	}
	c.version.Store(uint32(lower))
	return c.operation(ctx, lower, op, payload(lower))
}

// negotiate asks for the versions of the server, in the words of the oldest.
func (c *client) negotiate(ctx context.Context, now version) (version, error) {
	out, err := c.operation(ctx, oldest, opDiscoverVersions, nil)
	if err != nil {
		return 0, err
	}
	best := version(0)
	for _, i := range out.items {
		major, ok1 := i.find(tagMajor).number()
		minor, ok2 := i.find(tagMinor).number()
		if ok1 && ok2 && major == 1 && minor >= oldest && minor <= newest && version(minor) > best {
			best = version(minor)
		}
	}
	if best == 0 {
		return 0, fmt.Errorf("the server speaks no version from 1.%d to 1.%d", oldest, newest)
	}
	return best, nil
}

// operation sends a request. A connection that was kept may have ended meanwhile, so a failure on
// it is tried again on a new one: every operation here may be repeated.
func (c *client) operation(ctx context.Context, v version, op uint32, payload []item) (item, error) {
	message := request(v, op, payload...)
	defer clear(message)
	if conn := c.take(); conn != nil {
		reply, err := exchange(ctx, conn, message)
		if err == nil {
			c.put(conn)
			return answer(reply, op)
		}
		_ = conn.Close()
		if ctx.Err() != nil || errors.Is(err, errTTLV) {
			return item{}, errors.Join(context.Cause(ctx), err)
		}
	}
	conn, err := c.dial(ctx)
	if err != nil {
		return item{}, errors.Join(context.Cause(ctx), err)
	}
	reply, err := exchange(ctx, conn, message)
	if err != nil {
		_ = conn.Close()
		return item{}, errors.Join(context.Cause(ctx), err)
	}
	c.put(conn)
	return answer(reply, op)
}

// exchange sends a message and reads one, until ctx ends.
func exchange(ctx context.Context, conn net.Conn, message []byte) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(message); err != nil {
		return nil, err
	}
	head := make([]byte, headLen)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil, err
	}
	n, err := length(head)
	if err != nil {
		return nil, err
	}
	reply := append(head, make([]byte, n)...)
	if _, err := io.ReadFull(conn, reply[headLen:]); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, context.Cause(ctx) // the deadline of the connection was changed
	}
	return reply, nil
}
