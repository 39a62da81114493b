package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// Keys outside the barrier. Snapshots never contain them.
const (
	// StateKey holds the state of a decided restore. A store that has it is between two sets of
	// data, and no node may unseal from it.
	StateKey = "core/restore/state"
	// RestoredKey exists from the end of a restore until the barrier key is rotated: the restored
	// keyring undercounts encryptions, because its keys were used after the snapshot.
	RestoredKey = "core/restored"
	// MigrationKey exists in a store while it is copied to another.
	MigrationKey = "core/migration"

	restorePrefix = "core/restore/"
	piecePrefix   = "core/restore/piece/"
)

// pieceSize leaves room for the key in a commit.
const pieceSize = 512 << 10

// Copied reports whether an entry belongs to the data rather than to this package's own
// bookkeeping.
func Copied(key string) bool {
	return !strings.HasPrefix(key, restorePrefix) && key != RestoredKey && key != MigrationKey
}

// stateVersion is the format version of [State].
const stateVersion = 1

// State is a decided restore that is not finished (JSON, version in "v").
type State struct {
	Version int       `json:"v"`
	Pieces  int       `json:"pieces"` // at core/restore/piece/
	Started time.Time `json:"started"`
	Meta    Meta      `json:"meta"` // of the snapshot
}

// Pending returns the decided restore that is not finished, or nil.
func Pending(ctx context.Context, store storage.Store) (*State, error) {
	raw, err := store.Get(ctx, StateKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var st State
	if err := json.Unmarshal(raw, &st); err != nil || st.Version != stateVersion || st.Pieces < 1 {
		return nil, fmt.Errorf("%w: entry %s", storage.ErrCorrupt, StateKey)
	}
	return &st, nil
}

// Stage copies a snapshot beside the current data and decides nothing. [Read] must have verified
// the archive. It overwrites the remains of an earlier attempt. It returns the number of pieces.
func Stage(ctx context.Context, store storage.Store, epoch uint64, archive io.Reader) (pieces int, err error) {
	st, err := Pending(ctx, store)
	if err != nil {
		return 0, err
	}
	if st != nil {
		return 0, ErrUnderWay
	}
	if err := Clean(ctx, store, epoch); err != nil {
		return 0, err
	}
	c := newCommits(ctx, store, epoch)
	buffer := make([]byte, 0, pieceSize+pieceSize/8)
	put := func() error {
		n := min(len(buffer), pieceSize)
		pieces++
		rest := append(make([]byte, 0, cap(buffer)), buffer[n:]...)
		err := c.add([]storage.Op{storage.Put(pieceKey(pieces), buffer[:n:n])})
		buffer = rest
		return err
	}
	_, err = Read(ctx, archive, func(key string, value []byte) error {
		buffer = appendEntry(buffer, key, value)
		for len(buffer) >= pieceSize {
			if err := put(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && len(buffer) > 0 {
		err = put()
	}
	if failed := c.wait(); err == nil {
		err = failed
	}
	if err == nil && pieces == 0 {
		err = fmt.Errorf("%w: it holds no entry", ErrDamaged)
	}
	return pieces, err
}

func pieceKey(n int) string { return fmt.Sprintf("%s%08d", piecePrefix, n) }

// Decide makes the staged snapshot the content of the store: from this commit on it counts, even if
// another node has to call [Finish]. It fails with [storage.ErrConflict] where one of the keys in
// absent exists.
func Decide(ctx context.Context, store storage.Store, epoch uint64, st State, absent ...string) error {
	st.Version = stateVersion
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	conditions := []storage.Condition{storage.IfAbsent(StateKey)}
	for _, key := range absent {
		conditions = append(conditions, storage.IfAbsent(key))
	}
	err = store.Commit(ctx, storage.Batch{Epoch: epoch, If: conditions, Ops: []storage.Op{storage.Put(StateKey, raw)}})
	if !errors.Is(err, storage.ErrConflict) {
		return err
	}
	if pending, failed := Pending(ctx, store); len(absent) > 0 && failed == nil && pending == nil {
		return err
	}
	return ErrUnderWay
}

// Finish replaces the data by the staged snapshot, and may be called any number of times; without a
// decided restore it does nothing.
func Finish(ctx context.Context, store storage.Store, epoch uint64) error {
	st, err := Pending(ctx, store)
	if err != nil || st == nil {
		return err
	}
	source, ok := store.(storage.Snapshotter)
	if !ok {
		return ErrUnsupported
	}
	m := &merge{ctx: ctx, commits: newCommits(ctx, store, epoch),
		staged: &decoder{r: &pieces{ctx: ctx, store: store, last: st.Pieces}}}
	err = m.run(source)
	if failed := m.commits.wait(); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	end := []storage.Op{storage.Put(RestoredKey, []byte(st.Meta.Created.UTC().Format(time.RFC3339Nano))),
		storage.Delete(StateKey)}
	if err := store.Commit(ctx, storage.Batch{Epoch: epoch, Ops: end}); err != nil {
		return err
	}
	return Clean(ctx, store, epoch)
}

// Clean removes a staged snapshot. It must not be called between [Decide] and the end of [Finish].
func Clean(ctx context.Context, store storage.Store, epoch uint64) error {
	for {
		names, err := store.List(ctx, piecePrefix, "", storage.MaxOps)
		if err != nil || len(names) == 0 {
			return err
		}
		var ops []storage.Op
		for _, name := range names {
			ops = append(ops, storage.Delete(piecePrefix+name))
		}
		if err := store.Commit(ctx, storage.Batch{Epoch: epoch, Ops: ops}); err != nil {
			return err
		}
	}
}

// merge makes a store equal to a staged snapshot by walking both in key order. It does not write
// equal entries, so a repetition writes only what is missing.
type merge struct {
	ctx     context.Context
	commits *commits
	staged  *decoder
	key     string // of the next staged entry; "" after the last
	value   []byte
	ops     []storage.Op
	size    int
}

func (m *merge) run(source storage.Snapshotter) error {
	if err := m.advance(); err != nil {
		return err
	}
	err := source.Snapshot(m.ctx, func(key string, value []byte) error {
		if !Copied(key) {
			return nil
		}
		for m.key != "" && m.key < key {
			if err := m.put(); err != nil {
				return err
			}
		}
		switch {
		case m.key != key:
			return m.do(storage.Delete(key))
		case bytes.Equal(m.value, value):
			return m.advance()
		}
		return m.put()
	})
	for err == nil && m.key != "" {
		err = m.put()
	}
	if err != nil {
		return err
	}
	return m.flush()
}

// advance reads the next staged entry.
func (m *merge) advance() (err error) {
	m.key, m.value, err = m.staged.next()
	if errors.Is(err, io.EOF) {
		m.key, err = "", nil
	}
	return err
}

// put writes the staged entry and advances.
func (m *merge) put() error {
	if err := m.do(storage.Put(m.key, m.value)); err != nil {
		return err
	}
	return m.advance()
}

func (m *merge) do(op storage.Op) error {
	if n := len(op.Key) + len(op.Value); len(m.ops) == storage.MaxOps || m.size+n > storage.MaxBytes {
		if err := m.flush(); err != nil {
			return err
		}
	}
	m.ops, m.size = append(m.ops, op), m.size+len(op.Key)+len(op.Value)
	return nil
}

func (m *merge) flush() error {
	if len(m.ops) == 0 {
		return nil
	}
	err := m.commits.add(m.ops)
	m.ops, m.size = nil, 0
	return err
}

// pieces is a reader of the staged snapshot.
type pieces struct {
	ctx   context.Context
	store storage.Store
	next  int // number of the last piece read
	last  int
	rest  []byte
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.next == p.last {
			return 0, io.EOF
		}
		p.next++
		piece, err := p.store.Get(p.ctx, pieceKey(p.next))
		if errors.Is(err, storage.ErrNotFound) {
			return 0, fmt.Errorf("%w: piece %d of a restore is missing", storage.ErrCorrupt, p.next)
		}
		if err != nil {
			return 0, err
		}
		p.rest = piece
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
