package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
)

// TestForeign: what another program has made is refused, and left as it is.
func TestForeign(t *testing.T) {
	t.Parallel()
	vault := `(parent_path TEXT COLLATE "C" NOT NULL, path TEXT COLLATE "C", key TEXT COLLATE "C", value BYTEA,` +
		` PRIMARY KEY (path, key))`
	whole := strings.Join(must(tableNames(DefaultTable)).definition(), ";")
	for name, c := range map[string]struct {
		table, prepare string
		kind           error
		word           string
	}{
		"Vault":           {"", `CREATE TABLE vault_kv_store ` + vault, storage.ErrForeign, "Vault"},
		"OpenBao":         {"", `CREATE TABLE openbao_kv_store ` + vault, storage.ErrForeign, "parameter table"},
		"another program": {"keys", `CREATE TABLE keys (id int)`, storage.ErrForeign, "keys"},
		"a leader row":    {"keys", `CREATE TABLE keys_seat (id int)`, storage.ErrForeign, "keys_seat"},
		"a view":          {"keys", `CREATE VIEW keys AS SELECT 'k' AS key, ''::bytea AS value`, storage.ErrForeign, "keys"},
		"not logged": {"keys", `CREATE UNLOGGED TABLE keys (key text PRIMARY KEY, value bytea NOT NULL)`,
			storage.ErrForeign, "logged"},
		"in part":       {"", whole + `; DROP TABLE vault_kv_store_changes`, storage.ErrCorrupt, "backup"},
		"without a row": {"", whole + `; DELETE FROM vault_kv_store_seat`, storage.ErrCorrupt, "backup"},
		"newer":         {"", whole + `; UPDATE vault_kv_store_seat SET format = 2`, ErrFormat, "newer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			pgtest.Exec(t, url, c.prepare)
			before := tables(t, url)
			_, err := Open(t.Context(), Options{URL: url, Table: c.table})
			wantError(t, err, c.kind, c.word)
			if after := tables(t, url); after != before {
				t.Errorf("the database has %s; it had %s", after, before)
			}
		})
	}
	url := pgtest.Database(t)
	pgtest.Exec(t, url, `CREATE TABLE vault_kv_store `+vault, `CREATE TABLE openbao_kv_store `+vault)
	s := open(t, Options{URL: url, Table: "sealgate"})
	put(t, s, "k", "beside them")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func tables(t testing.TB, url string) (list string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	err = conn.QueryRow(t.Context(), `SELECT string_agg(oid::text || relname || relfilenode, ',' ORDER BY oid)
		FROM pg_class WHERE relkind IN ('r', 'v')`).Scan(&list)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestWithoutRights: the error of a user without the right to create tables names what an
// administrator must run; it works.
func TestWithoutRights(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"", `apart.Entries`} {
		url := pgtest.Database(t)
		user := "poor_" + url[strings.LastIndex(url, "/")+1:strings.Index(url, "?")]
		pgtest.Exec(t, url, `CREATE ROLE `+user+` LOGIN PASSWORD 'poor'`, `REVOKE ALL ON SCHEMA public FROM public`,
			`GRANT USAGE ON SCHEMA public TO `+user, `CREATE SCHEMA apart`)
		poor := strings.Replace(url, pgtest.User+":"+pgtest.Password, user+":poor", 1)
		var byHand string
		for _, skip := range []bool{false, true} {
			_, err := Open(t.Context(), Options{URL: poor, Table: table, SkipCreateTable: skip})
			if wantError(t, err, ErrTables, "CREATE TABLE", "GRANT"); err != nil {
				_, byHand, _ = strings.Cut(err.Error(), "database:\n")
			}
		}
		if table == "" { // an administrator who omits the second half gets an error
			definition, _, _ := strings.Cut(byHand, "GRANT")
			pgtest.Exec(t, url, definition)
			_, err := Open(t.Context(), Options{URL: poor})
			if wantError(t, err, ErrTables, "GRANT SELECT"); err != nil {
				_, byHand, _ = strings.Cut(err.Error(), "database:\n")
			}
		}
		pgtest.Exec(t, url, byHand)
		s := open(t, Options{URL: poor, Table: table, SkipCreateTable: true})
		put(t, s, "k", "v")
		holds(t, s, "k", "v")
	}
}

// TestSeveralAtOnce: nodes that start together on an empty database make one set of tables.
func TestSeveralAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			s, err := Open(context.Background(), Options{URL: url})
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			put(t, s, fmt.Sprint("k", i), "v")
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := open(t, Options{URL: url})
	if names, err := s.List(t.Context(), "", "", 0); err != nil || len(names) != 4 {
		t.Errorf("%q, %v", names, err)
	}
}

// TestTwoTables in one database are two stores.
func TestTwoTables(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	a, b := open(t, Options{URL: url, Table: "a"}), open(t, Options{URL: url, Table: "public.b"})
	events := watch(t, b)
	put(t, a, "k", "a")
	campaign(t, a, "node of a")
	put(t, b, "l", "b")
	holds(t, b, "k", "")
	if got := until(t, events, 1); len(got) != 1 || got[0].Key != "l" {
		t.Errorf("events of b: %v", got)
	}
	if _, _, err := b.Leader(t.Context()); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("b has the leader of a: %v", err)
	}
}

// encoded makes a database of another encoding.
func encoded(t *testing.T, encoding string) (url string) {
	t.Helper()
	url = pgtest.Database(t)
	name := strings.ToLower(encoding) + "_" + url[strings.LastIndex(url, "/")+1:strings.Index(url, "?")]
	pgtest.Exec(t, url, `CREATE DATABASE `+name+` ENCODING '`+encoding+`' LOCALE 'C' TEMPLATE template0`)
	return url[:strings.LastIndex(url, "/")+1] + name + "?sslmode=disable"
}

func TestEncoding(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), Options{URL: encoded(t, "LATIN1")})
	wantError(t, err, ErrConfig, "LATIN1", "UTF8")
}

// TestConformanceInBytes: a database without an encoding, as the C locale makes it, does as well.
func TestConformanceInBytes(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Harness {
		url := encoded(t, "SQL_ASCII")
		return storagetest.Harness{Shared: true,
			Open: func() (storage.Store, error) { return Open(context.Background(), Options{URL: url}) }}
	})
}

func TestTableNames(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{".", "a.", ".a", "a.b.c", `a"b`, "a'b", "a\x00", strings.Repeat("t", maxTable+1)} {
		if n, err := tableNames(bad); !errors.Is(err, ErrConfig) {
			t.Errorf("%q: %+v, %v", bad, n, err)
		}
	}
	n, err := tableNames("Some.Table; DROP")
	if err != nil || n.leaderRow != `"Some"."Table; DROP_seat"` {
		t.Errorf("%+v, %v", n, err)
	}
}
