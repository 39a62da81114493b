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
	errLate   = errors.New("audit: the device did not take the entry within its deadline")
	errFull   = errors.New("audit: too many entries wait for the device")
	errClosed = errors.New("audit: the device was removed")
)

// Bounds of what waits for a device. One entry alone may be larger.
const (
	maxWaiting      = 8192
	maxWaitingBytes = 8 << 20
)

// sink is where a device's entries go. It is used by one goroutine.
type sink interface {
	// write writes lines that end at ends, and returns how many of them are wholly written.
	write(lines []byte, ends []int) (int, error)
	// reopen makes the next write open anew, and opens now if it can.
	reopen() error
	close() error
}

// aborter is implemented by sinks whose writes can be ended from outside.
type aborter interface{ abort() }

// device writes entries in a goroutine of its own: all that wait, in one write. So concurrent requests share it, and one that hangs
// holds nobody for longer than its deadline.
type device struct {
	path     string
	sink     sink
	deadline time.Duration
	log      *slog.Logger
	wake     chan struct{}
	done     chan struct{}
	watch    *time.Timer

	mu      sync.Mutex
	queue   batch // what is written next
	current batch // what is being written
	writing bool
	late    bool // what is being written has taken longer than the deadline
	failed  bool // the last write did not succeed: nobody waits for this device where another takes the entry
	anew    bool // open anew before the next write
	closed  bool
	missing int // entries that it did not take since it failed
}

// batch is lines, one behind the other, and who waits for each (nil: nobody any more).
type batch struct {
	lines   []byte
	ends    []int
	waiters []*waiter
}

type waiter struct{ done chan error }

var waiters = sync.Pool{New: func() any { return &waiter{make(chan error, 1)} }}

// wait returns how the write ended, and gives the waiter back.
func (w *waiter) wait() error {
	err := <-w.done
	waiters.Put(w)
	return err
}

func newDevice(path string, s sink, deadline time.Duration, log *slog.Logger) *device {
	d := &device{
		path: path, sink: s, deadline: deadline, log: log, wake: make(chan struct{}, 1), done: make(chan struct{}), anew: true,
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

// reopen makes the next write open anew. One that hangs is given up, where that is possible.
func (d *device) reopen() {
	d.mu.Lock()
	d.anew = true
	late := d.late
	d.mu.Unlock()
	if a, ok := d.sink.(aborter); ok && late {
		a.abort()
	}
	d.poke()
}

// healthy reports whether the last write succeeded, as far as is known.
func (d *device) healthy() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.failed
}

// put queues one line or, where split is not 0, two of which the first ends there; the waiter is for both. A device that is late takes them
// too, as long as there is room, but nobody is to wait for that.
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

// run writes until the device is closed and nothing waits.
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
		d.log.Warn("closing an audit device", "device", d.path, "error", err)
	}
}

// letArrive gives way while more arrive: whom the last write has answered often comes back at once.
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

// take moves what waits to what is written. It reports whether there is anything to do.
func (d *device) take() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue.ends) == 0 && !d.anew {
		return false
	}
	d.queue, d.current = d.current, d.queue
	d.writing = true
	return true
}

// maxKept is the size beyond which a buffer is left to the garbage collector.
const maxKept = 256 << 10

// write writes the current batch, with the watch running, and answers who waits.
func (d *device) write() {
	d.watch.Reset(d.deadline)
	d.mu.Lock()
	anew := d.anew
	d.anew = false
	b := d.current
	d.mu.Unlock()
	var n int
	var err error
	if anew {
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

// settle answers those whose lines were written, or not, and remembers how the device does.
func (d *device) settle(n int, err error) {
	for i, w := range d.current.waiters {
		switch {
		case i >= n && err == nil: // a sink that lies
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
		d.log.Error("an audit device fails", "device", d.path, "error", err)
	case err == nil && d.failed:
		d.log.Info("an audit device takes entries again", "device", d.path, "entries_missing_from_it", d.missing)
		d.missing = 0
	}
	d.failed = err != nil
}

// overdue is called when a write has taken longer than the deadline: all who wait are answered.
func (d *device) overdue() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.writing {
		return
	}
	if !d.failed {
		d.log.Error("an audit device hangs", "device", d.path, "deadline", d.deadline.String())
	}
	d.late, d.failed = true, true
	for _, all := range [][]*waiter{d.current.waiters, d.queue.waiters} {
		for i, w := range all {
			if w != nil {
				w.done <- errLate
				all[i] = nil
			}
		}
	}
}

// close writes what waits and ends the goroutine; one that hangs is left behind after the deadline, where it cannot be ended.
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
