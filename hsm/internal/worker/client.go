//go:build !windows

package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Config is the library of a worker, and its limits.
type Config struct {
	Lib      string
	Deadline time.Duration // of each call
	Network  bool          // the library may use other sockets than Unix sockets
	Memory   uint64        // bytes of data; 0: no limit
	Paths    []string      // not nil: the only folders with write access
	PIN      *PIN          // nil: none
	Log      *slog.Logger
}

// client is a Library in a child process.
type client struct {
	cfg Config

	mu       sync.Mutex
	p        *process
	closed   bool
	failures int       // in a row: starts whose process did not end by Close
	started  time.Time // the last start
}

// New returns the library of a child process. C_Initialize starts the process.
func New(cfg Config) ck.Library { return &client{cfg: cfg} }

var (
	_ ck.Killer  = (*client)(nil)
	_ ck.Session = (*session)(nil)
	_ ck.Prober  = (*session)(nil)
	_ ck.Creator = (*session)(nil)
	_ ck.Leaver  = (*session)(nil)
)

// stable is how long a process runs before its end is no failure of its start.
const stable = time.Minute

// Delays between starts.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 10 * time.Second
	patience   = time.Second // how long a start waits for its turn
)

// running returns the process, and starts one if none runs.
func (c *client) running() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ck.ErrClosed
	}
	if c.p != nil && c.p.alive() {
		return c.p, nil
	}
	if c.p != nil {
		if c.failures++; time.Since(c.started) > stable {
			c.failures = 0
		}
	}
	if err := c.pause(); err != nil {
		return nil, err
	}
	c.started = time.Now()
	p, err := start(c.cfg)
	if err != nil {
		return nil, err
	}
	c.p = p
	return p, nil
}

// pause keeps a library that ends at once from being started all the time.
func (c *client) pause() error {
	if c.failures < 2 {
		return nil
	}
	delay := min(firstDelay<<min(c.failures-2, 10), lastDelay)
	wait := time.Until(c.started.Add(delay))
	if wait > patience {
		return fmt.Errorf("%w %d times in a row; the next start is in %s", ck.ErrWorker, c.failures,
			wait.Round(100*time.Millisecond))
	}
	time.Sleep(wait)
	return nil
}

// current returns the running process, which it does not start.
func (c *client) current() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.p == nil || !c.p.alive() {
		return nil, ck.NotInitialized
	}
	return c.p, nil
}

func (c *client) Initialize() error {
	p, err := c.running()
	if err != nil {
		return err
	}
	_, err = p.once(opInitialize, nil)
	return err
}

func (c *client) Finalize() error {
	p, err := c.current()
	if err != nil {
		return err
	}
	_, err = p.once(opFinalize, nil)
	return err
}

func (c *client) Slots() ([]ck.Slot, error) {
	p, err := c.current()
	if err != nil {
		return nil, err
	}
	payload, err := p.once(opSlots, nil)
	if err != nil {
		return nil, err
	}
	d := &decoder{b: payload}
	slots := make([]ck.Slot, d.count(20))
	for i := range slots {
		slots[i] = ck.Slot{ID: d.uint(), Label: d.string(), Serial: d.string(), Manufacturer: d.string(),
			Model:    d.string(),
			Firmware: d.string(), Flags: d.uint(), MaxSessions: d.uint()}
	}
	return slots, p.check(d)
}

func (c *client) Open(slot uint, write bool) (ck.Session, error) {
	p, err := c.current()
	if err != nil {
		return nil, err
	}
	payload, err := p.once(opOpen, func(e *encoder) {
		e.uint(slot)
		e.bool(write)
	})
	if err != nil {
		return nil, err
	}
	d := &decoder{b: payload}
	id := d.u64()
	if err := p.check(d); err != nil {
		return nil, err
	}
	return &session{p: p, id: id, line: p.newSessionLine(), pin: c.cfg.PIN != nil, ctx: context.Background()}, nil
}

// Kill ends the process at once. Calls inside return [ck.ErrWorker].
func (c *client) Kill() {
	c.mu.Lock()
	p := c.p
	c.mu.Unlock()
	if p != nil {
		p.fail(errors.New("it was ended to recover from a hanging call"))
	}
}

// Close ends the process and waits for its end.
func (c *client) Close() error {
	c.mu.Lock()
	c.closed = true
	p := c.p
	c.mu.Unlock()
	if p != nil {
		p.fail(ck.ErrClosed)
		<-p.exited
		<-p.finished
	}
	return nil
}

// session is a Session of the child. One goroutine at a time uses it, so it has one line for its
// calls.
type session struct {
	p    *process
	id   uint64
	line *line
	pin  bool
	ctx  context.Context // of the present work
}

// Within bounds the calls that follow.
func (s *session) Within(ctx context.Context) { s.ctx = ctx }

// Left reports whether a call was left, and calls back when it has returned.
func (s *session) Left(back func()) bool { return s.p.after(s.line, back) }

func (s *session) call(op operation, body func(*encoder)) ([]byte, error) {
	return s.p.call(s.ctx, s.line, op, func(e *encoder) {
		e.u64(s.id)
		if body != nil {
			body(e)
		}
	})
}

// Close closes the session, after the call that was left, if there is one.
func (s *session) Close() error {
	if s.Left(s.closeLater) {
		return nil
	}
	s.Within(context.Background())
	defer s.p.drop(s.line)
	_, err := s.call(opClose, nil)
	return err
}

// closeLater sends the request and lets its response pass.
func (s *session) closeLater() {
	s.p.mu.Lock()
	s.line.busy, s.line.left, s.line.since = true, true, time.Now()
	s.line.then = []func(){func() { s.p.drop(s.line) }}
	s.p.mu.Unlock()
	s.p.out.add(s.line.number, uint8(opClose), func(e *encoder) { e.u64(s.id) })
	if err := s.p.out.flush(); err != nil {
		s.p.fail(err)
	}
}

// Login ignores pin: the child has its own copy of the configured one.
func (s *session) Login(user uint, _ []byte) error {
	_, err := s.call(opLogin, func(e *encoder) {
		e.uint(user)
		e.bool(s.pin)
	})
	return err
}

func (s *session) Find(template []ck.Attribute, want []uint, limit int) ([]ck.Object, error) {
	payload, err := s.call(opFind, func(e *encoder) {
		e.attributes(template)
		e.u32(uint32(limit))
		e.u32(uint32(len(want)))
		for _, t := range want {
			e.uint(t)
		}
	})
	if err != nil {
		return nil, err
	}
	d := &decoder{b: payload}
	n := d.count(12)
	if n > limit {
		d.bad = true
	}
	objects := make([]ck.Object, 0, n)
	for range n {
		o := ck.Object{Handle: d.uint(), Attributes: map[uint][]byte{}}
		for range d.count(12) {
			t := d.uint()
			o.Attributes[t] = d.bytes()
		}
		objects = append(objects, o)
	}
	return objects, s.p.check(d)
}

func (s *session) Crypt(c ck.Call) ([]byte, error) {
	payload, err := s.call(opCrypt, func(e *encoder) {
		e.u8(uint8(c.Operation))
		e.uint(c.Mechanism)
		e.uint(c.Key)
		e.bytes(c.Input)
		e.u32(uint32(c.Size))
		e.bytes(c.IV)
		e.bytes(c.AAD)
		e.uint(c.Hash)
		e.uint(c.MGF)
		e.uint(c.Salt)
	})
	if err != nil {
		return nil, err
	}
	d := &decoder{b: payload}
	iv, out := d.bytes(), d.bytes()
	if len(iv) != len(c.IV) || len(out) > c.Size {
		d.bad = true
	}
	copy(c.IV, iv)
	return out, s.p.check(d)
}

// number decodes a response that is one number.
func (s *session) number(payload []byte, err error) (uint, error) {
	if err != nil {
		return 0, err
	}
	d := &decoder{b: payload}
	n := d.uint()
	return n, s.p.check(d)
}

func (s *session) Mechanism(m uint) (uint, error) {
	return s.number(s.call(opMechanism, func(e *encoder) { e.uint(m) }))
}

func (s *session) Generate(mechanism uint, template, public []ck.Attribute) (uint, error) {
	return s.number(s.call(opGenerate, func(e *encoder) {
		e.uint(mechanism)
		e.attributes(template)
		if e.bool(public != nil); public != nil {
			e.attributes(public)
		}
	}))
}

func (s *session) Create(template []ck.Attribute) (uint, error) {
	return s.number(s.call(opCreate, func(e *encoder) { e.attributes(template) }))
}

func (s *session) Alter(handle uint, a ck.Attribute) error {
	_, err := s.call(opAlter, func(e *encoder) {
		e.uint(handle)
		e.attributes([]ck.Attribute{a})
	})
	return err
}

func (s *session) Destroy(handle uint) error {
	_, err := s.call(opDestroy, func(e *encoder) { e.uint(handle) })
	return err
}
