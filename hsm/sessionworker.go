package hsm

import (
	"context"
	"errors"
	"sync/atomic"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// call is the exclusive session of one piece of work. It is valid until the work returns.
type call struct {
	session ck.Session
	library ck.Library
	at      *loginSession
}

// task is one piece of work for a session worker.
type task struct {
	ctx   context.Context
	mod   *ck.Module
	at    *loginSession
	fresh bool // needs a new session
	write bool // needs a session that may change objects, opened for this task alone
	last  bool // no work: close the worker's session
	f     func(*call) error
}

// sessionWorker owns one session and the goroutine that calls the library for it. A caller can
// therefore abandon a call that hangs. The worker is missing from the pool until that call returns.
type sessionWorker struct {
	t     *Token
	tasks chan task  // nil: the goroutine has not started
	reply chan error // one for each task whose caller still waits
	state atomic.Uint32
	at    *loginSession
	raw   ck.Session // nil: no session is open
}

// States of a session worker.
const (
	idle      uint32 = iota
	working          // the caller waits
	abandoned        // the caller no longer waits
)

// run passes the work to an idle session worker and abandons it at the deadline.
func (t *Token) run(ctx context.Context, k task) error {
	w, err := t.borrow(ctx)
	if err != nil {
		return err
	}
	k.ctx = ctx
	if l, ok := w.raw.(ck.Leaver); ok && !k.fresh && !k.write && w.at == k.at {
		return t.direct(w, l, k)
	}
	w.state.Store(working)
	w.tasks <- k
	select {
	case err := <-w.reply:
		t.workers.put(w)
		return err
	case <-ctx.Done():
	}
	if !w.state.CompareAndSwap(working, abandoned) {
		err := <-w.reply // it has just ended
		t.workers.put(w)
		return err
	}
	k.mod.Abandon()
	t.count(func(s *Stats) { s.Stuck++ })
	return context.Cause(ctx)
}

// direct runs the work on the caller's goroutine: a session in another process lets its caller
// leave.
func (t *Token) direct(w *sessionWorker, l ck.Leaver, k task) error {
	l.Within(k.ctx)
	err := w.serve(k)
	if !l.Left(func() { t.comeBack(w, k.mod) }) {
		l.Within(context.Background())
		t.workers.put(w)
		return err
	}
	k.mod.Abandon()
	t.count(func(s *Stats) { s.Stuck++ })
	return err
}

// comeBack takes back a worker whose abandoned call has returned.
func (t *Token) comeBack(w *sessionWorker, mod *ck.Module) {
	mod.Returned()
	if !t.returned(w) {
		w.retire()
	}
}

func (t *Token) count(f func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.stats)
}

// borrow takes a worker from the pool. It waits while all are busy, but not while all hang.
func (t *Token) borrow(ctx context.Context) (*sessionWorker, error) {
	if w := t.workers.take(); w != nil {
		return t.started(w)
	}
	t.mu.Lock()
	// A library in its own process ends every call by its deadline, so waiting helps.
	stuck := t.stats.Stuck >= t.granted && !t.mod.Isolated()
	t.mu.Unlock()
	if stuck {
		return nil, ErrStuck
	}
	w, err := t.workers.wait(ctx)
	if err != nil {
		return nil, err
	}
	return t.started(w)
}

// started starts the worker's goroutine at its first use.
func (t *Token) started(w *sessionWorker) (*sessionWorker, error) {
	if w.tasks != nil {
		return w, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	w.tasks, w.reply = make(chan task), make(chan error, 1)
	go w.work()
	return w, nil
}

// work is the worker's goroutine.
func (w *sessionWorker) work() {
	for k := range w.tasks {
		err := w.serve(k)
		if w.state.CompareAndSwap(working, idle) {
			w.reply <- err
			continue
		}
		k.mod.Returned()
		w.state.Store(idle)
		if !w.t.returned(w) {
			return
		}
	}
}

// returned counts a call that ended after its deadline and puts its worker back. It reports whether
// the worker is still needed: not after dismiss has collected the workers.
func (t *Token) returned(w *sessionWorker) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Stuck--
	if t.dismissed {
		return false
	}
	t.workers.put(w)
	return true
}

// serve runs one task in the worker's session or a new one.
func (w *sessionWorker) serve(k task) error {
	if err := k.mod.Enter(k.ctx, k.at.generation); err != nil {
		return err
	}
	defer k.mod.Exit()
	if w.raw != nil && (k.fresh || k.last || w.at != k.at) {
		w.discard(k.at)
	}
	if k.last {
		return nil
	}
	err := w.perform(k)
	if late := k.ctx.Err() != nil; w.raw != nil && (late || err != nil && damagesSession(err)) {
		w.discard(k.at)
	}
	return err
}

// perform runs the work. A panic becomes an error and costs the session.
func (w *sessionWorker) perform(k task) (err error) {
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
	if w.raw == nil {
		s, err := lib.Open(k.at.slot.ID, false)
		if err != nil {
			return err
		}
		w.raw, w.at = s, k.at
		w.t.count(func(s *Stats) { s.Opened++ })
	}
	return k.f(&call{session: w.raw, library: lib, at: k.at})
}

// damagesSession reports whether the error may have damaged the session.
func damagesSession(err error) bool {
	switch kindOf(err) {
	case kindMissing, kindPermission, kindMechanism, kindData:
		return false
	case kindFinal:
		return !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNoMAC)
	}
	return true
}

// discard closes the session, unless the library was restarted since: then it is closed already,
// and its number may belong to another session.
func (w *sessionWorker) discard(at *loginSession) {
	var err error
	defer recovered(&err)
	if w.at.generation == at.generation {
		_ = w.raw.Close() // the session is unusable either way
	}
	w.raw, w.at = nil, nil
}

// retire ends an idle worker's goroutine.
func (w *sessionWorker) retire() {
	if w.tasks != nil {
		close(w.tasks)
		w.tasks = nil
	}
}

// dismiss closes every worker's session and ends its goroutine. It reports whether a call still
// hangs when ctx ends.
func (t *Token) dismiss(ctx context.Context, mod *ck.Module) (stuck bool) {
	t.mu.Lock()
	n, at := t.granted, t.current
	t.mu.Unlock()
	defer t.endDismissal()
	for range n {
		w, err := t.borrow(ctx)
		if errors.Is(err, ErrClosed) {
			continue // a worker that never started
		}
		if err != nil {
			return true
		}
		if w.raw == nil || at == nil {
			w.retire()
			continue
		}
		k := task{ctx: ctx, mod: mod, at: at, last: true}
		w.state.Store(working)
		w.tasks <- k
		select {
		case <-w.reply:
			w.retire()
		case <-ctx.Done():
			return true
		}
	}
	return false
}

// endDismissal ends the workers that returned after dismiss had stopped waiting.
func (t *Token) endDismissal() {
	t.mu.Lock()
	t.dismissed = true
	t.mu.Unlock()
	for w := t.workers.take(); w != nil; w = t.workers.take() {
		w.retire()
	}
}
