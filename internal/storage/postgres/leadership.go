package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// leadership is a held leadership. It renews its lease at a third of it, on a connection of its
// own.
type leadership struct {
	store *Store
	epoch int64
	base  time.Time    // reference of until
	until atomic.Int64 // nanoseconds after base, up to which no other node can be elected
	lost  chan struct{}
	once  sync.Once
	quit  context.CancelFunc // ends the renewals
	ended chan struct{}      // closed when they have ended
	conn  *pgx.Conn          // used by the renewals
}

// elected starts a leadership that was granted by a statement sent at that time.
func (s *Store) elected(conn *pgx.Conn, epoch int64, sent time.Time) *leadership {
	l := &leadership{store: s, epoch: epoch, base: sent, lost: make(chan struct{}), ended: make(chan struct{}), conn: conn}
	l.confirm(sent)
	var ctx context.Context
	ctx, l.quit = context.WithCancel(s.closing)
	s.wg.Add(1) // while the campaign is still counted
	go l.hold(ctx)
	return l
}

// confirm counts the lease from the sending of its renewal, less a margin for clocks that run at
// different rates.
func (l *leadership) confirm(sent time.Time) {
	lease := l.store.o.Lease
	l.until.Store(int64(sent.Sub(l.base) + lease - lease/10))
}

// left returns how long the lease is certain to last.
func (l *leadership) left() time.Duration {
	return time.Duration(l.until.Load()) - l.store.o.Now().Sub(l.base)
}

// Epoch implements storage.Leadership.
func (l *leadership) Epoch() uint64 { return uint64(l.epoch) }

// Lost implements storage.Leadership.
func (l *leadership) Lost() <-chan struct{} { return l.lost }

// Held implements storage.Leadership, by a clock that runs on while the process is stopped.
func (l *leadership) Held() bool {
	select {
	case <-l.lost:
		return false
	default:
		return l.left() > 0
	}
}

func (l *leadership) lose() { l.once.Do(func() { close(l.lost) }) }

// hold renews the lease until the leadership is lost or resigned, or the store closes, which
// resigns it.
func (l *leadership) hold(ctx context.Context) {
	s := l.store
	defer s.wg.Done()
	defer close(l.ended)
	defer func() {
		l.lose()
		if l.conn != nil {
			hangUp(l.conn)
		}
	}()
	l.stopListening(ctx)
	for l.rest(ctx, s.o.Lease/3) {
		for attempt := 0; ; attempt++ {
			again, err := l.renew(ctx)
			if err == nil && !again {
				s.log.Warn("the leadership was lost: another epoch has begun, or it was resigned", "epoch", l.epoch)
				return
			}
			if err == nil {
				break
			}
			if attempt == 0 {
				s.log.Warn("cannot renew the lease; retrying while it lasts", "error", clean(err))
			} else {
				s.note(true, "renewing the lease", err)
			}
			if !l.rest(ctx, min(backoffFirst<<min(attempt, 8), backoffMost)) {
				break
			}
		}
	}
	if s.closing.Err() != nil {
		l.lose()
		l.releaseLeaderRow()
	}
}

// stopListening ends notifications, because the leadership's own renewals would fill the
// connection. An error shows in the first renewal.
func (l *leadership) stopListening(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, l.left())
	defer cancel()
	_, _ = l.conn.Exec(ctx, `UNLISTEN *`)
}

// rest waits within the lease; it returns false if the leadership has ended.
func (l *leadership) rest(ctx context.Context, wait time.Duration) bool {
	left := l.left()
	t := time.NewTimer(min(wait, left))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	}
	if l.left() > 0 {
		return true
	}
	l.store.log.Warn("the leadership was lost: the lease could not be renewed in time", "epoch", l.epoch)
	return false
}

// renew reports whether the leadership continues. The server also gives up when the lease ends.
func (l *leadership) renew(ctx context.Context) (bool, error) {
	s := l.store
	ctx, cancel := context.WithTimeout(ctx, l.left())
	defer cancel()
	defer s.watchSilence("renewing the lease")()
	if l.conn == nil || l.conn.IsClosed() {
		conn, err := s.connectToLead(ctx)
		if err != nil {
			return true, err
		}
		l.conn = conn
	}
	sent := s.o.Now()
	err := l.conn.QueryRow(ctx, s.sql.renew, l.epoch).Scan(new(string))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err == nil:
		s.note(true, "", nil)
		l.confirm(sent)
	}
	return true, err
}

// Resign implements storage.Leadership. Whatever the database returns, this node no longer leads.
func (l *leadership) Resign(ctx context.Context) error {
	l.lose()
	l.quit()
	select {
	case <-l.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.store.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.store.o.CallTimeout)
	defer cancel()
	return storageError("resigning", clean(l.resign(ctx)))
}

// giveUp resigns a leadership that no caller wants any more; if it fails, the leadership ends with
// its lease.
func (l *leadership) giveUp() {
	l.lose()
	l.quit()
	<-l.ended
	l.releaseLeaderRow()
}

func (l *leadership) releaseLeaderRow() {
	ctx, cancel := context.WithTimeout(context.Background(), l.store.o.Lease)
	defer cancel()
	if err := l.resign(ctx); err != nil {
		l.store.log.Warn("could not resign the leadership; other nodes wait for the end of its lease", "error", clean(err))
	}
}

// resign clears the leader row if it still has this epoch. A commit may lock the row for longer
// than one statement waits.
func (l *leadership) resign(ctx context.Context) error {
	conn, err := l.store.connectToLead(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	for {
		err = conn.QueryRow(ctx, l.store.sql.resign, l.epoch).Scan(new(string))
		if sqlState(err) != stateLockTimeout || ctx.Err() != nil {
			break
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}
