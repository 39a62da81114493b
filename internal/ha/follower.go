package ha

import (
	"context"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// errNotProven is why a standby does not answer itself.
var errNotProven = fault.New(fault.Unavailable,
	"this standby cannot prove that what it knows is current; ask the active node")

// Follower knows how current a standby's memory is. One query of the storage's revision serves all
// requests that came before it was sent.
type Follower struct {
	sequencer storage.Sequencer
	timeout   time.Duration

	mu    sync.Mutex
	mark  uint64 // all changes up to this revision have been applied
	over  bool   // no further change is applied
	moved signal

	calm bool // the last request found everything applied: the next one may assume so

	querying bool
	failed   bool   // the last query failed: no request waits for the next one
	next     *query // not sent yet
}

// query is one read of the storage's revision.
type query struct {
	done     chan struct{}
	revision uint64
	err      error
}

func (f *Follower) end() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.moved.notify()
}

func (f *Follower) reached(revision uint64) {
	f.mu.Lock()
	f.mark = max(f.mark, revision)
	f.mu.Unlock()
	f.moved.notify()
}

// Current waits until everything that was committed before the call has been applied, or fails.
func (f *Follower) Current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	revision, err := f.ask(ctx)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		moved := f.moved.wait()
		f.mu.Lock()
		over, mark := f.over, f.mark
		if first {
			f.calm = mark >= revision
		}
		f.mu.Unlock()
		switch {
		case over:
			return errNotProven
		case mark >= revision:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return errNotProven
		}
	}
}

// ask returns the storage's revision, read after the call.
func (f *Follower) ask(ctx context.Context) (uint64, error) {
	q, failed := f.join()
	if failed {
		return 0, errNotProven
	}
	select {
	case <-q.done:
	case <-ctx.Done():
		return 0, errNotProven
	}
	if q.err != nil {
		return 0, errNotProven
	}
	return q.revision, nil
}

// join returns a query that is sent after this call. failed: the query before got no answer.
func (f *Follower) join() (q *query, failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = &query{done: make(chan struct{})}
	}
	if !f.querying {
		f.querying = true
		go f.send()
	}
	return f.next, f.failed
}

// send sends one query after the other until no request waits for one.
func (f *Follower) send() {
	for {
		f.mu.Lock()
		q := f.next
		f.next = nil
		if q == nil {
			f.querying = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
		q.revision, q.err = f.sequencer.Revision(ctx)
		cancel()
		f.mu.Lock()
		f.failed = q.err != nil
		f.mu.Unlock()
		close(q.done)
	}
}
