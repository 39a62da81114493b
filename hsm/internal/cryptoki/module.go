package cryptoki

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Errors of a module.
var (
	// ErrStale: the library was restarted after the session was opened; its handle means nothing now.
	ErrStale = errors.New("the PKCS#11 library was restarted meanwhile")
	// ErrStuck: the library cannot be restarted, because calls that were given up are still inside it.
	ErrStuck = errors.New("calls that passed their deadline are still inside the PKCS#11 library")
	// ErrClosed: the module was released by its last user.
	ErrClosed = errors.New("the PKCS#11 library is closed")
)

// drain is how long a restart waits for calls that are inside; new ones wait outside meanwhile.
const drain = 2 * time.Second

// Module is an initialised library, shared by the process. Its methods may be called from any goroutine.
//
// Around every call into the library stands Enter and Exit. The generation counts initialisations;
// a session carries the one that it was opened under, and Enter refuses any other.
type Module struct {
	lib Library

	mu         sync.Mutex
	refs       int
	inside     int           // calls between Enter and Exit
	abandoned  int           // of these, calls whose caller has left
	generation uint64        // 0: never initialised
	ready      bool          // C_Initialize was successful and C_Finalize did not follow
	owned      bool          // it was our C_Initialize, so C_Finalize is ours too
	restarting chan struct{} // closed when the running restart ends; nil: none is running
	idle       chan struct{} // closed when inside falls to 0; nil: nobody waits for that
	failure    error         // what the last restart ended with
}

// modules is the one list of the process: C_Initialize and C_Finalize act on the process, whoever
// calls them, so two users of one file must know of each other.
var modules = struct {
	sync.Mutex
	byPath map[string]*Module
}{byPath: map[string]*Module{}}

// Acquire returns the process's module of that library file, loading it where it is the first. Each Acquire needs a Release.
func Acquire(path string) (*Module, error) {
	key := identity(path)
	modules.Lock()
	defer modules.Unlock()
	m := modules.byPath[key]
	if m == nil {
		lib, err := Load(path)
		if err != nil {
			return nil, err
		}
		m = NewModule(lib)
		modules.byPath[key] = m
	}
	m.mu.Lock()
	m.refs++
	m.mu.Unlock()
	return m, nil
}

// NewModule makes a module of a library that is not in the process's list: a test's, or one in a child process.
func NewModule(lib Library) *Module { return &Module{lib: lib} }

// Retain counts one more user, as Acquire does.
func (m *Module) Retain() *Module {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refs++
	return m
}

// identity names a file by where its links end, so that two names of a library are one module.
func identity(path string) string {
	if !strings.Contains(path, "/") {
		return path
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// Release gives an Acquire back. The last one finalizes the library, unless calls are stuck in it;
// the next Acquire initialises it again.
func (m *Module) Release() error {
	m.mu.Lock()
	if m.refs--; m.refs > 0 || !m.ready && m.restarting == nil {
		m.mu.Unlock()
		return nil
	}
	if m.restarting != nil || m.abandoned > 0 {
		m.mu.Unlock()
		return ErrStuck
	}
	restarting := make(chan struct{})
	m.restarting = restarting
	m.mu.Unlock()
	go m.run(restarting, m.stop)
	t := time.NewTimer(2 * drain)
	defer t.Stop()
	select {
	case <-restarting:
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.failure
	case <-t.C:
		return ErrStuck
	}
}

// Library is the library itself, for use between Enter and Exit.
func (m *Module) Library() Library { return m.lib }

// Enter announces a call of a session that was opened under this generation. It waits while a restart is running.
func (m *Module) Enter(ctx context.Context, generation uint64) error {
	for {
		m.mu.Lock()
		restarting := m.restarting
		if restarting == nil {
			break
		}
		m.mu.Unlock()
		select {
		case <-restarting:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer m.mu.Unlock()
	if !m.ready || m.generation != generation {
		return ErrStale
	}
	m.inside++
	return nil
}

// Exit ends what Enter began.
func (m *Module) Exit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inside--
	if m.inside == 0 && m.idle != nil {
		close(m.idle)
		m.idle = nil
	}
}

// Abandon says that the caller of a call no longer waits for it; Returned, that the call came back after all.
// They may arrive in either order.
func (m *Module) Abandon() { m.left(1) }

// Returned is Abandon's opposite.
func (m *Module) Returned() { m.left(-1) }

func (m *Module) left(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abandoned += n
}

// Generation is the number of the present initialisation, 0 before the first.
func (m *Module) Generation() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation
}

// Start initialises the library if that is still to be done, and returns the generation.
func (m *Module) Start(ctx context.Context) (uint64, error) {
	m.mu.Lock()
	ready, generation := m.ready && m.restarting == nil, m.generation
	m.mu.Unlock()
	if ready {
		return generation, nil
	}
	return m.Restart(ctx, generation)
}

// Restart finalizes and initialises the library, unless that happened since the caller saw
// the given generation. Callers at the same time share one restart and its error.
// C_Finalize waits for the calls that are inside, for a while only, and never runs over one.
func (m *Module) Restart(ctx context.Context, seen uint64) (uint64, error) {
	for shared := false; ; shared = true {
		m.mu.Lock()
		switch {
		case m.restarting != nil:
		case m.ready && m.generation > seen:
			defer m.mu.Unlock()
			return m.generation, nil
		case shared && m.failure != nil:
			defer m.mu.Unlock()
			return 0, m.failure
		case m.abandoned > 0:
			defer m.mu.Unlock()
			return 0, fmt.Errorf("%w (%d of them)", ErrStuck, m.abandoned)
		default:
			m.restarting = make(chan struct{})
			go m.run(m.restarting, m.cycle)
		}
		restarting := m.restarting
		m.mu.Unlock()
		select {
		case <-restarting:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// run calls what must have the library to itself: the gate is shut, so nobody enters. It may hang, as any call may;
// then the gate stays shut, and who waits for it leaves at their own deadline.
func (m *Module) run(restarting chan struct{}, f func() error) {
	err := ErrStuck
	if m.drained() {
		err = guard(f)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure, m.restarting = err, nil
	close(restarting)
}

// guard makes an error of a panic in the binding.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the PKCS#11 library panicked: %v", p)
		}
	}()
	return f()
}

// stop finalizes a library that we initialised.
func (m *Module) stop() error {
	m.mu.Lock()
	ours := m.ready && m.owned
	m.ready = false
	m.mu.Unlock()
	if !ours {
		return nil
	}
	if err := m.lib.Finalize(); err != nil && !errors.Is(err, NotInitialized) {
		return fmt.Errorf("C_Finalize: %w", err)
	}
	return nil
}

// cycle finalizes and initialises. One that somebody else in this process initialised is finalized
// too: there is no other way to get it back to work.
func (m *Module) cycle() error {
	m.mu.Lock()
	was := m.ready
	m.ready = false
	m.mu.Unlock()
	if was {
		if err := m.lib.Finalize(); err != nil && !errors.Is(err, NotInitialized) {
			return fmt.Errorf("C_Finalize: %w", err)
		}
	}
	err := m.lib.Initialize()
	foreign := errors.Is(err, AlreadyInitialized)
	if err != nil && !foreign {
		return fmt.Errorf("C_Initialize: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready, m.owned = true, !foreign
	m.generation++
	return nil
}

// drained waits until nobody is inside.
func (m *Module) drained() bool {
	m.mu.Lock()
	if m.inside == 0 {
		m.mu.Unlock()
		return true
	}
	idle := make(chan struct{})
	m.idle = idle
	m.mu.Unlock()
	t := time.NewTimer(drain)
	defer t.Stop()
	select {
	case <-idle:
		return true
	case <-t.C:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.idle = nil
		return m.inside == 0
	}
}
