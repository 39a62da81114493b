package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Bounds of a page, and so of a snapshot's memory.
const (
	pageFirst = 32
	pageMost  = 1024
	pageBytes = 4 << 20
)

// entry is a row of a page.
type entry struct {
	key   string
	value []byte
}

// Snapshot implements storage.Snapshotter: one read-only transaction on a connection of its own,
// read in pages, each with a deadline. It delays the database's vacuum, but neither waits for
// commits nor delays them.
func (s *Store) Snapshot(ctx context.Context, visit func(key string, value []byte) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.certain(ctx); err != nil {
		return err
	}
	tx, done, err := s.beginSnapshot(ctx)
	if err != nil {
		return s.explain(ctx, "beginning a snapshot", err)
	}
	defer done()
	after, rows := "", pageFirst
	for {
		page, size, err := s.snapshotPage(ctx, tx, after, rows)
		if err != nil {
			return s.explain(ctx, "reading a snapshot", err)
		}
		for _, e := range page {
			if err := s.ready(ctx); err != nil {
				return err
			}
			if err := visit(e.key, e.value); err != nil {
				return err
			}
			after = e.key
		}
		switch {
		case len(page) < rows:
			return nil
		case size > pageBytes:
			rows = max(rows/2, 1)
		case size < pageBytes/2:
			rows = min(2*rows, pageMost)
		}
	}
}

func (s *Store) beginSnapshot(ctx context.Context) (pgx.Tx, func(), error) {
	limited, cancel := s.limit(ctx)
	defer cancel()
	conn, err := s.connect(limited)
	if err != nil {
		return nil, nil, err
	}
	tx, err := conn.BeginTx(limited, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		hangUp(conn)
		return nil, nil, err
	}
	return tx, func() { hangUp(conn) }, nil // also ends the transaction
}

func (s *Store) snapshotPage(ctx context.Context, tx pgx.Tx, after string, limit int) (page []entry, size int,
	err error) {
	limited, cancel := s.limit(ctx)
	defer cancel()
	rows, err := tx.Query(limited, s.sql.page, after, limit)
	if err != nil {
		return nil, 0, clean(err)
	}
	page, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (entry, error) {
		var e entry
		err := row.Scan(&e.key, &e.value)
		e.value = present(e.value)
		size += len(e.key) + len(e.value)
		return e, err
	})
	return page, size, err
}
