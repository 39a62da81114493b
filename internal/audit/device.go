package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"
)

// Errors of one device.
var (
	errLate   = errors.New("audit: the device did not accept the entry within its deadline")
	errFull   = errors.New("audit: the device's queue is full")
	errClosed = errors.New("audit: the device was removed")
)

// Bounds of a device's queue. A single entry may be larger.
const (
	maxWaiting      = 8192
	maxWaitingBytes = 8 << 20
)

// sink is the destination of a device's entries. One goroutine uses it.
type sink interface {
	// write writes lines, whose ends are given, and returns how many of them are complete.
	write(lines []byte, ends []int) (int, error)
	// reopen makes the next write open the destination again, and opens it now if it can.
	reopen() error
	close() error
}

// aborter is implemented by sinks whose writes can be interrupted.
type aborter interface{ abort() }

// device writes entries in its own goroutine: all queued entries in one write. Concurrent requests
// share the write, and a hung device delays a request by its deadline at most.
type device struct {
	path     string
	sink     sink
	deadline time.Duration
	log      *slog.Logger
	wake     chan struct{}
	done     chan struct{}
	watch    *time.Timer

	mu        sync.Mutex
	queue     batch // written next
	current   batch // being written
	writing   bool
	late      bool // the write in progress has exceeded the deadline
	failed    bool // the last write failed: requests wait for this device only if no other accepts the entry
	cause     error
	since     time.Time // of failed
	reopening bool      // reopen before the next write
	closed    bool
	missing   int // entries missing since it failed
}

// batch holds consecutive lines and a waiter for each (nil: no caller waits any more).
type batch struct {
	lines   []byte
	ends    []int
	waiters []*waiter
}

type waiter struct{ done chan error }

var waiters = sync.Pool{New: func() any { return &waiter{make(chan error, 1)} }}

// wait returns the result of the write, and releases the waiter.
func (w *waiter) wait() error {
	err := <-w.done
	waiters.Put(w)
	return err
}

func newDevice(path string, s sink, deadline time.Duration, log *slog.Logger) *device {
	d := &device{
		path: path, sink: s, deadline: deadline, log: log, wake: make(chan struct{}, 1), done: make(chan struct{}),
		reopening: true,
	}
	d.watch = time.AfterFunc(time.Hour, d.overdue)
	d.watch.Stop()
	d.poke()
	go d.run()
	return d
}

func (d *device) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// reopen makes the next write open the destination again. It interrupts a hung write if it can.
func (d *device) reopen() {
	d.mu.Lock()
	d.reopening = true
	late := d.late
	d.mu.Unlock()
	if a, ok := d.sink.(aborter); ok && late {
		a.abort()
	}
	d.poke()
}

// healthy reports whether the last write succeeded, as far as known.
func (d *device) healthy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.failed
}

// put queues one line, or two if split is not 0, which is the end of the first; one waiter serves
// both. A late device also queues them, while there is room, but no caller waits for it.
func (d *device) put(line []byte, split int) (*waiter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := &d.queue
	switch {
	case d.closed:
		return nil, errClosed
	case len(q.ends) >= maxWaiting, len(q.ends) > 0 && len(q.lines)+len(line) > maxWaitingBytes:
		d.missing++
		return nil, errFull
	}
	var w *waiter
	if !d.late {
		w = waiters.Get().(*waiter)
	}
	if split > 0 {
		q.ends = append(q.ends, len(q.lines)+split)
		q.waiters = append(q.waiters, nil)
	}
	q.lines = append(q.lines, line...)
	q.ends = append(q.ends, len(q.lines))
	q.waiters = append(q.waiters, w)
	d.poke()
	if w == nil {
		return nil, errLate
	}
	return w, nil
}

// run writes until the device is closed and its queue is empty.
func (d *device) run() {
	defer close(d.done)
	for range d.wake {
		d.letArrive()
		for d.take() {
			d.write()
		}
		d.mu.Lock()
		ended := d.closed
		d.mu.Unlock()
		if ended {
			break
		}
	}
	if err := d.sink.close(); err != nil {
		d.log.Warn("an audit device failed to close", "device", d.path, "error", err)
	}
}

// letArrive lets other goroutines run while more entries arrive: callers answered by the last write
// often come back at once.
func (d *device) letArrive() {
	for last := -1; ; {
		d.mu.Lock()
		waiting := len(d.queue.ends)
		d.mu.Unlock()
		if waiting == last || waiting >= 64 {
			return
		}
		last = waiting
		runtime.Gosched()
	}
}

// take moves the queue to the current batch. It reports whether there is anything to do.
func (d *device) take() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue.ends) == 0 && !d.reopening {
		return false
	}
	d.queue, d.current = d.current, d.queue
	d.writing = true
	return true
}

// maxKept is the size above which a buffer is not reused.
const maxKept = 256 << 10

// write writes the current batch under the deadline timer, and answers the waiters.
func (d *device) write() {
	d.watch.Reset(d.deadline)
	d.mu.Lock()
	reopen := d.reopening
	d.reopening = false
	b := d.current
	d.mu.Unlock()
	var n int
	var err error
	if reopen {
		err = d.sink.reopen()
	}
	if len(b.ends) > 0 {
		n, err = d.sink.write(b.lines, b.ends)
	}
	d.watch.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(n, err)
	d.writing, d.late = false, false
	if cap(d.current.lines) > maxKept {
		d.current = batch{}
	}
	clear(d.current.waiters)
	d.current = batch{d.current.lines[:0], d.current.ends[:0], d.current.waiters[:0]}
}

// settle answers the waiters of complete and incomplete lines, and records the device's health.
func (d *device) settle(n int, err error) {
	for i, w := range d.current.waiters {
		switch {
		case i >= n && err == nil: // the sink miscounts
			err = fmt.Errorf("audit: only %d of %d entries were written", n, len(d.current.ends))
			fallthrough
		case i >= n:
			d.missing++
		}
		if w == nil {
			continue
		}
		if i < n {
			w.done <- nil
		} else {
			w.done <- err
		}
	}
	switch {
	case err != nil && !d.failed:
		d.log.Error("an audit device failed", "device", d.path, "error", err)
	case err == nil && d.failed:
		d.log.Info("an audit device recovered", "device", d.path, "entries_missing_from_it", d.missing)
		d.missing = 0
	}
	d.fail(err)
}

// fail notes the result of a write. The caller holds the lock.
func (d *device) fail(err error) {
	if err != nil && !d.failed {
		d.since = time.Now()
	}
	d.failed, d.cause = err != nil, err
}

// failure returns since when and why the device accepts no entries; nil if it does.
func (d *device) failure() (since time.Time, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.since, d.cause
}

// overdue is called when a write exceeds the deadline: it answers all waiters.
func (d *device) overdue() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.writing {
		return
	}
	if !d.failed {
		d.log.Error("an audit device does not respond", "device", d.path, "deadline", d.deadline.String())
	}
	d.late = true
	d.fail(errLate)
	for _, all := range [][]*waiter{d.current.waiters, d.queue.waiters} {
		for i, w := range all {
			if w != nil {
				w.done <- errLate
				all[i] = nil
			}
		}
	}
}

// close writes the queue and ends the goroutine. A hung write that cannot be interrupted is
// abandoned after the deadline.
func (d *device) close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.poke()
	for {
		select {
		case <-d.done:
			return nil
		case <-time.After(d.deadline):
		}
		a, ok := d.sink.(aborter)
		if !ok {
			return fmt.Errorf("%w: %s", errLate, d.path)
		}
		a.abort()
	}
}
