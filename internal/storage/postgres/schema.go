package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	format     = 1
	oldest     = 120000 // server_version_num: WITH ... AS MATERIALIZED
	maxTable   = 63 - len("_changes")
	createLock = 0x5ea19a7e // advisory lock: one node creates the tables
)

// names holds the quoted names, and plain, which is not quoted.
type names struct {
	schema, plain               string // schema is "" for the search path's
	entries, leaderRow, changes string
}

func tableNames(table string) (names, error) {
	schema, plain, qualified := strings.Cut(table, ".")
	if !qualified {
		schema, plain = "", table
	}
	if plain == "" || len(plain) > maxTable || len(schema) > 63 || qualified && schema == "" ||
		strings.ContainsAny(table, "\x00\"'") || strings.Contains(plain, ".") {
		return names{}, fmt.Errorf("%w: table must be a name of at most %d bytes, or schema.name", ErrConfig, maxTable)
	}
	quote := func(suffix string) string {
		if qualified {
			return pgx.Identifier{schema, plain + suffix}.Sanitize()
		}
		return pgx.Identifier{plain + suffix}.Sanitize()
	}
	return names{schema: schema, plain: plain, entries: quote(""), leaderRow: quote("_seat"), changes: quote("_changes")},
		nil
}

// hash distinguishes stores in one database where a name is too short for the table's.
func (n names) hash() string {
	h := fnv.New64a()
	h.Write([]byte(n.schema + "." + n.plain))
	return fmt.Sprintf("%016x", h.Sum64())
}

func (n names) application() string      { return "sealgate " + n.hash() }
func (n names) writer() string           { return "sealgate writer " + n.hash() }
func (n names) changed() string          { return "sealgate_changed_" + n.hash() }
func (n names) leaderRowChanged() string { return "sealgate_seat_" + n.hash() }

// definition returns the statements that create the tables. Values are ciphertext, which does not
// compress; every commit updates the leader row in place.
func (n names) definition() []string {
	return []string{
		`CREATE TABLE ` + n.entries + ` (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL)`,
		`ALTER TABLE ` + n.entries + ` ALTER COLUMN value SET STORAGE EXTERNAL`,
		`CREATE TABLE ` + n.leaderRow +
			` (one boolean PRIMARY KEY CHECK (one), format integer NOT NULL, epoch bigint NOT NULL, holder bytea,` +
			` lease_ms bigint NOT NULL, expires timestamptz NOT NULL, renewals bigint NOT NULL, revision bigint NOT NULL)` +
			` WITH (fillfactor = 10)`,
		fmt.Sprintf(`INSERT INTO %s VALUES (true, %d, 0, NULL, 0, 'epoch', 0, 0)`, n.leaderRow, format),
		`CREATE TABLE ` + n.changes +
			` (revision bigint PRIMARY KEY, since bigint NOT NULL, keys text[] NOT NULL, batches integer[] NOT NULL,` +
			` deleted boolean[] NOT NULL)`,
	}
}

// columns of each table, by which Sealgate's tables are recognised.
var columns = map[string][]string{
	"":         {"key", "value"},
	"_seat":    {"epoch", "expires", "format", "holder", "lease_ms", "one", "renewals", "revision"},
	"_changes": {"batches", "deleted", "keys", "revision", "since"},
}

// prepare waits for the database, checks it, and finds or creates the tables.
func (s *Store) prepare(ctx context.Context, n names) error {
	conn, err := s.firstConnection(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn) // also ends an unfinished transaction
	limited, cancel := context.WithTimeout(ctx, s.o.CallTimeout)
	defer cancel()
	if err := s.checkServer(limited, conn); err != nil {
		return err
	}
	if err := s.detectPooler(limited, conn); err != nil {
		return storageError("opening the database", err)
	}
	found, err := s.findTables(limited, conn, n)
	if err == nil && !found || errors.Is(err, storage.ErrCorrupt) { // another node may be creating them
		if err = s.createTables(limited, conn, n); err == nil {
			found, err = s.findTables(limited, conn, n)
		}
		if err == nil && !found {
			err = fmt.Errorf("%w: %s is missing after it was created", ErrTables, n.entries)
		}
	}
	if err == nil {
		err = s.checkRights(limited, conn, n)
	}
	if err == nil {
		err = checkFormat(limited, conn, n)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return storageError("preparing the tables", err)
}

// firstConnection retries until the context ends, or as often as the options say. A refusal is not
// retried.
func (s *Store) firstConnection(ctx context.Context) (*pgx.Conn, error) {
	for attempt := 0; ; attempt++ {
		conn, err := s.connect(ctx)
		if err == nil {
			return conn, nil
		}
		enough := s.o.ConnectRetries > 0 && attempt >= s.o.ConnectRetries
		if enough || !transient(err) {
			return nil, storageError("opening the database", err)
		}
		if attempt == 0 {
			s.log.Warn("the database is unavailable; retrying", "error", err)
		}
		if !pause(ctx, attempt) {
			return nil, storageError("opening the database", err)
		}
	}
}

// checkServer refuses a server that cannot keep the contract, and warns of settings that weaken it.
func (s *Store) checkServer(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var encoding, fsync, pages string
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		current_setting('fsync'), current_setting('full_page_writes')`).Scan(&version, &encoding, &fsync, &pages)
	switch {
	case err != nil:
		return err
	case version < oldest:
		return fmt.Errorf("%w: PostgreSQL 12 or newer is required; this one is %d", ErrConfig, version/10000)
	case encoding != "UTF8" && encoding != "SQL_ASCII": // stores bytes unchanged, and counts bytes as characters
		return fmt.Errorf("%w: the database's encoding is %s; create one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE "+
			"template0",
			ErrConfig, encoding)
	}
	if fsync != "on" || pages != "on" {
		s.log.Warn("the database may lose or damage acknowledged writes when power fails: set fsync and full_page_writes "+
			"to on",
			"fsync", fsync, "full_page_writes", pages)
	}
	return nil
}

// findTables reports whether Sealgate's tables exist. Either all or none must exist.
func (s *Store) findTables(ctx context.Context, conn *pgx.Conn, n names) (bool, error) {
	found := 0
	for suffix, want := range columns {
		have, persistence, err := describe(ctx, conn, n, suffix)
		switch {
		case sqlState(err) == stateNoRight:
			return false, fmt.Errorf("%w: %s for the user %s; %s", ErrTables, message(err), conn.Config().User, n.byHand(conn))
		case err != nil:
			return false, err
		case have == nil:
			continue
		case !slices.Equal(have, want) || persistence != "p":
			return false, fmt.Errorf("%w: the table %s is %s; set the parameter table to another name, or use another database:"+
				" Sealgate neither reads nor changes this one", storage.ErrForeign, n.plain+suffix, whose(have, persistence))
		}
		found++
	}
	switch found {
	case 0:
		return false, s.checkNeighbours(ctx, conn, n)
	case len(columns):
		return true, nil
	}
	return false, fmt.Errorf("%w: only some of the tables %s, %s and %s exist; restore a backup, or drop them if they "+
		"are empty",
		storage.ErrCorrupt, n.entries, n.leaderRow, n.changes)
}

// describe returns the sorted columns of a table, nil if there is none, and its persistence
// (pg_class.relpersistence).
func describe(ctx context.Context, conn *pgx.Conn, n names, suffix string) (have []string, persistence string,
	err error) {
	table := n.plain + suffix
	quoted := pgx.Identifier{table}.Sanitize()
	if n.schema != "" {
		quoted = pgx.Identifier{n.schema, table}.Sanitize()
	}
	err = conn.QueryRow(ctx, `SELECT array_agg(a.attname::text ORDER BY a.attname),
			min(c.relpersistence::text || CASE c.relkind WHEN 'r' THEN '' ELSE c.relkind::text END)
		FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.oid = to_regclass($1) GROUP BY c.oid`, quoted).Scan(&have, &persistence)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, "", nil
	}
	if have == nil && err == nil {
		have = []string{}
	}
	return have, persistence, err
}

func whose(have []string, persistence string) string {
	switch {
	case slices.Contains(have, "parent_path"):
		return "the data of Vault or OpenBao"
	case persistence != "p":
		return "not an ordinary, logged table"
	}
	return "not a table of Sealgate"
}

// checkNeighbours protects an operator who forgot the parameter table from getting an empty store
// beside the existing data.
func (s *Store) checkNeighbours(ctx context.Context, conn *pgx.Conn, n names) error {
	if n.plain != DefaultTable {
		return nil
	}
	have, _, err := describe(ctx, conn, names{schema: n.schema, plain: "openbao_kv_store"}, "")
	if err != nil || !slices.Contains(have, "parent_path") {
		return err
	}
	return fmt.Errorf("%w: openbao_kv_store is OpenBao's data, which Sealgate cannot read; to create Sealgate's tables "+
		"beside it,"+
		" set the parameter table", storage.ErrForeign)
}

func checkFormat(ctx context.Context, conn *pgx.Conn, n names) error {
	var found int
	err := conn.QueryRow(ctx, `SELECT format FROM `+n.leaderRow+` WHERE one`).Scan(&found)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%w: %s has lost its row; restore a backup", storage.ErrCorrupt, n.leaderRow)
	case err == nil && found != format:
		return fmt.Errorf("%w: %s has format %d, but this program supports %d; use the newer program", ErrFormat, n.leaderRow,
			found, format)
	}
	return err
}

// createTables creates all tables in one transaction. Nodes that start at once do it one after the
// other.
func (s *Store) createTables(ctx context.Context, conn *pgx.Conn, n names) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, createLock); err != nil {
		return err
	}
	switch there, err := s.findTables(ctx, conn, n); {
	case err != nil:
		return err
	case there:
		return tx.Commit(ctx)
	case s.o.SkipCreateTable:
		return fmt.Errorf("%w: the tables are missing, and skip_create_table forbids creating them; %s", ErrTables,
			n.byHand(conn))
	}
	for _, statement := range n.definition() {
		if _, err := tx.Exec(ctx, statement); err != nil {
			if state := sqlState(err); state == stateNoRight || state == stateNoSchema {
				return fmt.Errorf("%w: the user %s may not create tables (%s); %s", ErrTables, conn.Config().User, message(err),
					n.byHand(conn))
			}
			return err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	s.log.Info("created the tables", "table", n.entries)
	return nil
}

func message(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// byHand returns the statements for an administrator.
func (n names) byHand(conn *pgx.Conn) string {
	user := pgx.Identifier{conn.Config().User}.Sanitize()
	return "have an administrator run in this database:\n" + strings.Join(n.definition(), ";\n") + ";\n" + n.grants(user)
}

func (n names) grants(user string) string {
	text := ""
	if n.schema != "" {
		text = "GRANT USAGE ON SCHEMA " + pgx.Identifier{n.schema}.Sanitize() + " TO " + user + ";\n"
	}
	return text + fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON %s, %s, %s TO %s;", n.entries, n.leaderRow,
		n.changes, user)
}

// checkRights finds missing rights at start rather than in the first commit.
func (s *Store) checkRights(ctx context.Context, conn *pgx.Conn, n names) error {
	var all bool
	err := conn.QueryRow(ctx, `SELECT bool_and(has_table_privilege(t, r)) FROM unnest($1::text[]) t, unnest($2::text[]) r`,
		[]string{n.entries, n.leaderRow, n.changes}, []string{"SELECT", "INSERT", "UPDATE", "DELETE"}).Scan(&all)
	if err == nil && !all {
		user := pgx.Identifier{conn.Config().User}.Sanitize()
		return fmt.Errorf("%w: have an administrator run in this database:\n%s", ErrTables, n.grants(user))
	}
	return err
}
