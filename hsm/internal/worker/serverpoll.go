//go:build !windows

package worker

import (
	"encoding/binary"
	"runtime"
	"time"
)

// Limits of the child's polling.
const (
	fastCall  = 100 * time.Microsecond // polling saves a part of a call that is shorter
	idlePoll  = 50 * time.Microsecond  // polling ends after so long without a request
	slowCheck = time.Millisecond       // a call that lasts longer no longer keeps requests waiting
)

// timed runs one request and keeps the mean duration of calls on sessions.
func (s *server) timed(op operation, d *decoder) (func(*encoder), error) {
	start := time.Now()
	body, err := s.do(op, d)
	if op == opCrypt {
		mean := s.mean.Load()
		s.mean.Store(mean + (int64(time.Since(start))-mean)/8)
	}
	return body, err
}

// maybePoll polls the ring if calls are short and no other goroutine does. It serves one request
// after the other: the library of a fast token is the limit, and most such libraries lock it.
func (s *server) maybePoll() error {
	mean := s.mean.Load()
	if s.ring == nil || mean == 0 || mean > int64(fastCall) || !s.polls.CompareAndSwap(false, true) {
		return nil
	}
	if err := s.out.flush(); err != nil {
		return err
	}
	stop := make(chan struct{})
	go s.guard(stop)
	s.poll()
	close(stop)
	s.polls.Store(false)
	return nil
}

// poll serves the ring until no request has arrived for a while, or guard ended it during a call.
func (s *server) poll() {
	polling := s.ring.childPolls()
	polling.Store(1)
	last := time.Now()
	for i := 0; polling.Load() == 1; i++ {
		if s.serveRing() {
			last = time.Now()
			if s.mean.Load() > int64(fastCall) {
				break
			}
			continue
		}
		if i%16 == 0 {
			if time.Since(last) > idlePoll {
				break
			}
			osYield() // to the parent, where processors are few
		}
		runtime.Gosched() // other goroutines read the socket
	}
	polling.Store(0)
	s.serveRing() // what arrived before the parent saw it
}

// serveRing runs all requests of the ring, and reports whether there were any. It returns early if
// guard has ended the polling.
func (s *server) serveRing() bool {
	some := false
	for i := range min(int(s.ring.inUse().Load()), ringSlots) {
		if s.ring.state(i).Load() != slotRequested || !s.ring.state(i).CompareAndSwap(slotRequested, slotTaken) {
			continue
		}
		some = true
		s.serving.Store(time.Now().UnixNano())
		s.serveSlot(i)
		s.serving.Store(0)
	}
	return some
}

// serveSlot runs one request and puts its response into the slot, or into the socket if the parent
// does not poll.
func (s *server) serveSlot(i int) {
	frame := frameIn(s.ring.request(i))
	if frame == nil {
		s.fail(errProtocol)
		return
	}
	call, d := binary.LittleEndian.Uint32(frame), &decoder{b: frame[5:]}
	body, err := s.timed(operation(frame[4]), d)
	if d.bad {
		s.fail(errProtocol)
		return
	}
	status, body := response(err, body)
	polled, state := s.ring.parentPolls(), s.ring.state(i)
	if polled.Load() == 1 {
		e := encoder{b: s.ring.response(i)[:0]}
		e.begin(call, status)
		if body != nil {
			body(&e)
		}
		clear(frame) // requests carry plaintext
		switch e.end(0); {
		case len(e.b) > ringFrame: // append moved it out of the slot
			state.Store(slotFree)
			s.out.raw(e.b)
			clear(e.b)
		default:
			state.Store(slotDone)
			if polled.Load() == 1 || !state.CompareAndSwap(slotDone, slotFree) {
				return
			}
			s.out.raw(e.b)
			clear(e.b)
		}
	} else {
		state.Store(slotFree)
		s.out.add(call, status, body)
		clear(frame)
	}
	if err := s.out.flush(); err != nil {
		s.fail(err)
	}
}

// guard ends the polling while a call lasts: other goroutines then run the requests that wait, so
// that one that hangs delays no other.
func (s *server) guard(stop chan struct{}) {
	t := time.NewTicker(slowCheck)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-t.C:
			since := s.serving.Load()
			if since == 0 || now.UnixNano()-since < int64(slowCheck) {
				continue
			}
			s.ring.childPolls().Store(0)
			for i := range ringSlots {
				if s.ring.state(i).CompareAndSwap(slotRequested, slotTaken) {
					go s.serveSlot(i)
				}
			}
			return
		}
	}
}
