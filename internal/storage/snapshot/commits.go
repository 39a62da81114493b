package snapshot

import (
	"context"
	"sync"

	"github.com/sealgate/sealgate/internal/storage"
)

// inFlight is how many commits of a restore are in flight together. They share the storage's
// flushes, and bound the memory to as many MiB.
const inFlight = 8

// commits sends commits whose order does not matter.
type commits struct {
	ctx   context.Context
	store storage.Store
	epoch uint64
	slots chan struct{}

	mu    sync.Mutex
	first error
}

func newCommits(ctx context.Context, store storage.Store, epoch uint64) *commits {
	return &commits{ctx: ctx, store: store, epoch: epoch, slots: make(chan struct{}, inFlight)}
}

// add sends a commit. It returns the error of an earlier one.
func (c *commits) add(ops []storage.Op) error {
	c.slots <- struct{}{}
	if err := c.failed(nil); err != nil {
		<-c.slots
		return err
	}
	go func() {
		defer func() { <-c.slots }()
		_ = c.failed(c.store.Commit(c.ctx, storage.Batch{Epoch: c.epoch, Ops: ops}))
	}()
	return nil
}

// failed records an error, and returns the first one.
func (c *commits) failed(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		c.first = err
	}
	return c.first
}

// wait waits for all commits and returns the first error.
func (c *commits) wait() error {
	for range inFlight {
		c.slots <- struct{}{}
	}
	for range inFlight {
		<-c.slots
	}
	return c.failed(nil)
}
