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
	// ErrStale: the library was restarted after the session was opened, so its handle is invalid.
	ErrStale = errors.New("the PKCS#11 library was restarted after the session was opened")
	// ErrStuck: the library cannot be restarted, because abandoned calls are still inside it.
	ErrStuck = errors.New("calls that passed their deadline are still inside the PKCS#11 library")
	// ErrClosed: the module's last user released it.
	ErrClosed = errors.New("the PKCS#11 library is closed")
)

// drain is how long a restart waits for the calls that are inside. New calls wait outside.
const drain = 2 * time.Second

// Module is an initialised library that the process shares. Any goroutine may call its methods.
//
// Every call into the library is enclosed by Enter and Exit. The generation counts initialisations.
// A session keeps the generation that it was opened in, and Enter refuses any other.
type Module struct {
	lib    Library
	killer Killer // nil: the library is in this process

	mu         sync.Mutex
	refs       int
	inside     int           // calls between Enter and Exit
	abandoned  int           // of these, calls whose caller no longer waits
	generation uint64        // 0: never initialised
	ready      bool          // C_Initialize was successful and C_Finalize did not follow
	owned      bool          // this module called C_Initialize, so it calls C_Finalize
	restarting chan struct{} // closed when the running restart ends; nil: no restart is running
	idle       chan struct{} // closed when inside falls to 0; nil: no restart waits for that
	failure    error         // the last restart's result
}

// modules is the process's list of modules. C_Initialize and C_Finalize act on the process, so two
// users of one file must share a module.
var modules = struct {
	sync.Mutex
	byPath map[string]*Module
}{byPath: map[string]*Module{}}

// Acquire returns the process's module of that library file and loads the file if it is the first
// user. Each Acquire needs a Release.
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

// NewModule returns a module that is not in the process's list: for a test's library, or one in a
// child process.
func NewModule(lib Library) *Module {
	killer, _ := lib.(Killer)
	return &Module{lib: lib, killer: killer}
}

// Isolated reports whether the library runs in a process of its own, which [Module.Kill] can end.
func (m *Module) Isolated() bool { return m.killer != nil }

// Kill ends the library's process, so that every call inside returns. Without one it does nothing.
func (m *Module) Kill() {
	if m.killer != nil {
		m.killer.Kill()
	}
}

// Retain adds a user, as Acquire does.
func (m *Module) Retain() *Module {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refs++
	return m
}

// identity resolves links, so that two names of one library share a module.
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

// Release ends the use that Acquire began. The last Release finalizes the library, unless calls are
// stuck in it. The next Acquire initialises it again.
func (m *Module) Release() error {
	m.mu.Lock()
	if m.refs == 1 && m.killer != nil {
		m.refs = 0
		m.ready = false
		m.mu.Unlock()
		return m.killer.Close() // the process's end is the library's
	}
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

// Library returns the library, for use between Enter and Exit.
func (m *Module) Library() Library { return m.lib }

// Enter begins a call of a session that was opened in this generation. It waits while a restart
// runs.
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

// Exit ends the call that Enter began.
func (m *Module) Exit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inside--
	if m.inside == 0 && m.idle != nil {
		close(m.idle)
		m.idle = nil
	}
}

// Abandon reports that a call's caller no longer waits. [Module.Returned] reports that the call
// ended after all. They may arrive in either order.
func (m *Module) Abandon() { m.left(1) }

// Returned is the opposite of Abandon.
func (m *Module) Returned() { m.left(-1) }

func (m *Module) left(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abandoned += n
}

// Generation returns the number of the current initialisation, 0 before the first.
func (m *Module) Generation() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation
}

// Start initialises the library if necessary and returns the generation.
func (m *Module) Start(ctx context.Context) (uint64, error) {
	m.mu.Lock()
	ready, generation := m.ready && m.restarting == nil, m.generation
	m.mu.Unlock()
	if ready {
		return generation, nil
	}
	return m.Restart(ctx, generation)
}

// Restart finalizes and initialises the library, unless that happened since the caller saw the
// given generation. Concurrent callers share one restart and its error. C_Finalize waits for a
// limited time for the calls that are inside, and never runs during one.
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
		case m.abandoned > 0 && m.killer == nil:
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

// run calls f while no other call is inside and Enter waits. f may hang, as any call may: then
// Enter waits on, and each caller leaves at its own deadline.
func (m *Module) run(restarting chan struct{}, f func() error) {
	m.mu.Lock()
	stuck := m.abandoned > 0
	m.mu.Unlock()
	if stuck {
		m.Kill()
	}
	err := ErrStuck
	if m.drained() {
		err = guard(f)
	} else if m.killer != nil {
		m.Kill()
		if m.drained() {
			err = guard(f)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure, m.restarting = err, nil
	close(restarting)
}

// guard turns a panic of the binding into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the PKCS#11 library panicked: %v", p)
		}
	}()
	return f()
}

// stop finalizes the library if this module initialised it.
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

// cycle finalizes and initialises. It also finalizes a library that other code in this process
// initialised: a restart is the only recovery.
func (m *Module) cycle() error {
	m.mu.Lock()
	was := m.ready
	m.ready = false
	m.mu.Unlock()
	if was {
		err := m.lib.Finalize()
		switch {
		case err == nil, errors.Is(err, NotInitialized):
		case m.killer != nil:
			m.Kill()
		default:
			return fmt.Errorf("C_Finalize: %w", err)
		}
	}
	err := m.lib.Initialize()
	foreign := errors.Is(err, AlreadyInitialized)
	if err != nil && !foreign {
		m.Kill() // the next attempt gets a new process
		return fmt.Errorf("C_Initialize: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready, m.owned = true, !foreign
	m.generation++
	return nil
}

// drained waits until no call is inside, and reports whether that is so.
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
