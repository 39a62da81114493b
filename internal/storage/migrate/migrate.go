// Package migrate copies a store to another one, while no server uses either.
//
// It guarantees that no server unseals from either store meanwhile (both carry a mark,
// [snapshot.MigrationKey]); that an interrupted migration resumes; that a destination with data is
// never overwritten; and that at the end both stores were read again and are equal. The source does
// not change apart from the mark, which is removed at the end. Both stores then hold the same
// cluster, and only one of them may be served.
package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

var (
	// ErrOccupied is returned for a destination that contains data.
	ErrOccupied = errors.New("migrate: the destination already contains data; use an empty one")
	// ErrOther is returned if a store is marked by another migration.
	ErrOther = errors.New("migrate: the storage is marked by another migration; finish that one, or remove its mark " +
		"with -reset")
	// ErrServed is returned for a store that a server has open: the copy would miss its writes.
	ErrServed = errors.New("migrate: a server is using this storage; stop all servers first")
	// ErrDiffers is returned if the copy differs from the source.
	ErrDiffers = errors.New("migrate: the destination differs from the source; start again with an empty destination")
)

// mark is stored in both stores during a migration (JSON, version in "v").
type mark struct {
	Version int       `json:"v"`
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Role    string    `json:"role"`              // "source" or "destination"
	Through string    `json:"through,omitempty"` // in the destination: the last copied key
}

// Progress is reported after each commit.
type Progress struct {
	Entries, Bytes int64
	Last           string // key
}

// Options of a migration.
type Options struct {
	Start    string         // omit keys before this one
	Progress func(Progress) // may be nil
	Now      func() time.Time
	Rand     io.Reader
}

// Run copies from one store to the other, or resumes an interrupted copy.
func Run(ctx context.Context, from, to storage.Store, o Options) (Progress, error) {
	source, ok := from.(storage.Snapshotter)
	if !ok {
		return Progress{}, snapshot.ErrUnsupported
	}
	if _, ok := to.(storage.Snapshotter); !ok {
		return Progress{}, snapshot.ErrUnsupported
	}
	for _, s := range []storage.Store{from, to} {
		if err := unserved(ctx, s); err != nil {
			return Progress{}, err
		}
	}
	m, err := begin(ctx, from, to, o)
	if err != nil {
		return Progress{}, err
	}
	c := &copier{ctx: ctx, to: to, mark: m, start: o.Start, report: o.Progress}
	if err := source.Snapshot(ctx, c.entry); err != nil {
		return c.done, err
	}
	if err := c.flush(); err != nil {
		return c.done, err
	}
	if err := same(ctx, from, to, o.Start); err != nil {
		return c.done, err
	}
	// The destination first: a crash between the two leaves the source out of service, which -reset
	// fixes; the other order could leave both in service.
	for _, s := range []storage.Store{to, from} {
		if err := Reset(ctx, s); err != nil {
			return c.done, err
		}
	}
	return c.done, nil
}

// Reset removes the mark of a migration.
func Reset(ctx context.Context, s storage.Store) error {
	return s.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(snapshot.MigrationKey)}})
}

// unserved refuses a store with a leader. A store that only one process can open fails on opening
// instead.
func unserved(ctx context.Context, s storage.Store) error {
	if st, err := snapshot.Pending(ctx, s); err != nil || st != nil {
		return errors.Join(err, fmt.Errorf("%w; start a server on this storage to finish it", snapshot.ErrUnderWay))
	}
	e, ok := s.(storage.Elector)
	if !ok {
		return nil
	}
	_, _, err := e.Leader(ctx)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = ErrServed
	}
	return err
}

func readMark(ctx context.Context, s storage.Store) (*mark, error) {
	raw, err := s.Get(ctx, snapshot.MigrationKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m mark
	if err := json.Unmarshal(raw, &m); err != nil || m.Version != 1 {
		return nil, fmt.Errorf("%w: entry %s", storage.ErrCorrupt, snapshot.MigrationKey)
	}
	return &m, nil
}

// begin marks both stores, the source first, or finds the marks of the same migration.
func begin(ctx context.Context, from, to storage.Store, o Options) (*mark, error) {
	src, err := readMark(ctx, from)
	if err != nil {
		return nil, err
	}
	dst, err := readMark(ctx, to)
	if err != nil {
		return nil, err
	}
	switch {
	case dst != nil && (src == nil || dst.ID != src.ID || dst.Role != "destination"), src != nil && src.Role != "source":
		return nil, ErrOther
	case dst != nil:
		return dst, nil
	}
	if names, err := to.List(ctx, "", "", 1); err != nil || len(names) > 0 {
		return nil, errors.Join(err, ErrOccupied)
	}
	if src == nil { // otherwise the last attempt crashed between the two marks
		id := make([]byte, 16)
		if _, err := io.ReadFull(o.Rand, id); err != nil {
			return nil, err
		}
		src = &mark{Version: 1, ID: hex.EncodeToString(id), Started: o.Now().UTC(), Role: "source"}
		if err := src.put(ctx, from); err != nil {
			return nil, err
		}
	}
	dst = &mark{Version: 1, ID: src.ID, Started: src.Started, Role: "destination"}
	return dst, dst.put(ctx, to)
}

// put stores a mark if there is none.
func (m *mark) put(ctx context.Context, s storage.Store) error {
	err := s.Commit(ctx, storage.Batch{If: []storage.Condition{storage.IfAbsent(snapshot.MigrationKey)},
		Ops: []storage.Op{m.op()}})
	if errors.Is(err, storage.ErrConflict) {
		return ErrOther
	}
	return err
}

func (m *mark) op() storage.Op {
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings and a time always encode
	}
	return storage.Put(snapshot.MigrationKey, raw)
}

// maxMark is the space in a commit for the mark with the longest key.
const maxMark = 3 * storage.MaxKey

type copier struct {
	ctx    context.Context
	to     storage.Store
	mark   *mark
	start  string
	report func(Progress)
	ops    []storage.Op
	size   int
	done   Progress
}

func (c *copier) entry(key string, value []byte) error {
	if !wanted(key, c.start) || key <= c.mark.Through {
		return nil
	}
	n := len(key) + len(value)
	if len(c.ops) == storage.MaxOps-1 || c.size+n > storage.MaxBytes-maxMark {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.ops = append(c.ops, storage.Put(key, append([]byte(nil), value...)))
	c.size += n
	c.done.Entries++
	c.done.Bytes += int64(n)
	c.done.Last = key
	return nil
}

// flush writes the gathered entries, and their last key in the same commit. If one entry is too
// large for both, it is copied again after an interruption, which is harmless.
func (c *copier) flush() error {
	if len(c.ops) == 0 {
		return nil
	}
	c.mark.Through = c.done.Last
	if c.size <= storage.MaxBytes-maxMark {
		c.ops = append(c.ops, c.mark.op())
	}
	if err := c.to.Commit(c.ctx, storage.Batch{Ops: c.ops}); err != nil {
		return err
	}
	c.ops, c.size = nil, 0
	if c.report != nil {
		c.report(c.done)
	}
	return nil
}

// wanted reports whether an entry is copied.
func wanted(key, start string) bool { return snapshot.Copied(key) && key >= start }

// same reads both stores again and compares them.
func same(ctx context.Context, from, to storage.Store, start string) error {
	a, err := fingerprint(ctx, from, start)
	if err != nil {
		return err
	}
	b, err := fingerprint(ctx, to, start)
	if err != nil {
		return err
	}
	if a != b {
		return ErrDiffers
	}
	return nil
}

func fingerprint(ctx context.Context, s storage.Store, start string) ([sha256.Size]byte, error) {
	h := sha256.New()
	var lengths [8]byte
	err := s.(storage.Snapshotter).Snapshot(ctx, func(key string, value []byte) error {
		if !wanted(key, start) {
			return nil
		}
		binary.BigEndian.PutUint32(lengths[:4], uint32(len(key)))
		binary.BigEndian.PutUint32(lengths[4:], uint32(len(value)))
		h.Write(lengths[:])
		io.WriteString(h, key) // never fails
		h.Write(value)
		return nil
	})
	return [sha256.Size]byte(h.Sum(nil)), err
}
