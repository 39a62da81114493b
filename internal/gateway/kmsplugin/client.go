package kmsplugin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// Options make a client.
type Options struct {
	Addresses  []string // "https://10.0.0.1:8200"
	Mount, Key string
	Namespace  string
	Auth       Auth
	TLS        TLS
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger
}

// TLS are the files of TLS.
type TLS struct{ CACert, ClientCert, ClientKey, ServerName string }

// Client speaks to one cluster. [Client.Run] keeps it logged in.
type Client struct {
	o     Options
	nodes []*node
	last  atomic.Int32 // the node that answered last

	mu     sync.Mutex
	http   *http.Client
	loaded [sha256.Size]byte // hash of the TLS files
	token  *secret.Bytes     // nil: not logged in
	source string            // hash of the token file the token is of
	renew  time.Time         // when the token has to be renewed; zero: never
	ends   time.Time         // of the token; zero: unknown
	made   time.Time         // when the token was got or renewed

	login   sync.Mutex // one login at a time
	cluster atomic.Pointer[string]
}

// New returns a client. It neither reads a file nor uses the network: the sidecar starts without
// either.
func New(o Options) *Client {
	o.Mount = strings.Trim(cmp.Or(o.Mount, "transit"), "/")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o}
	for _, a := range o.Addresses {
		c.nodes = append(c.nodes, &node{address: strings.TrimSuffix(a, "/")})
	}
	return c
}

// maxReply bounds an answer: a key with its versions.
const maxReply = 1 << 20

// errRefused is a token that the server does not accept, or that may not do what was asked.
var errRefused = fault.New(fault.Denied, "the server refuses the plugin's token for the transit key")

// transport returns the HTTP client. It is made anew when a file of TLS has changed.
func (c *Client) transport() (*http.Client, error) {
	var files [3][]byte
	for i, path := range []string{c.o.TLS.CACert, c.o.TLS.ClientCert, c.o.TLS.ClientKey} {
		if path == "" {
			continue
		}
		var err error
		if files[i], err = os.ReadFile(path); err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "a TLS file of the plugin cannot be read; see its log")
		}
		defer clear(files[i])
	}
	sum := sha256.Sum256(bytes.Join(files[:], []byte{0}))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil && sum == c.loaded {
		return c.http, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.o.TLS.ServerName}
	if files[0] != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(files[0]) {
			return nil, fault.New(fault.Unavailable, "tls_ca_cert has no certificate")
		}
	}
	if files[1] != nil {
		pair, err := tls.X509KeyPair(files[1], files[2])
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "tls_client_cert and tls_client_key cannot be used")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	old := c.http
	c.http = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: config, ForceAttemptHTTP2: true, MaxConnsPerHost: 32, MaxIdleConnsPerHost: 16,
			IdleConnTimeout: 90 * time.Second, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			TLSHandshakeTimeout: 2 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.loaded = sum
	if old != nil {
		old.CloseIdleConnections()
		c.o.Log.Info("the TLS files of the KMS plugin have changed and are used")
	}
	return c.http, nil
}

// reply is an answer of the API.
type reply struct {
	Data json.RawMessage `json:"data"`
	Auth *struct {
		Token     string `json:"client_token"`
		Lease     int64  `json:"lease_duration"`
		Renewable bool   `json:"renewable"`
	} `json:"auth"`
	Errors    []string `json:"errors"`
	ClusterID string   `json:"cluster_id"` // of sys/seal-status
}

// call asks the nodes of the cluster, with a token. A refused token is renewed once.
func (c *Client) call(ctx context.Context, method, path string, body any) (*reply, error) {
	token, err := c.tokenFor(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.ask(ctx, method, path, body, token)
	if !errors.Is(err, errRefused) {
		return r, err
	}
	fresh, failed := c.again(ctx, token)
	if failed != nil || fresh.Equal(token) {
		return nil, err
	}
	return c.ask(ctx, method, path, body, fresh)
}

// ask tries one node after the other. What a node refuses, others refuse too; what it cannot
// answer, others may.
func (c *Client) ask(ctx context.Context, method, path string, body any, token *secret.Bytes) (*reply, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("kmsplugin: %w", err)
	}
	defer clear(raw)
	client, err := c.transport()
	if err != nil {
		return nil, err
	}
	all := c.order()
	var failures error
	for i, n := range all {
		r, err := c.one(ctx, client, n, len(all)-i, method, path, raw, token)
		if !fault.Is(err, fault.Unavailable) {
			c.answered(n)
			return r, err
		}
		failures = errors.Join(failures, err, errors.Unwrap(err))
		if ctx.Err() != nil {
			break
		}
		n.failed(c.o.Now())
	}
	return nil, fault.Wrap(failures, fault.Unavailable, "no server of the transit key answers")
}

// one asks one node. It gets its part of the time that is left.
func (c *Client) one(ctx context.Context, client *http.Client, n *node, left int, method, path string, body []byte,
	token *secret.Bytes,
) (*reply, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	q, err := http.NewRequestWithContext(ctx, method, n.address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("kmsplugin: %w", err)
	}
	if method == http.MethodGet {
		q.Body, q.ContentLength = nil, 0
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("X-Vault-Request", "true")
	if c.o.Namespace != "" {
		q.Header.Set("X-Vault-Namespace", c.o.Namespace)
	}
	if token != nil {
		q.Header.Set("X-Vault-Token", string(token.Expose()))
	}
	resp, err := client.Do(q)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "a server of the transit key does not answer")
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	defer clear(text)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "a server of the transit key does not answer")
	}
	return read(resp.StatusCode, text)
}

// read judges an answer. The server's texts are for the log.
func read(code int, text []byte) (*reply, error) {
	r := &reply{}
	err := json.Unmarshal(text, r)
	cause := fmt.Errorf("status %d: %s", code, strings.Join(r.Errors, "; "))
	switch {
	case code/100 == 2 && (err == nil || len(text) == 0):
		return r, nil
	case code == http.StatusForbidden, code == http.StatusUnauthorized:
		return nil, fmt.Errorf("%w", errRefused)
	case code == http.StatusTooManyRequests:
		return nil, fault.Wrap(cause, fault.Limited, "the server of the transit key has too much to do")
	case code == http.StatusNotFound:
		return nil, fault.Wrap(cause, fault.NotFound, "the transit key or its mount does not exist")
	case code/100 == 4:
		return nil, fault.Wrap(cause, fault.Invalid,
			"the server of the transit key refuses the request; see the plugin's log")
	}
	return nil, fault.Wrap(cause, fault.Unavailable, "a server of the transit key cannot answer")
}
