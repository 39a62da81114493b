package postgres

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	queueLength = 1024
	// Bounds of a group: they bound the memory of a transaction and the latency of its first
	// member.
	groupBatches = 256
	groupBytes   = 4 << 20
)

// request is a queued batch.
type request struct {
	batch  storage.Batch
	before storage.Before // what it replaced; set before done is answered
	taken  atomic.Bool    // claimed by the writer, or by a caller that gives up: the first wins
	doubt  *doubt         // of the group; set before taken
	done   chan error
}

// answer passes on what the batch replaced. Only the caller that waited for the outcome gets it:
// the writer may answer when the caller has left.
func (r *request) answer(err error) error {
	if err == nil && r.batch.Before != nil {
		*r.batch.Before = r.before
	}
	return err
}

// doubt is open while a transaction whose outcome some caller did not learn can still be executed.
type doubt struct{ over chan struct{} }

func newDoubt() *doubt { return &doubt{over: make(chan struct{})} }

// Commit implements storage.Store. If ctx ends before the writer has taken the batch, nothing is
// written. Afterwards the outcome is unknown to the caller, and later reads wait for it.
func (s *Store) Commit(ctx context.Context, b storage.Batch) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := b.Check(); err != nil {
		return err
	}
	r := &request{batch: b, done: make(chan error, 1)}
	waiting, stop := s.whileItHelps(ctx)
	defer stop()
	patience := time.NewTimer(s.o.CallTimeout / 2)
	defer patience.Stop()
	if err := s.send(ctx, waiting, r, patience.C); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return r.answer(err)
	case <-patience.C:
		if r.taken.CompareAndSwap(false, true) {
			return s.notBegun()
		}
	case <-waiting.Done():
		if ctx.Err() == nil && r.taken.CompareAndSwap(false, true) {
			return s.notBegun()
		}
	}
	select {
	case err := <-r.done:
		return r.answer(err)
	case <-waiting.Done():
		if !r.taken.CompareAndSwap(false, true) {
			s.doubt.Store(r.doubt)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.inDoubt()
	}
}

// inDoubt is the error of a commit that the writer has taken and that is not answered in an outage.
func (s *Store) inDoubt() error {
	err := fmt.Errorf("%w: the outcome of a commit is unknown: PostgreSQL does not respond", storage.ErrUnavailable)
	if f := s.health.Failing(); f != nil {
		return storage.Classified(f.Class, fmt.Errorf("%w: %w", err, f.Err))
	}
	return err
}

// notBegun returns why a batch was not executed. Nothing of it is written.
func (s *Store) notBegun() error {
	if cause := s.outage.Load(); cause != nil {
		return *cause
	}
	if f := s.health.Failing(); f != nil {
		return f.Err
	}
	return fmt.Errorf("%w: PostgreSQL is too slow: earlier commits are still in progress", storage.ErrUnavailable)
}

func (s *Store) send(ctx, waiting context.Context, r *request, patience <-chan time.Time) error {
	s.closeLock.RLock()
	defer s.closeLock.RUnlock()
	if s.closing.Err() != nil {
		return storage.ErrClosed
	}
	select {
	case s.queue <- r:
		return nil
	case <-patience:
		return s.notBegun()
	case <-waiting.Done():
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.notBegun()
	}
}

// group is the content of one transaction: batches of one epoch, none with a condition on a key
// that another one changes.
type group struct {
	epoch    uint64
	requests []*request
	written  map[string]bool // by its batches
	mixed    bool            // has conditions or deletions
	size     int
}

// admits reports whether a batch can join the group's transaction.
func (g *group) admits(b storage.Batch) bool {
	if len(g.requests) == 0 {
		return true
	}
	for _, c := range b.If {
		if g.written[c.Key] {
			return false
		}
	}
	return b.Epoch == g.epoch
}

func (g *group) add(r *request) {
	g.epoch = r.batch.Epoch
	g.requests = append(g.requests, r)
	g.mixed = g.mixed || len(r.batch.If) > 0
	for _, op := range r.batch.Ops {
		g.written[op.Key] = true
		g.mixed = g.mixed || op.Delete
		g.size += len(op.Key) + len(op.Value)
	}
	for _, c := range r.batch.If {
		g.size += len(c.Key) + len(c.Value)
	}
}

func (g *group) full() bool { return len(g.requests) >= groupBatches || g.size >= groupBytes }

// puts returns the arguments of the statement puts: the last operation on a key wins.
func (g *group) puts() (keys []string, values [][]byte, batches []int32) {
	place := make(map[string]int, len(g.written))
	for i, r := range g.requests {
		for _, op := range r.batch.Ops {
			at, again := place[op.Key]
			if !again {
				at = len(keys)
				place[op.Key] = at
				keys, values, batches = append(keys, op.Key), append(values, nil), append(batches, 0)
			}
			values[at], batches[at] = present(op.Value), int32(i+1)
		}
	}
	return keys, values, batches
}

// mixedArguments returns the arguments of the statement mixed after the first two.
func (g *group) mixedArguments() []any {
	var ifBatch, opBatch []int32
	var ifKey, opKey []string
	var ifValue, opValue [][]byte
	for i, r := range g.requests {
		n := int32(i + 1)
		for _, c := range r.batch.If {
			value := present(c.Value)
			if c.Absent {
				value = nil
			}
			ifBatch, ifKey, ifValue = append(ifBatch, n), append(ifKey, c.Key), append(ifValue, value)
		}
		for _, op := range r.batch.Ops {
			value := present(op.Value)
			if op.Delete {
				value = nil
			}
			opBatch, opKey, opValue = append(opBatch, n), append(opKey, op.Key), append(opValue, value)
		}
	}
	return []any{nonNil(ifBatch), nonNil(ifKey), nonNil(ifValue), nonNil(opBatch), nonNil(opKey), nonNil(opValue)}
}

// noteBefore gives each batch what it replaced: the stored values, or those of an earlier batch.
func (g *group) noteBefore(o outcome) {
	values := o.before
	for i, r := range g.requests {
		if _, refused := o.refused[int32(i+1)]; refused {
			continue
		}
		old := make([]storage.Old, len(r.batch.Ops))
		for j, op := range r.batch.Ops {
			old[j] = values[op.Key]
		}
		for _, op := range r.batch.Ops {
			if op.Delete {
				delete(values, op.Key)
			} else {
				values[op.Key] = storage.Describe(op.Value)
			}
		}
		r.before = storage.Before{Known: true, Old: old}
	}
}

// events returns the group's events, as the table of changes has them.
func (g *group) events(o outcome) (events []storage.Event) {
	last := make(map[string]int, len(g.written))
	for pass := range 2 {
		at := 0
		for i, r := range g.requests {
			n := int32(i + 1)
			if _, refused := o.refused[n]; refused {
				continue
			}
			for _, op := range r.batch.Ops {
				if pass == 0 {
					last[op.Key] = at
				} else if last[op.Key] == at {
					events = append(events, storage.Event{Key: op.Key, Deleted: op.Delete, Revision: uint64(o.since) + uint64(n)})
				}
				at++
			}
		}
	}
	return append(events, storage.Event{Revision: uint64(o.since) + uint64(len(g.requests))})
}

// present keeps an empty value from becoming NULL.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// nonNil keeps an empty list from becoming NULL.
func nonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
