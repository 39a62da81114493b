package mount

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
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
	sweepBatch        = 60               // deletes in one commit
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
func (t *Table) Run(ctx context.Context) {
	ticks := time.NewTicker(tickEvery)
	defer ticks.Stop()
	for {
		var retry <-chan time.Time
		if err := t.cleanUp(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("cannot remove the entries of an unmounted path; retrying", "error", err, "in", sweepPause)
			retry = time.After(sweepPause)
		}
		if !t.care(ctx) && retry == nil {
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

// care runs the maintenance of the backends, and reports whether all of it is done.
func (t *Table) care(ctx context.Context) bool {
	done := true
	for _, e := range t.now.Load().mounts {
		k, ok := e.backend.(Maintainer)
		if !ok || ctx.Err() != nil {
			continue
		}
		if err := k.Maintain(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrChanged) {
			t.log.Warn("the maintenance of a mount failed; retrying", "path", e.Path, "error", err, "in", sweepPause)
			done = false
		}
	}
	return done
}

// cleanUp removes the entries of all unmounted paths, in commits of at most 60 deletes. It can be
// interrupted at any point and called again.
func (t *Table) cleanUp(ctx context.Context) error {
	for {
		names, err := t.base.List(ctx, t.tombstones, "", sweepBatch)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, id := range names {
			if uuid.Valid(id) { // anything else could make the sweep delete outside "logical/<uuid>/"
				if err := t.bury(ctx, id); err != nil {
					return err
				}
			}
			if err := t.base.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(t.tombstones + id)}}); err != nil {
				return err
			}
		}
	}
}

// bury reports an unmounted path to Gone, and removes its entries.
func (t *Table) bury(ctx context.Context, id string) error {
	if t.gone != nil {
		record, err := t.base.Get(ctx, t.tombstones+id)
		if err != nil {
			return err
		}
		path, at, err := unmarshalTombstone(record)
		if err != nil {
			return err
		}
		if err := t.gone(ctx, path, at); err != nil {
			return err
		}
	}
	return t.sweep(ctx, t.data+id+"/")
}

// sweep deletes everything below prefix. A key has at most 2 KiB, which bounds the depth.
func (t *Table) sweep(ctx context.Context, prefix string) error {
	for {
		names, err := t.base.List(ctx, prefix, "", sweepBatch)
		if err != nil || len(names) == 0 {
			return err
		}
		var b storage.Batch
		for _, name := range names {
			if !strings.HasSuffix(name, "/") {
				b.Ops = append(b.Ops, storage.Delete(prefix+name))
			} else if err := t.sweep(ctx, prefix+name); err != nil {
				return err
			}
		}
		if len(b.Ops) == 0 {
			continue
		}
		if err := t.base.Commit(ctx, b); err != nil {
			return err
		}
	}
}
