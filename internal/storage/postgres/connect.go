package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	connectTimeout = 5 * time.Second // unless connect_timeout is set
	idleFor        = 5 * time.Minute // after which a connection of the pool is closed
)

// errNotPrimary is why a responding server is not used.
var errNotPrimary = errors.New("postgres: the server takes no writes")

// session configures each connection in one round trip:
//   - a commit is on disk when it returns, whatever the settings of database and role; a setting
//     that waits for replicas stays;
//   - plans are generic and use the index, even if they are made while the tables are empty;
//   - the server gives up statements that the caller has long given up, and notices within 20 s
//     that the client's machine is unreachable.
const session = `SELECT set_config('synchronous_commit', ` + durable + `, false),
	set_config('plan_cache_mode', 'force_generic_plan', false), set_config('jit', 'off', false),
	set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
	set_config('statement_timeout', $1, false), set_config('lock_timeout', $1, false),
	set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '3', false),
	set_config('tcp_keepalives_count', '3', false)`

// durable is the value of synchronous_commit: at least "on".
const durable = `CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END`

// syncCommit sets it for one transaction.
const syncCommit = `SELECT set_config('synchronous_commit', ` + durable + `, true)`

// configure converts the options to pgx's, for the pool and for single connections.
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
	c.ConnConfig.ValidateConnect = takesWrites
	millis := fmt.Sprint(o.CallTimeout.Milliseconds())
	c.ConnConfig.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		return conn.ExecParams(ctx, session, [][]byte{[]byte(millis)}, nil, nil, nil).Read().Err
	}
	warnTransport(o, c.ConnConfig)
	return c, nil
}

// takesWrites refuses a standby, so that the primary is found among several hosts, also after a
// fail-over.
func takesWrites(ctx context.Context, conn *pgconn.PgConn) error {
	err := pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn)
	if errors.Is(err, pgconn.ErrReadOnlyConnection) {
		return errNotPrimary
	}
	return err
}

// connect opens a connection outside the pool.
func (s *Store) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, s.conn.Copy())
	return conn, clean(err)
}

// clean removes the configuration, which contains the password, from an error.
func clean(err error) error {
	var c *pgconn.ConnectError
	if !errors.As(err, &c) {
		return err
	}
	return fmt.Errorf("connecting to the database %s as %s: %w", c.Config.Database, c.Config.User, errors.Unwrap(c))
}

// checkURL refuses a URL that the parser would misread, showing parts of the password as something
// else.
func checkURL(text string) error {
	if !isURL(text) {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || u.User == nil && strings.Contains(text, "@") {
		return fmt.Errorf("%w: connection_url is not a URL such as "+
			"postgres://user:password@host:5432/database?sslmode=verify-full"+
			" (write : / ? # @ and %% in the password as %%3A %%2F %%3F %%23 %%40 and %%25)", ErrConfig)
	}
	return nil
}

func isURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// parseError keeps only the parts of the library's error that cannot contain the password.
func parseError(err error) error {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	if strings.HasPrefix(text, "failed to parse as") {
		text = `it is neither a URL such as postgres://user:password@host:5432/database?sslmode=verify-full nor key=value words such as ` +
			`host=h user=u password='p' dbname=d sslmode=verify-full`
	}
	return fmt.Errorf("%w: connection_url: %s", ErrConfig, text)
}

// warnTransport warns if keys and ciphertext may cross a network unprotected.
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
		o.Log.Warn("connection_url permits a connection without TLS: an attacker on the network can read and change "+
			"everything,"+
			" and may learn the password; set sslmode=verify-full and sslrootcert", "host", host)
	}
	for host := range blind {
		if !plain[host] {
			o.Log.Warn("connection_url does not verify the database's certificate: an attacker on the network can impersonate "+
				"the database;"+
				" set sslmode=verify-full and sslrootcert", "host", host)
		}
	}
}

// local reports whether a host is reached without a network.
func local(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Backoff of repeated reads and of reconnections.
const (
	backoffFirst = 20 * time.Millisecond
	backoffMost  = 500 * time.Millisecond
)

// pause waits between two attempts; it returns false if the context has ended.
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

// read executes a read-only call on a connection of the pool, and repeats it if a connection or a
// server fails: for half of the call's time, so that an outage is reported before the caller's own
// deadline hides its cause.
func (s *Store) read(ctx context.Context, doing string, f func(context.Context, *pgxpool.Conn) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.certain(ctx); err != nil {
		return err
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	limited, stop := s.whileItHelps(limited)
	defer stop()
	patience := s.o.Now().Add(s.o.CallTimeout / 2)
	var last error
	for attempt := 0; ; attempt++ {
		err := clean(s.pool.AcquireFunc(limited, func(c *pgxpool.Conn) error { return f(limited, c) }))
		if err == nil || !transient(err) {
			if errors.Is(err, storage.ErrNotFound) {
				s.note(false, doing, nil)
			} else {
				s.note(false, doing, err)
			}
			return s.explain(ctx, doing, err)
		}
		if attempt > 0 && ctx.Err() == nil { // the first may be a connection that broke long ago
			s.note(false, doing, err)
		}
		if last == nil || limited.Err() == nil {
			last = err
		}
		if limited.Err() != nil || s.o.Now().After(patience) || !pause(limited, attempt) {
			return s.explain(ctx, doing, last)
		}
	}
}

// whileItHelps ends a call that has waited for Options.OutageTimeout while an outage is certain, or
// has lasted.
func (s *Store) whileItHelps(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex // of timer: the first check may come before it is set
	var timer *time.Timer
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(s.o.OutageTimeout, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ctx.Err() != nil:
		case s.health.Over(true):
			cancel()
		default:
			timer.Reset(outageCheck)
		}
	})
	return ctx, func() { cancel(); timer.Stop() }
}

// outageCheck is the interval at which a waiting call looks for an outage.
const outageCheck = 200 * time.Millisecond

// certain waits until no commit with an unknown outcome can still be executed.
func (s *Store) certain(ctx context.Context) error {
	d := s.doubt.Load()
	if d == nil {
		return nil
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	limited, stop := s.whileItHelps(limited)
	defer stop()
	select {
	case <-d.over:
		return nil
	case <-limited.Done():
		err := fmt.Errorf("%w: the outcome of a commit is unknown, and PostgreSQL does not respond", storage.ErrUnavailable)
		if cause := s.outage.Load(); cause != nil {
			err = storage.Classified(storage.ClassOf(*cause), fmt.Errorf("%w: %w", err, *cause))
		}
		return s.explain(ctx, "reading", err)
	}
}
