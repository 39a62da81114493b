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

// sight is what a candidate saw of the seat.
type sight struct {
	epoch, renewals int64
	vacant          bool
	lease           time.Duration // of the holder
	left            time.Duration // by the database's clock
}

func (a sight) sameTerm(b sight) bool {
	return a.epoch == b.epoch && a.renewals == b.renewals && a.vacant == b.vacant
}

// Campaign implements storage.Elector. It tries on while the database is away.
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
		case l != nil && s.ready(ctx) != nil: // nobody waits for it any more
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
		case !transient(err):
			return nil, told("an election", clean(err))
		}
		if attempt++; attempt == 1 {
			s.log.Warn("the seat cannot be asked for; trying on", "error", clean(err))
		}
		c.hangUp()
		pause(ctx, attempt)
	}
}

// enter counts a call in that Close must wait for.
func (s *Store) enter(ctx context.Context) error {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.wg.Add(1)
	return nil
}

// candidate waits for the seat, on a connection that becomes the office's.
type candidate struct {
	store    *Store
	conn     *pgx.Conn
	identity []byte
	seen     sight
	since    time.Time // when seen was first seen; zero: never
}

func (c *candidate) hangUp() {
	if c.conn != nil {
		hangUp(c.conn)
		c.conn = nil
	}
}

// await returns when somebody tells of the seat, or after some time. What fails shows in the next step.
func (c *candidate) await(ctx context.Context, wait time.Duration) {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	stop := context.AfterFunc(c.store.closing, cancel)
	defer stop()
	_, _ = c.conn.WaitForNotification(limited)
}

// step looks at the seat, and takes it where it is free. Otherwise it says how long to wait before the next look.
func (c *candidate) step(ctx context.Context) (*leadership, time.Duration, error) {
	s := c.store
	now, err := c.look(ctx)
	if err != nil {
		return nil, 0, err
	}
	if c.since.IsZero() || !now.sameTerm(c.seen) {
		c.since = s.o.Now() // after the answer: the holder's lease began before
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
	return l, backoffFirst, err // neither: somebody was faster
}

func (c *candidate) look(ctx context.Context) (v sight, err error) {
	s := c.store
	ctx, cancel := s.limit(ctx)
	defer cancel()
	if c.conn == nil || c.conn.IsClosed() {
		if c.conn, err = s.connectToSit(ctx); err != nil {
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

// take tries to sit down; nil where the seat is not free any more. It goes on when the caller's context ends, because who sits must be
// known. Where a commit holds the seat for longer than a lease, whoever sent it has stopped in the middle of it, and its
// connection is ended.
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
		l := s.leaderIsCurrent(c.conn, epoch, sent)
		c.conn = nil
		return l, nil
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case sqlState(err) == stateLockTimeout:
		var ended int
		err = c.conn.QueryRow(ctx, s.sql.evict, s.sql.writerName, s.o.Lease.Milliseconds()).Scan(&ended)
		s.log.Warn("the seat was locked by a commit that did not end; its connection was ended", "connections", ended)
	}
	return nil, err
}

// connectToSit makes a connection for the seat. On it, a lock is not waited for beyond half a lease, by the server itself: nothing
// may be carried out when nobody counts on it any more.
func (s *Store) connectToSit(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, `SELECT set_config('lock_timeout', $1, false)`, fmt.Sprint(s.o.Lease.Milliseconds()/2)); err != nil {
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
