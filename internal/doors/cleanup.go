package doors

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// Clean-up after an unmount. The unmounting commit leaves a tombstone at "core/unmounted/<uuid>":
//
//	version u8 = 1 | the path that the mount had
//
// which is deleted when nothing is left below "logical/<uuid>/". So a crash or a change of leader delays it and loses nothing.

const (
	tombstoneVersion = 1
	sweepBatch       = 60               // deletes in one commit
	sweepPause       = 30 * time.Second // after an error
)

func marshalTombstone(path string) []byte { return append([]byte{tombstoneVersion}, path...) }

// Run removes the entries of what was unmounted and has the doors do their own work (see [Keeper]), now and whenever the table
// changes, until ctx ends.
func (t *Table) Run(ctx context.Context) {
	for {
		var retry <-chan time.Time
		if err := t.cleanUp(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("the entries of an unmounted path are not removed yet; trying again", "error", err, "in", sweepPause)
			retry = time.After(sweepPause)
		}
		if !t.keep(ctx) && retry == nil {
			retry = time.After(sweepPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.kick:
		case <-retry:
		}
	}
}

// keep calls the doors that have work of their own, and reports whether all of it is done.
func (t *Table) keep(ctx context.Context) bool {
	done := true
	for _, e := range t.now.Load().mounts {
		k, ok := e.door.(Keeper)
		if !ok || ctx.Err() != nil {
			continue
		}
		if err := k.Keep(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrChanged) {
			t.log.Warn("a mount's own work is not done yet; trying again", "path", e.Path, "error", err, "in", sweepPause)
			done = false
		}
	}
	return done
}

// cleanUp removes the entries of everything that was unmounted, in commits of at most 60 deletes. It can be stopped anywhere
// and called again.
func (t *Table) cleanUp(ctx context.Context) error {
	for {
		names, err := t.base.List(ctx, tombstonePrefix, "", sweepBatch)
		if err != nil || len(names) == 0 {
			return err
		}
		for _, id := range names {
			if validUUID(id) { // anything else could lead the sweep out of "logical/<uuid>/"
				if err := t.sweep(ctx, logicalPrefix+id+"/"); err != nil {
					return err
				}
			}
			if err := t.base.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(tombstonePrefix + id)}}); err != nil {
				return err
			}
		}
	}
}

// sweep deletes everything below prefix. A key is at most 2 KiB long, which bounds the depth.
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
