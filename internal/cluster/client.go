package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// Times after which a node that does not answer counts as unavailable.
const (
	dialTimeout = time.Second
	pingAfter   = 2 * time.Second // of silence on a connection
	pingTimeout = 2 * time.Second
)

// ErrUnsent marks the error of a request that the other node has certainly not seen: it may be sent
// elsewhere.
var ErrUnsent = errors.New("cluster: the request was not sent")

// Unsent reports whether an error of [Client.Do] means that nothing was carried out.
func Unsent(err error) bool { return errors.Is(err, ErrUnsent) }

// Client sends requests to one node under one leadership.
type Client struct {
	transport *http.Transport
	host      string
}

// NewClient returns a client for the node with the id peer at an address, host and port. It does
// not dial yet.
func NewClient(i *Identity, peer, address string) *Client {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfter}
	return &Client{host: peer + domain, transport: &http.Transport{
		TLSClientConfig: i.client(peer),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", address)
		},
		ForceAttemptHTTP2: true, DisableCompression: true,
		TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeaders,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}}
}

// Do sends a request to the node; only path and query of its URL count. The caller closes the
// answer's body. After an error for which [Unsent] holds, the request may be sent elsewhere.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	var sent atomic.Bool
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		// The transport asks for another connection only for a request that was not processed: its
		// stream was above the last one of a GOAWAY, or refused (RFC 9113, 6.8 and 8.7).
		GetConn:          func(string) { sent.Store(false) },
		WroteHeaderField: func(string, []string) { sent.Store(true) },
		WroteHeaders:     func() { sent.Store(true) },
	})
	r = r.WithContext(ctx)
	u := url.URL{Scheme: "https", Host: c.host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	r.URL, r.RequestURI = &u, ""
	a, err := c.transport.RoundTrip(r)
	if err != nil && !sent.Load() {
		return nil, errors.Join(ErrUnsent, err)
	}
	return a, err
}

// Close closes connections that are not in use; those in use close with their requests.
func (c *Client) Close() { c.transport.CloseIdleConnections() }
