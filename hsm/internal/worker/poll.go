//go:build !windows

package worker

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"time"
)

// poller is the parent's side of a ring. One caller at a time polls, for all callers that wait: the
// one that holds the token in turn.
type poller struct {
	ring    *ring
	lines   [ringSlots]atomic.Pointer[line] // what the parent asked for; the child's word counts nothing
	top     int                             // slots in use are below it; the process's mu guards it
	waiting atomic.Int32                    // callers that would take the token
	turn    chan struct{}
	rest    atomic.Int64 // until then no request goes into the ring, in Unix nanoseconds
}

func newPoller(r *ring) *poller {
	if r == nil {
		return nil
	}
	p := &poller{ring: r, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// assign gives a line a slot, if one is free. The process's mu guards it.
func (p *poller) assign(l *line) {
	if p == nil {
		return
	}
	for i := range p.lines {
		if p.lines[i].CompareAndSwap(nil, l) {
			l.slot = i
			p.top = max(p.top, i+1)
			p.ring.inUse().Store(uint32(p.top))
			return
		}
	}
}

// release frees the slot of a line. The process's mu guards it.
func (p *poller) release(l *line) {
	if p != nil && l.slot >= 0 {
		p.ring.state(l.slot).Store(slotFree)
		p.lines[l.slot].Store(nil)
		l.slot = -1
	}
}

// send puts a request into the line's slot. It reports false if the request must go through the
// socket: the child does not poll, or the frame is too long.
func (p *poller) send(l *line, op operation, body func(*encoder)) bool {
	if p == nil || l.slot < 0 || p.ring.childPolls().Load() == 0 || l.since.UnixNano() < p.rest.Load() {
		return false
	}
	area := p.ring.request(l.slot)
	e := encoder{b: area[:0]}
	e.begin(l.number, uint8(op))
	if body != nil {
		body(&e)
	}
	if e.end(0); len(e.b) > len(area) { // append moved it out of the slot
		clear(e.b)
		clear(area)
		return false
	}
	state := p.ring.state(l.slot)
	state.Store(slotRequested)
	if p.ring.childPolls().Load() == 0 && state.CompareAndSwap(slotRequested, slotFree) {
		clear(area[:len(e.b)])
		return false
	}
	return true
}

// collect passes the responses that have arrived to their lines, and reports whether there were
// any.
func (p *process) collect() (some bool) {
	q := p.polling
	for i := range q.lines {
		l, state := q.lines[i].Load(), q.ring.state(i)
		if l == nil {
			continue
		}
		if state.Load() != slotDone || !state.CompareAndSwap(slotDone, slotFree) {
			continue
		}
		area := q.ring.response(i)
		frame := frameIn(area)
		if frame == nil {
			p.fail(errProtocol)
			return some
		}
		some = true
		own := make([]byte, len(frame))
		copy(own, frame) // the child may change it at any time
		clear(frame)
		if number := binary.LittleEndian.Uint32(own); number != l.number || !p.deliver(number, own[4], own[5:]) {
			p.fail(errProtocol)
			return some
		}
	}
	return some
}

// await polls for the line's response, or waits until another caller that polls brings it. It
// reports false if the response must be waited for elsewhere.
func (p *process) await(ctx context.Context, l *line) (reply, bool) {
	q := p.polling
	q.waiting.Add(1)
	defer p.settle()
	select {
	case <-q.turn:
		return p.poll(ctx, l)
	default:
	}
	select {
	case r := <-l.answer:
		return r, true
	case <-q.turn:
		return p.poll(ctx, l)
	case <-p.down:
	case <-ctx.Done():
	}
	return reply{}, false
}

const (
	// longestPoll is how long a caller polls without any response before it waits for the socket: a
	// call that takes longer gains nothing.
	longestPoll = 100 * time.Microsecond
	// restAfter is how long requests go through the socket after that: the library is slow, or the
	// child waits for a processor, which polling would keep from it.
	restAfter = 10 * time.Millisecond
)

// poll holds the turn until the line's response is there, or for a limited time.
func (p *process) poll(ctx context.Context, l *line) (reply, bool) {
	q := p.polling
	defer func() { q.turn <- struct{}{} }()
	q.ring.parentPolls().Store(1)
	last, some := time.Now(), false
	for i := 1; ; i++ {
		some = p.collect() || some
		select {
		case r := <-l.answer:
			return r, true
		default:
		}
		if i%16 == 0 {
			now := time.Now()
			if some {
				last, some = now, false
			}
			if now.Sub(last) > longestPoll || ctx.Err() != nil || !p.alive() {
				q.rest.Store(now.Add(restAfter).UnixNano())
				q.ring.parentPolls().Store(0)
				p.collect()
				return reply{}, false
			}
			osYield() // to the child, where processors are few
		}
		runtime.Gosched()
	}
}

// settle ends a caller's wait. The last caller that waits ends the polling too: what arrives later
// comes through the socket.
func (p *process) settle() {
	q := p.polling
	if q.waiting.Add(-1) > 0 {
		return
	}
	for q.waiting.Load() == 0 {
		select {
		case <-q.turn:
		default:
			return // its holder comes here after
		}
		q.ring.parentPolls().Store(0)
		p.collect()
		q.turn <- struct{}{}
		if q.ring.parentPolls().Load() == 0 {
			return
		}
	}
}
