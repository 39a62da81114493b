package hsm

import (
	"context"
	"errors"
	"sync/atomic"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// call is what a piece of work gets: a session of its own, valid until it returns.
type call struct {
	session ck.Session
	library ck.Library
	at      *loginSession
}

// task is one piece of work on its way through a lane.
type task struct {
	ctx   context.Context
	mod   *ck.Module
	at    *loginSession
	fresh bool // not in a session that did other work
	write bool // in a session that may change objects, opened for this task alone
	last  bool // no work: close the lane's session
	f     func(*call) error
}

// lane is a place for one session, and the goroutine that alone calls the library for
// it. A caller can so leave a call that hangs; the lane is missing from the pool until that call returns.
type sessionWorker struct {
	t     *Token
	tasks chan task  // nil: the goroutine is not started yet
	reply chan error // one answer for each task whose caller still waits
	state atomic.Uint32
	at    *loginSession
	raw   ck.Session // nil: none is open
}

// States of a lane.
const (
	idle      uint32 = iota
	working          // the caller waits
	abandoned        // the caller has left
)

// run gives the work to a free lane, and leaves it there at the deadline.
func (t *Token) run(ctx context.Context, k task) error {
	l, err := t.borrow(ctx)
	if err != nil {
		return err
	}
	k.ctx = ctx
	l.state.Store(working)
	l.tasks <- k
	select {
	case err := <-l.reply:
		t.workers.put(l)
		return err
	case <-ctx.Done():
	}
	if !l.state.CompareAndSwap(working, abandoned) {
		err := <-l.reply // it ended this very moment
		t.workers.put(l)
		return err
	}
	k.mod.Abandon()
	t.count(func(s *Stats) { s.Stuck++ })
	return context.Cause(ctx)
}

func (t *Token) count(f func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.stats)
}

// borrow takes a lane from the pool, waiting while all are at work, but not while all hang.
func (t *Token) borrow(ctx context.Context) (*sessionWorker, error) {
	if l := t.workers.take(); l != nil {
		return t.awake(l)
	}
	t.mu.Lock()
	stuck := t.stats.Stuck >= t.granted
	t.mu.Unlock()
	if stuck {
		return nil, ErrStuck
	}
	l, err := t.workers.wait(ctx)
	if err != nil {
		return nil, err
	}
	return t.awake(l)
}

// awake starts the lane's goroutine at its first use.
func (t *Token) awake(l *sessionWorker) (*sessionWorker, error) {
	if l.tasks != nil {
		return l, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	l.tasks, l.reply = make(chan task), make(chan error, 1)
	go l.work()
	return l, nil
}

// work is the lane's goroutine.
func (l *sessionWorker) work() {
	for k := range l.tasks {
		err := l.serve(k)
		if l.state.CompareAndSwap(working, idle) {
			l.reply <- err
			continue
		}
		k.mod.Returned()
		l.state.Store(idle)
		if !l.t.returned(l) {
			return
		}
	}
}

// returned counts a call that came back late, and puts its lane back; it reports whether that is wanted. While a token is being closed it is: who
// closes waits for every lane. Once they were collected it is not.
func (t *Token) returned(l *sessionWorker) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Stuck--
	if t.dismissed {
		return false
	}
	t.workers.put(l)
	return true
}

// serve does one task, in the lane's session or a new one.
func (l *sessionWorker) serve(k task) error {
	if err := k.mod.Enter(k.ctx, k.at.generation); err != nil {
		return err
	}
	defer k.mod.Exit()
	if l.raw != nil && (k.fresh || k.last || l.at != k.at) {
		l.discard(k.at)
	}
	if k.last {
		return nil
	}
	err := l.perform(k)
	if late := k.ctx.Err() != nil; l.raw != nil && (late || err != nil && spoils(err)) {
		l.discard(k.at)
	}
	return err
}

// perform runs the work; a panic in it is an error, and costs the session.
func (l *sessionWorker) perform(k task) (err error) {
	defer recovered(&err)
	lib := k.mod.Library()
	if k.write {
		s, err := lib.Open(k.at.slot.ID, true)
		if err != nil {
			return err
		}
		defer s.Close()
		return k.f(&call{session: s, library: lib, at: k.at})
	}
	if l.raw == nil {
		s, err := lib.Open(k.at.slot.ID, false)
		if err != nil {
			return err
		}
		l.raw, l.at = s, k.at
		l.t.count(func(s *Stats) { s.Opened++ })
	}
	return k.f(&call{session: l.raw, library: lib, at: k.at})
}

// spoils tells whether the session may be damaged after the error.
func spoils(err error) bool {
	switch kindOf(err) {
	case kindMissing, kindPermission, kindMechanism, kindData:
		return false
	case kindFinal:
		return !errors.Is(err, ErrCorrupt)
	}
	return true
}

// discard closes the session, unless the library was restarted since: then there is nothing to close, and its
// number may be another's.
func (l *sessionWorker) discard(at *loginSession) {
	var err error
	defer recovered(&err)
	if l.at.generation == at.generation {
		_ = l.raw.Close() // it is given up either way
	}
	l.raw, l.at = nil, nil
}

// retire ends a free lane that has done no work or is being closed.
func (l *sessionWorker) retire() {
	if l.tasks != nil {
		close(l.tasks)
		l.tasks = nil
	}
}

// dismiss collects every lane, closes its session and ends its goroutine. It reports whether one did not come in time.
func (t *Token) dismiss(ctx context.Context, mod *ck.Module) (stuck bool) {
	t.mu.Lock()
	n, at := t.granted, t.current
	t.mu.Unlock()
	defer t.endDismissal()
	for range n {
		l, err := t.borrow(ctx)
		if errors.Is(err, ErrClosed) {
			continue // a lane that never worked
		}
		if err != nil {
			return true
		}
		if l.raw == nil || at == nil {
			l.retire()
			continue
		}
		k := task{ctx: ctx, mod: mod, at: at, last: true}
		l.state.Store(working)
		l.tasks <- k
		select {
		case <-l.reply:
			l.retire()
		case <-ctx.Done():
			return true
		}
	}
	return false
}

// endDismissal ends the lanes that came back after their collector had given up.
func (t *Token) endDismissal() {
	t.mu.Lock()
	t.dismissed = true
	t.mu.Unlock()
	for l := t.workers.take(); l != nil; l = t.workers.take() {
		l.retire()
	}
}
