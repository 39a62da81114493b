package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	connectTimeout = 5 * time.Second // where connect_timeout says nothing
	idleFor        = 5 * time.Minute // then a connection of the pool is closed
)

// errNotPrimary is why a server that answers is not used.
var errNotPrimary = errors.New("postgres: the server takes no writes")

// session makes each connection fit for us, in one round trip:
//   - a commit is on disk when it returns, also where the database or the role is set up otherwise; who waits for replicas goes on to;
//   - plans are made once and go by the index, though they are made when the tables are empty;
//   - the server gives up what the caller has long given up, and notices within 20 s that the other machine is gone.
const session = `SELECT set_config('synchronous_commit',
		CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false),
	set_config('plan_cache_mode', 'force_generic_plan', false), set_config('jit', 'off', false),
	set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
	set_config('statement_timeout', $1, false), set_config('lock_timeout', $1, false),
	set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '3', false),
	set_config('tcp_keepalives_count', '3', false)`

// configure turns options into those of pgx, for the pool and for single connections.
func configure(o Options, n names) (*pgxpool.Config, error) {
	if err := checkURL(o.URL); err != nil {
		return nil, err
	}
	c, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, parseError(err)
	}
	c.MaxConns = int32(min(o.MaxParallel, 10000))
	c.MaxConnIdleTime = idleFor
	c.PingTimeout = o.CallTimeout / 4
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = min(connectTimeout, o.CallTimeout)
	}
	c.ConnConfig.RuntimeParams["application_name"] = n.application()
	c.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	c.ConnConfig.ValidateConnect = takesWrites
	millis := fmt.Sprint(o.CallTimeout.Milliseconds())
	c.ConnConfig.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		return conn.ExecParams(ctx, session, [][]byte{[]byte(millis)}, nil, nil, nil).Read().Err
	}
	warnTransport(o, c.ConnConfig)
	return c, nil
}

// takesWrites refuses a standby, so that with several hosts the primary is found, and read, after a fail-over too.
func takesWrites(ctx context.Context, conn *pgconn.PgConn) error {
	err := pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn)
	if errors.Is(err, pgconn.ErrReadOnlyConnection) {
		return errNotPrimary
	}
	return err
}

// connect makes a connection outside the pool.
func (s *Store) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.conn.Copy())
	return conn, clean(err)
}

// clean takes the configuration, which has the password in it, out of an error.
func clean(err error) error {
	var c *pgconn.ConnectError
	if !errors.As(err, &c) {
		return err
	}
	return fmt.Errorf("connecting to the database %s as %s: %w", c.Config.Database, c.Config.User, errors.Unwrap(c))
}

// checkURL refuses what the parser would take in a sense that shows parts of the password as something else.
func checkURL(text string) error {
	if !isURL(text) {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || u.User == nil && strings.Contains(text, "@") {
		return fmt.Errorf("%w: connection_url is no URL such as postgres://user:password@host:5432/database?sslmode=verify-full"+
			" (write : / ? # @ and %% in the password as %%3A %%2F %%3F %%23 %%40 and %%25)", ErrConfig)
	}
	return nil
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// parseError keeps of the library's error what can show no part of a password.
func parseError(err error) error {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	if strings.HasPrefix(text, "failed to parse as") {
		text = `it is neither a URL such as postgres://user:password@host:5432/database?sslmode=verify-full nor words such as ` +
			`host=h user=u password='p' dbname=d sslmode=verify-full`
	}
	return fmt.Errorf("%w: connection_url: %s", ErrConfig, text)
}

// warnTransport says loudly where keys and ciphertext may cross a network unprotected.
func warnTransport(o Options, c *pgx.ConnConfig) {
	plain, blind := map[string]bool{}, map[string]bool{}
	note := func(host string, t *tls.Config) {
		switch {
		case local(host):
		case t == nil:
			plain[host] = true
		case t.InsecureSkipVerify && t.VerifyPeerCertificate == nil && t.VerifyConnection == nil:
			blind[host] = true
		}
	}
	note(c.Host, c.TLSConfig)
	for _, f := range c.Fallbacks {
		note(f.Host, f.TLSConfig)
	}
	for host := range plain {
		o.Log.Warn("connection_url permits a connection without TLS: whoever is on the way can read and change everything,"+
			" and may learn the password; set sslmode=verify-full and sslrootcert", "host", host)
	}
	for host := range blind {
		if !plain[host] {
			o.Log.Warn("connection_url does not verify the database's certificate: whoever is on the way can pose as the database;"+
				" set sslmode=verify-full and sslrootcert", "host", host)
		}
	}
}

// local reports hosts that no network lies before.
func local(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Backoff of reads that are tried again, and of reconnections.
const (
	backoffFirst = 20 * time.Millisecond
	backoffMost  = 500 * time.Millisecond
)

// pause waits between two attempts; it reports whether the context goes on.
func pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(min(backoffFirst<<min(attempt, 8), backoffMost))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// read carries out a call that changes nothing with a connection of the pool, and again where a connection or a server went away:
// for half of the call's time, so that an outage is told before the caller's own deadline hides its cause.
func (s *Store) read(ctx context.Context, doing string, f func(context.Context, *pgxpool.Conn) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.certain(ctx); err != nil {
		return err
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	patience := s.o.Now().Add(s.o.CallTimeout / 2)
	var last error
	for attempt := 0; ; attempt++ {
		err := clean(s.pool.AcquireFunc(limited, func(c *pgxpool.Conn) error { return f(limited, c) }))
		if err == nil || !transient(err) {
			return s.explain(ctx, doing, err)
		}
		if last == nil || limited.Err() == nil {
			last = err
		}
		if limited.Err() != nil || s.o.Now().After(patience) || !pause(limited, attempt) {
			return s.explain(ctx, doing, last)
		}
	}
}

// certain waits until no commit with an unknown outcome can still be carried out.
func (s *Store) certain(ctx context.Context) error {
	d := s.doubt.Load()
	if d == nil {
		return nil
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	select {
	case <-d.over:
		return nil
	case <-limited.Done():
		err := fmt.Errorf("%w: the outcome of a commit is unknown, and PostgreSQL does not tell", storage.ErrUnavailable)
		if cause := s.outage.Load(); cause != nil {
			err = fmt.Errorf("%w: %w", err, *cause)
		}
		return s.explain(ctx, "reading", err)
	}
}
