package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A connection pooler such as PgBouncer may run each transaction of a connection on another server
// process (pool_mode = transaction). Behind one,
//
//   - no statement is prepared by name: the name is known to one server process alone;
//   - each commit sets synchronous_commit in its own transaction;
//   - the table of changes and the leader row are polled, because notifications get lost;
//   - after a commit with an unknown outcome all server processes that commit for this table are
//     terminated, because it is not known which of them has the transaction.

// pooledPoll replaces tailPoll behind a pooler.
const pooledPoll = 50 * time.Millisecond

// wantsNoNames reports whether connection_url asks for no named prepared statements.
func wantsNoNames(c *pgx.ConnConfig) bool {
	return c.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement
}

// detectPooler compares the process of the server with the one that was announced to the
// connection: a pooler makes that up.
func (s *Store) detectPooler(ctx context.Context, conn *pgx.Conn) error {
	var pid uint32
	if err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		return err
	}
	if pid != conn.PgConn().PID() {
		s.pooled = true
		s.log.Warn("a connection pooler is between this node and PostgreSQL: changes by other nodes are seen later, and no " +
			"statement is prepared; connect directly, or by pool_mode = session, for full speed")
	}
	if !s.pooled {
		s.conn.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	}
	return nil
}

// Pooled reports whether a connection pooler that changes servers between transactions was noticed.
func (s *Store) Pooled() bool { return s.pooled }

// useExecMode makes new connections of the pool use the mode that was found.
func (s *Store) useExecMode(c *pgxpool.Config) {
	c.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
		conn.DefaultQueryExecMode = s.conn.DefaultQueryExecMode
		return nil
	}
}

// pollEvery is the interval at which changes are polled.
func (s *Store) pollEvery() time.Duration {
	if s.pooled {
		return pooledPoll
	}
	return tailPoll
}

// endWriters terminates all other server processes that commit for this table, and waits for them.
func (s *Store) endWriters(ctx context.Context, conn *pgx.Conn) error {
	for attempt := 0; ; attempt++ {
		var there int
		err := conn.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity`+
			` WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid() AND state <> 'idle'`,
			s.sql.writerName).Scan(&there)
		if err != nil || there == 0 {
			return err
		}
		if !pause(ctx, attempt) {
			return ctx.Err()
		}
	}
}
