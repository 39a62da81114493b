package mount

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
)

// Bounds of the removal of entries, which runs beside the requests of clients: one commit is in
// flight at a time, the pauses between them are as long as they are, and removeRate is the most
// entries in a second.
const (
	removeBatch = 60 // deletes in one commit
	removeRate  = 20_000
)

// Removal is an unmounted path whose entries are being removed.
type Removal struct {
	Path      string
	UUID      string
	Unmounted time.Time // zero: unmounted by a version that did not record it
	Removed   int64     // entries, by this node since it became active
	Error     string    // why the last attempt failed; it is tried again
}

// removals are the paths in removal: the tombstones, as far as this node has read them.
type removals struct {
	wakeup chan struct{}
	mu     sync.Mutex
	byID   map[string]*Removal
}

// Removals lists the unmounted paths whose entries are being removed, the oldest first.
func (t *Table) Removals() []Removal {
	t.removals.mu.Lock()
	defer t.removals.mu.Unlock()
	var out []Removal
	for _, r := range t.removals.byID {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Removal) int {
		return cmp.Or(a.Unmounted.Compare(b.Unmounted), strings.Compare(a.UUID, b.UUID))
	})
	return out
}

// count adds removed entries.
func (r *removals) count(id string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.byID[id]; one != nil {
		one.Removed += int64(n)
	}
}

// note adds or changes the removal of a mount.
func (r *removals) note(id string, change func(*Removal)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[id] == nil {
		r.byID[id] = &Removal{UUID: id}
	}
	change(r.byID[id])
}

func (r *removals) done(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, id)
}

// runRemovals removes the entries of unmounted paths, now and after each change of the table, until
// ctx ends.
func (t *Table) runRemovals(ctx context.Context) {
	for {
		var retry <-chan time.Time
		if err := t.cleanUp(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("cannot remove the entries of an unmounted path; retrying", "error", err, "in", sweepPause)
			retry = time.After(sweepPause)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.removals.wakeup:
		case <-retry:
		}
	}
}

// cleanUp removes the entries of all unmounted paths, one path after the other. It can be
// interrupted at any point and called again.
func (t *Table) cleanUp(ctx context.Context) error {
	for {
		names, err := t.base.List(ctx, t.tombstones, "", removeBatch)
		if err != nil || len(names) == 0 {
			return err
		}
		t.register(ctx, names)
		for _, id := range names {
			if uuid.Valid(id) { // anything else could make the sweep delete outside "logical/<uuid>/"
				if err := t.removeEntries(ctx, id); err != nil {
					t.removals.note(id, func(r *Removal) { r.Error = err.Error() })
					return err
				}
			}
			failpoint.Point("unmount.end")
			if err := t.base.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(t.tombstones + id)}}); err != nil {
				return err
			}
			t.removals.done(id)
		}
	}
}

// register reads the tombstones, for [Table.Removals]. One that cannot be read fails in bury.
func (t *Table) register(ctx context.Context, names []string) {
	for _, id := range names {
		path, at, err := t.tombstone(ctx, id)
		if err == nil && uuid.Valid(id) {
			t.removals.note(id, func(r *Removal) { r.Path, r.Unmounted, r.Error = path, at, "" })
		}
	}
}

func (t *Table) tombstone(ctx context.Context, id string) (path string, at time.Time, err error) {
	record, err := t.base.Get(ctx, t.tombstones+id)
	if err != nil {
		return "", at, err
	}
	return unmarshalTombstone(record)
}

// removeEntries reports an unmounted path to Gone, and removes its entries.
func (t *Table) removeEntries(ctx context.Context, id string) error {
	path, at, err := t.tombstone(ctx, id)
	if err != nil {
		return err
	}
	if t.gone != nil {
		if err := t.gone(ctx, path, at); err != nil {
			return err
		}
	}
	begun := t.clock()
	s := sweep{table: t, id: id}
	if err := s.below(ctx, t.data+id+"/"); err != nil {
		return err
	}
	if s.removed > 0 {
		t.log.Info("the entries of an unmounted path are removed", "path", path, "entries", s.removed, "took",
			t.clock().Sub(begun).Round(time.Millisecond).String())
	}
	return nil
}

// sweep removes the entries of one mount.
type sweep struct {
	table   *Table
	id      string
	removed int64
}

// below deletes everything below prefix. A key has at most 2 KiB, which bounds the depth. It lists
// behind what it has deleted, which some storages still have to skip, and from the start again
// until nothing is left.
func (s *sweep) below(ctx context.Context, prefix string) error {
	after := ""
	for {
		names, err := s.table.base.List(ctx, prefix, after, removeBatch)
		switch {
		case err != nil:
			return err
		case len(names) == 0 && after == "":
			return nil
		case len(names) == 0:
			after = ""
			continue
		}
		after = names[len(names)-1]
		var b storage.Batch
		for _, name := range names {
			if !strings.HasSuffix(name, "/") {
				b.Ops = append(b.Ops, storage.Delete(prefix+name))
			} else if err := s.below(ctx, prefix+name); err != nil {
				return err
			}
		}
		if err := s.commit(ctx, b); err != nil {
			return err
		}
	}
}

// commit deletes some entries, then pauses.
func (s *sweep) commit(ctx context.Context, b storage.Batch) error {
	n := len(b.Ops)
	if n == 0 {
		return nil
	}
	begun := time.Now()
	failpoint.Point("unmount.sweep")
	if err := s.table.base.Commit(ctx, b); err != nil {
		return err
	}
	s.removed += int64(n)
	s.table.removals.count(s.id, n)
	if n < removeBatch {
		return nil
	}
	clock.Sleep(ctx, max(time.Since(begun), time.Duration(n)*time.Second/removeRate))
	return ctx.Err()
}
