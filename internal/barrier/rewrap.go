package barrier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

// rewrapPairs is how many entries one commit re-encrypts: each is a condition and an operation, and
// the first commit of a barrier has one more operation.
const rewrapPairs = (storage.MaxOps - OwnOps) / 2

// rewrapBytes bounds such a commit: it is a small one between those of others.
const rewrapBytes = 256 << 10

// rewrapTries is how often an entry is tried that others write meanwhile. What they write has the
// active term, so the first conflict is nearly always the last.
const rewrapTries = 3

// Rewrapped is what [Barrier.Rewrap] did.
type Rewrapped struct {
	Tally            // re-encrypted
	Damaged []string // entries that do not open; they are left as they are
	Left    int      // entries that others wrote at each try; the next pass finds them
}

// NextEntries returns the paths of the entries after one, in order, at most limit of them. It reads
// no values, and no more than a few folders.
func (b *Barrier) NextEntries(ctx context.Context, after string, limit int) ([]string, error) {
	if b.Sealed() {
		return nil, ErrSealed
	}
	w := walker{store: b.store, limit: limit}
	err := w.walk(ctx, "", after)
	return w.found, err
}

// NextControl is NextEntries for the control records alone: see [IsControl].
func (b *Barrier) NextControl(ctx context.Context, after string, limit int) ([]string, error) {
	if b.Sealed() {
		return nil, ErrSealed
	}
	w := walker{store: b.store, limit: limit, skip: dataPrefix}
	err := w.walk(ctx, "", after)
	return w.found, err
}

// walker collects keys in order.
type walker struct {
	store storage.Store
	limit int
	skip  string // a folder that it leaves out; "": none
	found []string
}

// walk adds the keys below prefix that follow after, a key below it or "".
func (w *walker) walk(ctx context.Context, prefix, after string) error {
	name, rest, folder := strings.Cut(after, "/")
	if folder {
		name += "/"
		if err := w.walk(ctx, prefix+name, rest); err != nil {
			return err
		}
	}
	for len(w.found) < w.limit {
		room := w.limit - len(w.found)
		names, err := w.store.List(ctx, prefix, name, room)
		if err != nil {
			return err
		}
		for _, name = range names {
			if !strings.HasSuffix(name, "/") {
				w.found = append(w.found, prefix+name)
			} else if prefix+name == w.skip {
				continue
			} else if err := w.walk(ctx, prefix+name, ""); err != nil {
				return err
			}
			if len(w.found) >= w.limit {
				return nil
			}
		}
		if len(names) < room {
			return nil
		}
	}
	return nil
}

// Rewrap encrypts again, by the active term, those of the entries that name an older one. A write
// of others always wins: an entry is replaced where it still is what was read, in the same commit.
func (b *Barrier) Rewrap(ctx context.Context, paths []string) (out Rewrapped, err error) {
	for try := 0; len(paths) > 0 && err == nil; try++ {
		var again, large []string
		again, large, err = b.rewrapSome(ctx, paths, &out)
		for _, path := range large {
			if err == nil {
				err = b.rewrapLarge(ctx, path, &out)
			}
		}
		if len(again) > 0 && try >= rewrapTries {
			out.Left += len(again)
			return out, nil
		}
		paths = again
	}
	return out, err
}

// rewrapBatch is one commit of a rewrap.
type rewrapBatch struct {
	storage.Batch
	size int
	done Tally
}

// rewrapSome re-encrypts entries. It returns those that others wrote meanwhile, and those that are
// too large for a condition on their value.
func (b *Barrier) rewrapSome(ctx context.Context, paths []string, out *Rewrapped) (again, large []string, err error) {
	b.writing.RLock()
	defer b.writing.RUnlock()
	r, err := b.writable(ctx)
	if err != nil {
		return nil, nil, err
	}
	var batch rewrapBatch
	flush := func() error {
		if len(batch.Ops) == 0 {
			return nil
		}
		batch.Epoch = b.epoch.Load()
		failpoint.Point("rewrap-data.commit")
		err := b.commit(ctx, batch.Batch)
		if errors.Is(err, storage.ErrConflict) {
			for _, op := range batch.Ops {
				again = append(again, op.Key)
			}
			err = nil
		} else if err == nil {
			out.add(batch.done)
		}
		batch = rewrapBatch{}
		return err
	}
	for _, path := range paths {
		old, next, err := b.reencrypt(ctx, r, path, out)
		if err != nil {
			return again, large, err
		}
		size := 2*len(path) + len(old) + len(next)
		switch {
		case next == nil:
			continue
		case size > storage.MaxBytes-len(censusPath):
			large = append(large, path)
			continue
		case len(batch.Ops) >= rewrapPairs || batch.size+size > max(rewrapBytes, size):
			if err := flush(); err != nil {
				return again, large, err
			}
		}
		batch.If = append(batch.If, storage.IfValue(path, old))
		batch.Ops = append(batch.Ops, storage.Put(path, next))
		batch.size += size
		batch.done.add(Tally{1, int64(len(next))})
	}
	return again, large, flush()
}

// reencrypt returns an entry as it is stored and by the active term; next is nil where there is
// nothing to do.
func (b *Barrier) reencrypt(ctx context.Context, r *ring, path string, out *Rewrapped) (old, next []byte, err error) {
	if b.uncounted(path) || path == countsPath {
		return nil, nil, nil
	}
	old, err = b.store.Get(ctx, path)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if id, ok := termOf(old); ok && id == r.active.id {
		return nil, nil, nil
	}
	plain, err := r.open(path, append([]byte(nil), old...))
	if err == nil {
		err = b.passed(r, path, old)
	}
	if err != nil {
		clear(plain)
		out.Damaged = append(out.Damaged, path)
		return nil, nil, nil //nolint:nilerr // it is reported by its path
	}
	defer clear(plain)
	if err := b.count(ctx, r.active, 1); err != nil {
		return nil, nil, err
	}
	return old, r.active.seal(path, plain), nil
}

// rewrapLarge re-encrypts an entry while nothing else is written.
func (b *Barrier) rewrapLarge(ctx context.Context, path string, out *Rewrapped) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	r, err := b.writable(ctx)
	if err != nil {
		return err
	}
	_, next, err := b.reencrypt(ctx, r, path, out)
	if err != nil || next == nil {
		return err
	}
	failpoint.Point("rewrap-data.commit")
	err = b.commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(path, next)}, Epoch: b.epoch.Load()})
	if err == nil {
		out.add(Tally{1, int64(len(next))})
	}
	return err
}

// settled is after what time a commit of unknown outcome can no longer arrive: storages give up
// requests within seconds.
const settled = 5 * time.Minute

var (
	// ErrTermInUse is returned by Retire while entries name a term that would be destroyed. Nothing
	// was written.
	ErrTermInUse = errors.New("barrier: stored entries need the term")
	// ErrUnsettled is returned by Retire while a commit by an old term may still arrive. Nothing was
	// written.
	ErrUnsettled = errors.New("barrier: the outcome of a commit by an old term is unknown")
	// ErrNoTerm is returned by Retire where there is no older term. Nothing was written.
	ErrNoTerm = errors.New("barrier: there is no older term")
)

// Retire destroys the terms before one, at most the active one: the keyring no longer has them, in
// memory and in storage. It counts all entries first, and refuses where one needs such a term.
//
// That is safe because no writer uses an older term any more: the writers of this barrier that
// chose one have ended when the count begins, and the epoch refuses those of other leaders.
//
// with adds to the commit that destroys them; nil: nothing.
func (b *Barrier) Retire(ctx context.Context, before uint32, from storage.Snapshotter, pace func() error,
	with func(*Tx) error) ([]uint32, error) {
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	var gone []uint32
	for _, t := range r.terms {
		if t.id < before {
			gone = append(gone, t.id)
		}
	}
	if before > r.active.id || len(gone) == 0 {
		return nil, ErrNoTerm
	}
	if err := b.unsettled(before); err != nil {
		return nil, err
	}
	if err := b.CountAll(ctx, from, pace); err != nil {
		return nil, err
	}
	census := b.Census()
	if n := census.Below(before); n.Entries > 0 {
		return nil, fmt.Errorf("%w: %d entries name a term before %d", ErrTermInUse, n.Entries, before)
	}
	if err := b.unsettled(before); err != nil {
		return nil, err
	}
	tx := b.Begin()
	tx.retire = before
	if with != nil {
		if err := with(tx); err != nil {
			return nil, err
		}
	}
	failpoint.Point("retire.commit")
	if err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	return gone, nil
}

// Settled returns nil where nothing can be written any more by a term before one, which is not the
// active one: the writers that chose one have ended, and no commit of theirs may still arrive.
func (b *Barrier) Settled(before uint32) error {
	b.writing.Lock() // the writers have ended
	defer b.writing.Unlock()
	return b.unsettled(before)
}

// unsettled reports whether a commit by a term before one may still arrive. A storage without an
// election has none: it ends each commit before it answers.
func (b *Barrier) unsettled(before uint32) error {
	if b.epoch.Load() == 0 {
		return nil
	}
	b.census.mu.Lock()
	defer b.census.mu.Unlock()
	for id, at := range b.census.lost {
		if wait := settled - b.now().Sub(at); id < before && wait > 0 {
			return fmt.Errorf("%w; it cannot arrive any more in %s, or once another node leads", ErrUnsettled,
				wait.Round(time.Second))
		}
	}
	return nil
}
