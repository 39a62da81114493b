package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Clean-up after an unmount. The unmounting commit writes a tombstone at "core/unmounted/<uuid>":
//
//	version u8 = 2 | when i64, ns since 1970 | the path that the mount had
//
// (version 1 has no time). It is deleted when nothing is left below "logical/<uuid>/", so a crash
// or a change of leader delays the clean-up and loses nothing.

const (
	tombstoneVersion1 = 1
	tombstoneVersion  = 2
	sweepPause        = 30 * time.Second // after an error
	tickEvery         = time.Minute
)

func marshalTombstone(path string, at time.Time) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{tombstoneVersion}, uint64(at.UnixNano())), path...)
}

func unmarshalTombstone(record []byte) (path string, at time.Time, err error) {
	switch {
	case len(record) > 1 && record[0] == tombstoneVersion1:
		return string(record[1:]), time.Time{}, nil
	case len(record) > 9 && record[0] == tombstoneVersion:
		return string(record[9:]), time.Unix(0, int64(binary.BigEndian.Uint64(record[1:]))), nil
	}
	return "", at, fmt.Errorf("%w: the tombstone of a mount", ErrRecord)
}

// Run removes the entries of unmounted paths and runs the backends' maintenance (see [Maintainer]),
// now and after each change of the table, and their periodic work (see [Ticker]), until ctx ends.
// Neither waits for the other.
func (t *Table) Run(ctx context.Context) {
	removed := make(chan struct{})
	go func() {
		defer close(removed)
		t.runRemovals(ctx)
	}()
	defer func() { <-removed }()
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	for {
		var retry <-chan time.Time
		if !t.maintain(ctx) {
			retry = time.After(sweepPause)
		}
		if !t.pause(ctx, retry, ticks.C) {
			return
		}
	}
}

// pause runs the backends' ticks until there is something else to do. It returns false when ctx has
// ended.
func (t *Table) pause(ctx context.Context, retry, ticks <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.kick:
			return true
		case <-retry:
			return true
		case <-ticks:
			t.tick(ctx)
		}
	}
}

// tick lets the backends do their periodic work.
func (t *Table) tick(ctx context.Context) {
	for _, e := range t.now.Load().mounts {
		k, ok := e.backend.(Ticker)
		if !ok || ctx.Err() != nil {
			continue
		}
		if err := k.Tick(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrChanged) {
			t.log.Warn("the periodic work of a mount failed; retrying", "path", e.Path, "error", err, "in", tickEvery)
		}
		if n, ok := e.backend.(Noticer); ok {
			for _, text := range n.Notices() {
				t.log.Warn(text, "path", e.Path)
			}
		}
	}
}

// maintain runs the maintenance of the backends, and reports whether all of it is done.
func (t *Table) maintain(ctx context.Context) bool {
	done := true
	for _, e := range t.now.Load().mounts {
		k, ok := e.backend.(Maintainer)
		if !ok || e.cared.Load() || ctx.Err() != nil {
			continue
		}
		switch err := k.Maintain(ctx); {
		case err == nil:
			e.cared.Store(true)
		case ctx.Err() == nil && !errors.Is(err, ErrChanged):
			t.log.Warn("the maintenance of a mount failed; retrying", "path", e.Path, "error", err, "in", sweepPause)
			done = false
		}
	}
	return done
}
