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
	c := candidate{store: s, identity: slices.Clone(identity)}
	for attempt := 0; ; {
		changed := s.tail.seatChange() // asked for before the look, so that nothing falls between
		l, wait, err := c.step(ctx)
		if l != nil && s.ready(ctx) != nil {
			l.giveUp()
			return nil, s.ready(ctx)
		}
		if l != nil || err != nil && !errors.Is(err, storage.ErrUnavailable) {
			return l.orNil(), err
		}
		if err == nil {
			attempt = 0
		} else {
			wait = min(backoffFirst<<min(attempt, 8), backoffMost)
			attempt++
		}
		if err := s.rest(ctx, changed, wait); err != nil {
			return nil, err
		}
	}
}

// enter counts a call in that Close must wait for.
func (s *Store) enter(ctx context.Context) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.wg.Add(1)
	return nil
}

// rest waits for a change of the seat, for some time at most.
func (s *Store) rest(ctx context.Context, changed <-chan struct{}, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-s.closing.Done():
		return storage.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// candidate waits for the seat.
type candidate struct {
	store    *Store
	identity []byte
	seen     sight
	since    time.Time // when seen was first seen; zero: never
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
		return nil, min(now.lease-watched, now.lease/2), nil
	case now.left > 0 && now.left <= now.lease:
		return nil, max(now.left, time.Millisecond), nil
	}
	l, err := c.take(ctx, !now.vacant)
	if l == nil && err == nil { // somebody was faster
		return nil, backoffFirst, nil
	}
	return l, 0, err
}

func (c *candidate) look(ctx context.Context) (v sight, err error) {
	var lease, left int64
	err = c.store.read(ctx, "looking at the seat", func(ctx context.Context, conn *pgxpool.Conn) error {
		return lostRow(conn.QueryRow(ctx, c.store.sql.look).Scan(&v.epoch, &v.vacant, &v.renewals, &lease, &left))
	})
	v.lease, v.left = time.Duration(lease)*time.Millisecond, time.Duration(left)*time.Millisecond
	return v, err
}

// take tries to sit down. It goes on when the caller's context ends, because who sits must be known. Where a commit holds the seat
// for longer than a lease, whoever sent it has stopped in the middle of it, and its connection is ended.
func (c *candidate) take(ctx context.Context, over bool) (*leadership, error) {
	s := c.store
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.CallTimeout)
	defer cancel()
	conn, err := s.connectToSit(ctx)
	if err != nil {
		return nil, told("connecting for an election", err)
	}
	sent := s.o.Now()
	epoch, err := c.sit(ctx, conn, over)
	if err == nil && epoch != 0 {
		return s.inOffice(conn, epoch, sent), nil
	}
	if sqlState(err) == stateLockTimeout {
		var ended int
		err = conn.QueryRow(ctx, s.sql.evict, s.sql.writerName, s.o.Lease.Milliseconds()).Scan(&ended)
		s.log.Warn("the seat was locked by a commit that does not end; its connection was ended", "connections", ended)
	}
	hangUp(conn)
	return nil, told("an election", err)
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

// sit returns the epoch, or 0 where the seat is not free any more.
func (c *candidate) sit(ctx context.Context, conn *pgx.Conn, over bool) (epoch int64, err error) {
	s := c.store
	err = conn.QueryRow(ctx, s.sql.take, c.identity, s.o.Lease.Milliseconds(), c.seen.epoch, c.seen.renewals, over).Scan(&epoch, new(string))
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return epoch, err
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
	return identity, uint64(n), err //nolint:gosec // it counts up from 0
}
