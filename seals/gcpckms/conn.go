package gcpckms

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	tlscreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/seals"
)

const (
	tries     = 4 // attempts of one call, including the first
	firstWait = 100 * time.Millisecond
)

var errClosed = errors.New("the seal was closed: the server is stopping or was reconfigured")

// conn is the connection to the service. The first call opens it.
type conn struct {
	s      *settings
	tokens *tokens
	life   context.Context // ends at close, and every call with it
	end    context.CancelFunc

	mu     sync.Mutex
	closed bool
	client *kms.KeyManagementClient
	calls  sync.WaitGroup
}

func newConn(s *settings) *conn {
	c := &conn{s: s, tokens: newTokens(s)}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// enter begins a call. The first call makes the client.
func (c *conn) enter() (*kms.KeyManagementClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.client == nil {
		if err := c.open(); err != nil {
			return nil, err
		}
	}
	c.calls.Add(1)
	return c.client, nil
}

func (c *conn) open() error {
	own, all, err := c.s.roots()
	if err != nil {
		return seals.Fail(seals.Misconfigured, fmt.Errorf("tls_ca_cert: %w", err),
			"store the certificates of the endpoint's CA there, in PEM, "+
				"or correct tls_ca_cert; it is read again at the next call")
	}
	c.tokens.trust(all)
	client, err := kms.NewKeyManagementClient(c.life, c.options(own)...)
	if err != nil {
		return seals.Fail(seals.Misconfigured, err,
			"correct endpoint, or the environment variables GOOGLE_API_* that Google's library reads")
	}
	// disables the library's retries, which last as long as the context
	client.CallOptions = &kms.KeyManagementCallOptions{}
	c.client = client
	return nil
}

// drop discards a client whose server was not trusted, because tls_ca_cert may have been replaced.
func (c *conn) drop(client *kms.KeyManagementClient) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == client && !c.closed {
		c.client = nil
		_ = client.Close() // it has no connection
	}
}

// roots returns the CAs of the endpoint, and these together with the system's for token services;
// nil means the system's.
func (s *settings) roots() (own, all *x509.CertPool, err error) {
	if s.caFile == "" && len(s.caPEM) == 0 {
		return nil, nil, nil
	}
	pem := s.caPEM
	if len(pem) == 0 {
		if pem, err = readFile(s.caFile); err != nil {
			return nil, nil, err
		}
	}
	if own = x509.NewCertPool(); !own.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s contains no certificate in PEM", cmp.Or(s.caFile, "it"))
	}
	if all, err = x509.SystemCertPool(); err != nil {
		all = x509.NewCertPool()
	}
	all.AppendCertsFromPEM(pem)
	return own, all, nil
}

func (c *conn) options(roots *x509.CertPool) []option.ClientOption {
	dial := []grpc.DialOption{
		// Reconnect within two seconds after an outage.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// This also sets TCP_USER_TIMEOUT, so that a connection which a firewall dropped costs a
		// single attempt. The pings do not matter.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 4 * time.Second}),
	}
	if c.s.noEnv {
		dial = append(dial, grpc.WithNoProxy())
	}
	if roots != nil {
		dial = append(dial, grpc.WithTransportCredentials(tlscreds.NewTLS(&tls.Config{RootCAs: roots,
			MinVersion: tls.VersionTLS12})))
	}
	out := []option.ClientOption{
		option.WithAuthCredentials(auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: c.tokens})),
		option.WithGRPCConnectionPool(1), option.WithTelemetryDisabled(),
		option.WithLogger(slog.New(slog.DiscardHandler)),
	}
	for _, d := range dial {
		out = append(out, option.WithGRPCDialOption(d))
	}
	if c.s.endpoint != "" {
		out = append(out, option.WithEndpoint(c.s.endpoint))
	}
	if c.s.userAgent != "" {
		out = append(out, option.WithUserAgent(c.s.userAgent))
	}
	return out
}

// do makes a call with a token, within the timeout, and retries where that may help.
func (c *conn) do(ctx context.Context, call func(context.Context, *kms.KeyManagementClient) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	client, err := c.enter()
	if err != nil {
		return err
	}
	defer c.calls.Done()
	ctx, cancel := context.WithTimeout(ctx, c.s.timeout)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	renewed := false
	for try := 1; ; try++ {
		token, err := c.tokens.Token(ctx)
		if err != nil {
			return err
		}
		if err = call(c.tokens.withToken(ctx, token), client); err == nil {
			return nil
		}
		if refused(err) {
			c.tokens.forget(ctx, token)
			if !renewed && status.Code(err) == codes.Unauthenticated {
				renewed = true
				continue
			}
		}
		if st, ok := status.FromError(err); ok && untrusted(st) {
			c.drop(client)
			return err
		}
		if try == tries || !again(err) || !pause(ctx, firstWait<<(try-1)) {
			return err
		}
		//lint:ignore SA1019 deprecated for pools; this client has one connection, see options
		client.Connection().ResetConnectBackoff()
	}
}

// refused reports whether the service refused the credentials, which are then read again.
func refused(err error) bool {
	code := status.Code(err)
	return code == codes.Unauthenticated || code == codes.PermissionDenied
}

// again reports whether an immediate retry may succeed. Source: google.aip.dev/194, and the
// comments of service.proto for checksums. A throttled call is not retried here, because that adds
// load.
func again(err error) bool {
	if errors.Is(err, errIntegrity) || mismatched(err) {
		return true
	}
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Internal || code == codes.Aborted
}

// pause waits. It returns false where the context ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d + rand.N(d/4))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// close cancels all calls and waits for them.
func (c *conn) close() error {
	c.mu.Lock()
	var err error
	if !c.closed && c.client != nil {
		err = c.client.Close()
	}
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.calls.Wait()
	c.s.inline.Destroy()
	return err
}
