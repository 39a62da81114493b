package storage

import (
	"context"
	"strings"
	"sync"
)

// feedBuffer is how many events a slow reader may fall behind before its channel is closed.
const feedBuffer = 4096

// Feed distributes events to the readers of [Watcher.Watch], for backends that see every commit
// themselves. The zero value is ready. It starts no goroutine.
type Feed struct {
	mu      sync.Mutex
	readers map[*feedReader]struct{}
}

type feedReader struct {
	prefix string
	events chan Event
}

// Subscribe returns a channel of the events below prefix, until one of the contexts ends. It is
// closed early if the reader falls more than 4,096 events behind.
func (f *Feed) Subscribe(prefix string, until ...context.Context) <-chan Event {
	r := &feedReader{prefix: prefix, events: make(chan Event, feedBuffer)}
	f.mu.Lock()
	if f.readers == nil {
		f.readers = map[*feedReader]struct{}{}
	}
	f.readers[r] = struct{}{}
	f.mu.Unlock()
	for _, ctx := range until {
		context.AfterFunc(ctx, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.drop(r)
		})
	}
	return r.events
}

// Publish sends events to the readers, in order; marks go to every reader. It never waits for a
// reader.
func (f *Feed) Publish(events ...Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		f.send(r, events)
	}
}

func (f *Feed) send(r *feedReader, events []Event) {
	for _, e := range events {
		if e.Key != "" && !strings.HasPrefix(e.Key, r.prefix) {
			continue
		}
		select {
		case r.events <- e:
		default:
			f.drop(r)
			return
		}
	}
}

// Break closes the channels of all readers, because events may have been missed.
func (f *Feed) Break() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		f.drop(r)
	}
}

// drop ends a reader; repeating it does nothing. The caller holds the lock.
func (f *Feed) drop(r *feedReader) {
	if _, ok := f.readers[r]; ok {
		delete(f.readers, r)
		close(r.events)
	}
}
