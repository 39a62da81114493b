package audit

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/metrics"
)

// Record is the audit record of one request. One goroutine uses it.
type Record struct {
	trail   *Trail
	request *Request
	auth    *Auth
	set     *set     // the devices that parts belong to
	parts   [][]byte // by device: the common part of both entries
	kept    *kept    // its first entry is in memory: see Trail.keep

	// Most trails have one device: its buffers are here, to save allocations.
	one  [1][]byte
	memo memo
	f    formatter

	deferred bool // the first entry is written with the second
	began    time.Time
}

// Kinds of entries.
const (
	kindRequest  = "request"
	kindResponse = "response"
)

// Request writes the request entry. Nothing may take effect before it returns nil. failure says why
// the request is refused; "" if it is not.
func (r *Record) Request(failure string) error {
	s := r.trail.now.Load()
	if len(s.devices) == 0 && !s.active {
		r.trail.keep(r, failure)
		return nil
	}
	return r.write(s, kindRequest, nil, failure, r.trail.o.Now())
}

// Defer replaces Request for a request without side effects: both entries are written in one write
// before the response is sent. The caller then calls Response or [Record.Abandon].
func (r *Record) Defer() { r.deferred, r.began = true, r.trail.o.Now() }

// Withdraw drops the deferred request entry of an attempt that had no effect and no answer: the
// next attempt of the same request has a record of its own.
func (r *Record) Withdraw() { r.deferred = false }

// Abandon writes the deferred request entry of a request without a response.
func (r *Record) Abandon() error {
	if !r.deferred {
		return nil
	}
	r.deferred = false
	return r.Request("")
}

// Response writes the response entry. The response may not be sent before it returns nil.
func (r *Record) Response(a *Response, failure string) error {
	s := r.trail.now.Load()
	switch {
	case r.set.active && !s.active:
		return ErrSealed
	case len(s.devices) == 0 && !s.active:
		r.trail.complete(r.kept, a, failure)
		return nil
	}
	defer func() { r.deferred = false }()
	return r.write(s, kindResponse, a, failure, r.trail.o.Now())
}

var lines = sync.Pool{New: func() any { return new([]byte) }}

// write offers an entry to every device and waits for the healthy ones; it waits for the others
// only if no healthy one accepts the entry.
func (r *Record) write(s *set, kind string, a *Response, failure string, at time.Time) error {
	for {
		err := r.offer(s, kind, a, failure, at)
		next := r.trail.now.Load()
		if err == nil || next == s || !errors.Is(err, errClosed) {
			return err
		}
		if s.active && !next.active {
			return ErrSealed
		}
		s = next // a device was removed meanwhile
	}
}

func (r *Record) offer(s *set, kind string, a *Response, failure string, at time.Time) error {
	if len(s.devices) == 0 {
		return nil
	}
	m, begun := entryOf(kind), time.Now()
	buf := lines.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxKept {
			lines.Put(buf)
		}
	}()
	var some [2][4]pending                            // avoids an allocation for up to 4 devices
	waiting := [2][]pending{some[0][:0], some[1][:0]} // healthy devices, failed ones
	var errs []error
	for i, d := range s.devices {
		line, split := (*buf)[:0], 0
		var err error
		if r.deferred {
			line, err = r.line(line, s, i, kindRequest, nil, "", r.began)
			split = len(line)
		}
		if err == nil {
			line, err = r.line(line, s, i, kind, a, failure, at)
		}
		if err != nil {
			return err // the entry is invalid; the device is not at fault
		}
		*buf = line
		group := 0
		if !d.device.healthy() {
			group = 1
		}
		w, err := d.device.put(line, split)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.Path, err))
			continue
		}
		waiting[group] = append(waiting[group], pending{w, d.took[m]})
	}
	taken := false
	for _, w := range waiting[0] {
		err := w.wait(begun)
		if taken = taken || err == nil; err != nil {
			errs = append(errs, err)
		}
	}
	for _, w := range waiting[1] {
		if taken {
			break
		}
		err := w.wait(begun)
		if taken = err == nil; err != nil {
			errs = append(errs, err)
		}
	}
	r.trail.all[m].took.Since(begun)
	if taken {
		return nil
	}
	r.trail.all[m].failed.Inc()
	return fmt.Errorf("%w: %w", ErrUnwritten, errors.Join(errs...))
}

// pending is an entry queued at a device.
type pending struct {
	*waiter
	took *metrics.Timer
}

func (p pending) wait(begun time.Time) error {
	err := p.waiter.wait()
	if err == nil {
		p.took.Since(begun)
	}
	return err
}

// line writes an entry for one device:
//
//	prefix {"time":...,"type":"request","auth":{...},"request":{...},"error":"..."} newline
//	prefix {"time":...,"type":"response","auth":{...},"request":{...},"response":{...},"error":"..."} newline
func (r *Record) line(dst []byte, s *set, i int, kind string, a *Response, failure string, at time.Time) ([]byte,
	error) {
	f := s.devices[i].formatter
	part, err := r.part(s, i)
	if err != nil {
		return dst, err
	}
	dst = append(append(dst, f.prefix...), '{')
	dst = moment(member(dst, "time"), at, time.RFC3339Nano)
	dst = text(dst, "type", kind)
	dst = append(append(dst, ','), part...)
	if kind == kindRequest {
		dst = text(dst, "forwarded_from", r.request.ForwardedFrom)
	}
	if a != nil {
		if dst, err = f.response(dst, a, r.request); err != nil {
			return dst, err
		}
	}
	dst = text(dst, "error", failure)
	return append(dst, '}', '\n'), nil
}

// part returns the common part of both entries of a request. It is built once for each device.
func (r *Record) part(s *set, i int) ([]byte, error) {
	if r.set != s || r.parts == nil {
		if r.set, r.parts = s, r.one[:]; len(s.devices) != 1 {
			r.parts = make([][]byte, len(s.devices))
		}
		clear(r.parts)
	}
	if r.parts[i] != nil {
		return r.parts[i], nil
	}
	r.f, r.memo = *s.devices[i].formatter, memo{}
	f := &r.f
	f.memo = &r.memo
	dst := append(make([]byte, 0, 1024), '{')
	dst = f.auth(dst, r.auth)
	dst, err := f.request(dst, r.request, s.headers)
	if err != nil {
		return nil, err
	}
	r.parts[i] = dst[1:]
	return r.parts[i], nil
}
