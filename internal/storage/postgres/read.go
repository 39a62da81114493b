package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealgate/sealgate/internal/storage"
)

// Get implements storage.Store.
func (s *Store) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckKey(key); err != nil {
		return nil, err
	}
	var value []byte
	err := s.read(ctx, "reading an entry", func(ctx context.Context, c *pgxpool.Conn) error {
		err := c.QueryRow(ctx, s.sql.get, key).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			return storage.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return present(value), nil
}

// List implements storage.Store with one statement, so as of one moment.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	var names []string
	err := s.read(ctx, "listing", func(ctx context.Context, c *pgxpool.Conn) error {
		w := walk{ctx: ctx, conn: c, sql: s.sql.list, prefix: prefix}
		defer w.close()
		var err error
		// Keys before any possible key must not count: they are skipped.
		if w.limit = limit; limit <= 0 || !isText(after) {
			w.limit = 0
		}
		names, err = storage.Names(prefix, after, limit, w.seek)
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

// isText reports whether PostgreSQL accepts a string as text.
func isText(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }

// walk serves storage.Names from the rows of one statement, which skips folders in the same way.
type walk struct {
	ctx    context.Context
	conn   *pgxpool.Conn
	sql    string
	prefix string
	limit  int
	rows   pgx.Rows
}

func (w *walk) seek(from string) (string, bool, error) {
	if w.rows == nil {
		if err := w.begin(from); err != nil {
			return "", false, err
		}
	}
	var key string
	for w.rows.Next() {
		if err := w.rows.Scan(&key); err != nil {
			return "", false, err
		}
		if key >= from {
			return key, true, nil
		}
	}
	return "", false, w.rows.Err()
}

// begin starts at the first possible key at or before from.
func (w *walk) begin(from string) (err error) {
	if start, ok := strings.CutSuffix(from, "\x00"); ok && isText(start) {
		from = start + "\x01" // equivalent, because keys have no NUL
	}
	for !isText(from) {
		from = from[:firstBad(from)]
	}
	var limit *int
	if w.limit > 0 {
		limit = &w.limit
	}
	w.rows, err = w.conn.Query(w.ctx, w.sql, from, w.prefix, limit)
	return err
}

// firstBad returns where a string stops being text.
func firstBad(text string) int {
	for i, r := range text {
		if r == 0 {
			return i
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
	}
	return len(text)
}

func (w *walk) close() {
	if w.rows != nil {
		w.rows.Close()
	}
}

// Revision implements storage.Sequencer.
func (s *Store) Revision(ctx context.Context) (uint64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	var revision int64
	err := s.read(ctx, "reading the revision", func(ctx context.Context, c *pgxpool.Conn) error {
		return lostRow(c.QueryRow(ctx, s.sql.revision).Scan(&revision))
	})
	return uint64(revision), err
}

// lostRow converts a missing leader row into ErrCorrupt: the row exists as long as the tables do.
func lostRow(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%w: the leader row is missing; restore a backup of the database", storage.ErrCorrupt)
	}
	return err
}

// Size implements storage.Sizer with the size of tables and indexes on the server's disk.
func (s *Store) Size(ctx context.Context) (int64, error) {
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	var size int64
	err := s.read(ctx, "reading the size", func(ctx context.Context, c *pgxpool.Conn) error {
		return c.QueryRow(ctx, s.sql.size).Scan(&size)
	})
	return size, err
}
