package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealgate/sealgate/internal/storage"
)

// leaderView is a candidate's view of the leader row.
type leaderView struct {
	epoch, renewals int64
	vacant          bool
	lease           time.Duration // of the leader
	left            time.Duration // by the database's clock
}

func (a leaderView) sameTerm(b leaderView) bool {
	return a.epoch == b.epoch && a.renewals == b.renewals && a.vacant == b.vacant
}

// Campaign implements storage.Elector. It keeps trying while the database is unavailable.
func (s *Store) Campaign(ctx context.Context, identity []byte) (storage.Leadership, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.wg.Done()
	c := candidate{store: s, identity: present(slices.Clone(identity))}
	defer c.hangUp()
	for attempt := 0; ; {
		l, wait, err := c.step(ctx)
		switch {
		case l != nil && s.ready(ctx) != nil: // no caller waits for it any more
			l.giveUp()
			return nil, s.ready(ctx)
		case l != nil:
			return l, nil
		case s.ready(ctx) != nil:
			return nil, s.ready(ctx)
		case err == nil:
			attempt = 0
			c.await(ctx, wait)
			continue
		}
		s.note(false, "an election", err)
		if !transient(err) {
			return nil, storageError("an election", clean(err))
		}
		if attempt++; attempt == 1 {
			s.log.Warn("cannot campaign; retrying", "error", clean(err))
		}
		c.hangUp()
		pause(ctx, attempt)
	}
}

// enter counts a call for which Close must wait.
func (s *Store) enter(ctx context.Context) error {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.wg.Add(1)
	return nil
}

// candidate waits for the leadership, on a connection that the leadership then uses.
type candidate struct {
	store    *Store
	conn     *pgx.Conn
	identity []byte
	seen     leaderView
	since    time.Time // when seen was first seen; zero: never
}

func (c *candidate) hangUp() {
	if c.conn != nil {
		hangUp(c.conn)
		c.conn = nil
	}
}

// await returns after a notification about the leader row, or after wait. An error shows in the
// next step.
func (c *candidate) await(ctx context.Context, wait time.Duration) {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	stop := context.AfterFunc(c.store.closing, cancel)
	defer stop()
	_, _ = c.conn.WaitForNotification(limited)
}

// step reads the leader row, and takes the leadership if it is vacant. Otherwise it returns how
// long to wait before the next step.
func (c *candidate) step(ctx context.Context) (*leadership, time.Duration, error) {
	s := c.store
	now, err := c.look(ctx)
	if err != nil {
		return nil, 0, err
	}
	s.note(!c.since.IsZero() && !now.sameTerm(c.seen), "", nil) // another node's renewal is a write
	if c.since.IsZero() || !now.sameTerm(c.seen) {
		c.since = s.o.Now() // after the response: the leader's lease began before it
	}
	c.seen = now
	watched := s.o.Now().Sub(c.since)
	switch {
	case now.vacant:
	case watched < now.lease:
		return nil, min(now.lease-watched, max(now.lease/2, time.Millisecond)), nil
	case now.left > 0 && now.left <= now.lease:
		return nil, now.left, nil
	}
	l, err := c.take(ctx, !now.vacant)
	if err != nil || l != nil {
		s.note(true, "an election", err)
	}
	return l, backoffFirst, err // another candidate was faster
}

func (c *candidate) look(ctx context.Context) (v leaderView, err error) {
	s := c.store
	ctx, cancel := s.limit(ctx)
	defer cancel()
	defer s.watchSilence("an election")()
	if c.conn == nil || c.conn.IsClosed() {
		if c.conn, err = s.connectToLead(ctx); err != nil {
			return v, err
		}
		if _, err := c.conn.Exec(ctx, `LISTEN `+s.sql.leaderRowChanged); err != nil {
			return v, err
		}
	}
	var lease, left int64
	err = lostRow(c.conn.QueryRow(ctx, s.sql.look).Scan(&v.epoch, &v.vacant, &v.renewals, &lease, &left))
	v.lease, v.left = time.Duration(lease)*time.Millisecond, time.Duration(left)*time.Millisecond
	return v, err
}

// take tries to take the leadership; it returns nil if it is no longer vacant. It continues when
// the caller's context ends, because the result must be known. If a commit locks the leader row for
// longer than a lease, its sender has stopped in the middle of it, and its connection is
// terminated.
func (c *candidate) take(ctx context.Context, over bool) (*leadership, error) {
	s := c.store
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Lease)
	defer cancel()
	sent := s.o.Now()
	var epoch int64
	err := c.conn.QueryRow(ctx, s.sql.take, c.identity, s.o.Lease.Milliseconds(), c.seen.epoch, c.seen.renewals, over).
		Scan(&epoch, new(string))
	switch {
	case err == nil:
		l := s.elected(c.conn, epoch, sent)
		c.conn = nil
		return l, nil
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case sqlState(err) == stateLockTimeout:
		var ended int
		err = c.conn.QueryRow(ctx, s.sql.evict, s.sql.writerName, s.o.Lease.Milliseconds()).Scan(&ended)
		s.log.Warn("an unfinished commit locked the leader row; its connection was terminated", "connections", ended)
	}
	return nil, err
}

// connectToLead opens a connection for the leadership. On it the server waits for a lock at most
// half a lease: nothing may be executed after the caller has given up.
func (s *Store) connectToLead(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `SELECT set_config('lock_timeout', $1, false)`,
		fmt.Sprint(s.o.Lease.Milliseconds()/2)); err != nil {
		hangUp(conn)
		return nil, err
	}
	return conn, nil
}

// Leader implements storage.Elector.
func (s *Store) Leader(ctx context.Context) (identity []byte, epoch uint64, err error) {
	if err := s.ready(ctx); err != nil {
		return nil, 0, err
	}
	var n int64
	err = s.read(ctx, "asking for the leader", func(ctx context.Context, c *pgxpool.Conn) error {
		err := c.QueryRow(ctx, s.sql.leader).Scan(&identity, &n)
		if errors.Is(err, pgx.ErrNoRows) {
			return storage.ErrNotFound
		}
		return err
	})
	return identity, uint64(n), err
}
