//go:build !windows

package worker

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// server is the child's side.
type server struct {
	out  *batch
	lib  ck.Library
	pin  []byte
	load func(setup) (ck.Library, string, error)

	reading sync.Mutex   // held by the goroutine that reads the next request
	waiting atomic.Int32 // goroutines that read or wait for their turn
	in      *bufio.Reader
	failed  chan error // the first error ends the process

	ring    *ring        // nil: there is none
	polls   atomic.Bool  // a goroutine polls the ring
	serving atomic.Int64 // when it began the present call; 0: it is in none
	mean    atomic.Int64 // duration of calls on sessions

	mu       sync.Mutex
	sessions map[uint64]ck.Session
	next     uint64
}

// serve answers requests on the connection and in the ring until the connection closes. The first
// request loads the library.
func serve(conn net.Conn, pin []byte, shared *ring, load func(setup) (ck.Library, string, error)) error {
	s := &server{
		out: &batch{w: conn}, in: bufio.NewReaderSize(conn, 64<<10), pin: pin, load: load,
		ring:     shared,
		sessions: map[uint64]ck.Session{}, failed: make(chan error, 1),
	}
	if err := s.handshake(); err != nil {
		return err
	}
	go s.loop()
	return <-s.failed // a hanging library keeps its goroutines, which end with the process
}

func (s *server) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

func (s *server) handshake() error {
	call, code, payload, err := readFrame(s.in)
	if err != nil {
		return err
	}
	var c setup
	d := &decoder{b: payload}
	if c.decode(d); operation(code) != opLoad || !d.done() {
		return errProtocol
	}
	lib, confinement, err := s.load(c)
	if err != nil {
		s.answer(call, err, nil)
		return errors.Join(err, s.out.flush())
	}
	s.lib = lib
	s.answer(call, nil, func(e *encoder) { e.string(confinement) })
	return s.out.flush()
}

// answer adds a result or an error to the next write.
func (s *server) answer(call uint32, err error, body func(*encoder)) {
	status, body := response(err, body)
	s.out.add(call, status, body)
}

// response is the status and the payload of a result or an error.
func response(err error, body func(*encoder)) (uint8, func(*encoder)) {
	var rv ck.CKR
	switch {
	case err == nil:
		return statusDone, body
	case errors.As(err, &rv):
		return statusCKR, func(e *encoder) { e.uint(uint(rv)) }
	}
	kind := uint8(textOther)
	if errors.Is(err, ck.ErrNotLibrary) {
		kind = textNotLibrary
	} else if errors.Is(err, ck.ErrNoCgo) {
		kind = textNoCgo
	}
	return statusText, func(e *encoder) {
		e.u8(kind)
		e.string(err.Error())
	}
}

// loop takes turns with its siblings: one reads a request and runs it, while the next one reads. It
// starts a sibling if none waits, so that a call that hangs keeps its own goroutine only. It writes
// responses before it waits.
func (s *server) loop() {
	for {
		s.waiting.Add(1)
		if !s.reading.TryLock() {
			if err := s.out.flush(); err != nil {
				s.fail(err)
				return
			}
			s.reading.Lock()
		}
		if s.in.Buffered() < head {
			if err := s.out.flush(); err != nil {
				s.fail(err)
				return
			}
		}
		call, code, payload, err := readFrame(s.in)
		alone := s.waiting.Add(-1) == 0
		s.reading.Unlock()
		if err != nil {
			s.fail(err)
			return
		}
		if alone {
			go s.loop()
		}
		d := &decoder{b: payload}
		body, err := s.timed(operation(code), d)
		if d.bad {
			s.fail(errProtocol)
			return
		}
		s.answer(call, err, body)
		clear(payload) // requests carry plaintext
		if err := s.maybePoll(); err != nil {
			s.fail(err)
			return
		}
	}
}

// do runs one request.
func (s *server) do(op operation, d *decoder) (func(*encoder), error) {
	switch op {
	case opInitialize:
		return nil, s.lib.Initialize()
	case opFinalize:
		s.forget()
		return nil, s.lib.Finalize()
	case opSlots:
		slots, err := s.lib.Slots()
		return func(e *encoder) { encodeSlots(e, slots) }, err
	case opOpen:
		return s.open(d.uint(), d.bool())
	}
	id := d.u64()
	s.mu.Lock()
	session := s.sessions[id]
	if op == opClose {
		delete(s.sessions, id)
	}
	s.mu.Unlock()
	if session == nil {
		d.b = nil
		return nil, ck.SessionHandleInvalid
	}
	return s.onSession(session, op, d)
}

func (s *server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

func (s *server) open(slot uint, write bool) (func(*encoder), error) {
	session, err := s.lib.Open(slot, write)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	id := s.next
	s.sessions[id] = session
	return func(e *encoder) { e.u64(id) }, nil
}

func (s *server) onSession(session ck.Session, op operation, d *decoder) (func(*encoder), error) {
	switch op {
	case opClose:
		return nil, session.Close()
	case opLogin:
		return nil, s.login(session, d.uint(), d.bool())
	case opCrypt:
		return crypt(session, d)
	case opFind:
		return find(session, d)
	case opMechanism:
		if p, ok := session.(ck.Prober); ok {
			flags, err := p.Mechanism(d.uint())
			return func(e *encoder) { e.uint(flags) }, err
		}
	case opGenerate, opAlter, opDestroy:
		if m, ok := session.(ck.KeyMaker); ok {
			return change(m, op, d)
		}
	case opCreate:
		if c, ok := session.(ck.Creator); ok {
			handle, err := c.Create(d.attributes())
			return func(e *encoder) { e.uint(handle) }, err
		}
	default:
		d.bad = true
		return nil, errProtocol
	}
	return nil, ck.FunctionNotSupported
}

// login uses the PIN that the process was started with, or the token's keypad.
func (s *server) login(session ck.Session, user uint, kept bool) error {
	if !kept {
		return session.Login(user, nil)
	}
	return session.Login(user, s.pin)
}

func crypt(session ck.Session, d *decoder) (func(*encoder), error) {
	c := ck.Call{Operation: ck.Operation(d.u8()), Mechanism: d.uint(), Key: d.uint(), Input: d.bytes(),
		Size: int(d.u32()),
		IV:   d.bytes(), AAD: d.bytes(), Hash: d.uint(), MGF: d.uint(), Salt: d.uint()}
	if d.bad {
		return nil, errProtocol
	}
	out, err := session.Crypt(c)
	return func(e *encoder) {
		e.bytes(c.IV)
		e.bytes(out)
		clear(out)
	}, err
}

func find(session ck.Session, d *decoder) (func(*encoder), error) {
	template, limit := d.attributes(), int(d.u32())
	want := make([]uint, d.count(8))
	for i := range want {
		want[i] = d.uint()
	}
	if d.bad {
		return nil, errProtocol
	}
	objects, err := session.Find(template, want, limit)
	return func(e *encoder) {
		e.u32(uint32(len(objects)))
		for _, o := range objects {
			e.uint(o.Handle)
			e.u32(uint32(len(o.Attributes)))
			for t, v := range o.Attributes {
				e.uint(t)
				e.bytes(v)
			}
		}
	}, err
}

func change(m ck.KeyMaker, op operation, d *decoder) (func(*encoder), error) {
	switch op {
	case opDestroy:
		return nil, m.Destroy(d.uint())
	case opAlter:
		handle, list := d.uint(), d.attributes()
		if len(list) != 1 {
			d.bad = true
			return nil, errProtocol
		}
		return nil, m.Alter(handle, list[0])
	}
	mechanism, template, pair := d.uint(), d.attributes(), d.bool()
	var public []ck.Attribute
	if pair {
		public = d.attributes()
	}
	if d.bad {
		return nil, errProtocol
	}
	handle, err := m.Generate(mechanism, template, public)
	return func(e *encoder) { e.uint(handle) }, err
}

func encodeSlots(e *encoder, slots []ck.Slot) {
	e.u32(uint32(len(slots)))
	for _, s := range slots {
		e.uint(s.ID)
		for _, text := range []string{s.Label, s.Serial, s.Manufacturer, s.Model, s.Firmware} {
			e.string(text)
		}
		e.uint(s.Flags)
		e.uint(s.MaxSessions)
	}
}

// main is the child process: it serves descriptor 3 and never returns.
func main() {
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hsm worker:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
