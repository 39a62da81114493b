package kv

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/storage"
)

// upgradeKey exists while a mount is upgraded to version 2. From the commit that creates it the
// mount answers as version 2: an entry of version 1 appears as version 1 of its secret until it is
// moved, by a write to it or by [versioned.Maintain], which moves all.
const upgradeKey = "upgrade"

// upgrade is the mark:
//
//	version u8 = 1 | time of the decision i64, nanoseconds since 1970
//
// The secrets get this time as their creation time: version 1 has none.
type upgrade struct{ started int64 }

const upgradeVersion = 1

func (u upgrade) marshal() []byte {
	return binary.BigEndian.AppendUint64([]byte{upgradeVersion}, uint64(u.started))
}

func parseUpgrade(b []byte) (u upgrade, err error) {
	if len(b) != 1+8 || b[0] != upgradeVersion {
		return u, fmt.Errorf("%w: version %d of the mark of an upgrade is expected", errRecord, upgradeVersion)
	}
	return upgrade{int64(binary.BigEndian.Uint64(b[1:]))}, nil
}

// pending is the cached state of an upgrade.
type pending struct {
	upgrade
	done bool // no upgrade; final
}

func (d *versioned) upgrading(ctx context.Context) (*pending, error) {
	if p := d.pending.Load(); p != nil {
		return p, nil
	}
	b, err := d.store.Get(ctx, upgradeKey)
	p := &pending{done: true}
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		u, err := parseUpgrade(b)
		if err != nil {
			return nil, err
		}
		p = &pending{upgrade: u}
	}
	d.pending.CompareAndSwap(nil, p)
	return d.pending.Load(), nil
}

// loadPlain returns an entry of version 1 as the secret that it will become; nil if there is none.
func (d *versioned) loadPlain(ctx context.Context, path string, up *pending) (*secret, error) {
	b, err := d.store.Get(ctx, entries+path)
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
		return nil, nil
	case err != nil:
		return nil, err
	}
	v, err := unmarshal(b)
	if err != nil {
		return nil, damaged(err, path)
	}
	s := &secret{id: movedID(path), current: 1, created: up.started, updated: up.started, value: v.data}
	s.versions = s.versions.with(version{created: up.started})
	return s, nil
}

// movedID is the id of a secret that was an entry of version 1. It is deterministic, so a move in
// two commits that was interrupted between them leaves nothing behind when it is repeated.
func movedID(path string) (of id) {
	sum := sha256.Sum256([]byte("sealgate/kv/upgrade\x00" + path))
	copy(of[:], sum[:])
	return of
}

// take loads a secret in order to change it; the caller holds its lock. It reuses what
// [versioned.Find] read for the request, if the lock was not held since: only this backend writes
// to the mount. It moves an entry of version 1 first.
func (d *versioned) take(ctx context.Context, path string, known any) (*secret, error) {
	f, ok := known.(*found)
	if ok && f.path == path && f.changes == d.locks[d.stripe(path)].changes.Load() {
		return f.secret, nil
	}
	s, err := d.loadMoved(ctx, path)
	if s != nil || err != nil {
		return s, err
	}
	up, err := d.upgrading(ctx)
	if err != nil || up.done {
		return nil, err
	}
	if s, err = d.loadPlain(ctx, path, up); s == nil || err != nil {
		return nil, err
	}
	if err := d.move(ctx, path, s); err != nil {
		return nil, err
	}
	return s, nil
}

// move writes a secret of version 1 in its new place and updates s.
func (d *versioned) move(ctx context.Context, path string, s *secret) error {
	ops, err := d.moved(path, s)
	if err != nil {
		return err
	}
	err = d.store.Commit(ctx, storage.Batch{Ops: ops})
	if errors.Is(err, storage.ErrTooLarge) { // the value fits on its own, as it did before
		if err = d.store.Commit(ctx, storage.Batch{Ops: ops[:1]}); err == nil {
			err = d.store.Commit(ctx, storage.Batch{Ops: ops[1:]})
		}
	}
	return err
}

// moved returns the operations of a move; the value is the first of three if it does not fit into
// the record.
func (d *versioned) moved(path string, s *secret) (ops []storage.Op, err error) {
	if len(s.value) > inlineMost {
		ops = append(ops, storage.Put(d.valueKey(s.id, 1), marshalValue(s.value)))
		s.value = nil
	}
	record, err := s.marshal()
	if err != nil {
		return nil, err
	}
	return append(ops, storage.Put(secretsPrefix+path, record), storage.Delete(entries+path)), nil
}

// Limits of a commit that moves entries: many small entries share a commit, and none delays the
// others long.
const (
	moveMost  = 18        // entries, three operations each
	moveBytes = 256 << 10 // of values, after which the commit is full
)

// moveAll moves all remaining entries of version 1, then removes the mark.
func (d *versioned) moveAll(ctx context.Context) error {
	up, err := d.upgrading(ctx)
	if err != nil || up.done {
		return err
	}
	m := mover{d, up, nil}
	if err := m.below(ctx, ""); err != nil {
		return err
	}
	if len(m.left) > 0 {
		return fmt.Errorf("kv: %d entries of version 1 cannot be moved, such as %q: %w", len(m.left), m.left[0].path,
			m.left[0].err)
	}
	if err := d.store.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(upgradeKey)}}); err != nil {
		return err
	}
	d.pending.Store(&pending{done: true})
	return nil
}

// mover walks the entries of version 1.
type mover struct {
	*versioned
	up   *pending
	left []unmoved
}

// unmoved is an entry that cannot be moved, because it is damaged or too large. It must not block
// the others.
type unmoved struct {
	path string
	err  error
}

// leave records an error that concerns one entry only.
func (m *mover) leave(path string, err error) error {
	if errors.Is(err, errRecord) || errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrTooLarge) {
		m.left = append(m.left, unmoved{path, err})
		return nil
	}
	return err
}

// below moves the entries below a folder.
func (m *mover) below(ctx context.Context, folder string) error {
	after := ""
	for {
		names, err := m.store.List(ctx, entries+folder, after, moveMost)
		if err != nil || len(names) == 0 {
			return err
		}
		after = names[len(names)-1]
		var paths []string
		for _, name := range names {
			if !strings.HasSuffix(name, "/") {
				paths = append(paths, folder+name)
			} else if err := m.below(ctx, folder+name); err != nil {
				return err
			}
		}
		for len(paths) > 0 {
			n, err := m.moveBatch(ctx, paths)
			if err != nil {
				return err
			}
			paths = paths[n:]
		}
	}
}

// moveBatch moves as many of the first entries as fit into one commit, and returns how many it
// handled.
func (m *mover) moveBatch(ctx context.Context, paths []string) (int, error) {
	var stripes []int
	for _, path := range paths {
		stripes = append(stripes, m.stripe(path))
	}
	slices.Sort(stripes)
	for _, i := range slices.Compact(stripes) { // in order, to avoid a deadlock
		m.locks[i].Lock()
		defer m.locks[i].Unlock()
	}
	var ops []storage.Op
	size := 0
	for i, path := range paths {
		s, err := m.loadPlain(ctx, path, m.up)
		if err != nil {
			if err = m.leave(path, err); err != nil {
				return i, err
			}
			continue
		}
		if s == nil { // a concurrent write moved it
			continue
		}
		if size += len(s.value); size > moveBytes && len(ops) > 0 {
			return i, m.store.Commit(ctx, storage.Batch{Ops: ops})
		}
		if size > moveBytes {
			return i + 1, m.leave(path, m.move(ctx, path, s))
		}
		more, err := m.moved(path, s)
		if err != nil {
			return i, err
		}
		ops = append(ops, more...)
	}
	if len(ops) == 0 {
		return len(paths), nil
	}
	return len(paths), m.store.Commit(ctx, storage.Batch{Ops: ops})
}
