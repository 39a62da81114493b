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

// Keys outside the barrier. None of them is in a snapshot.
const (
	// StateKey holds the state of a restore that was decided: a store that has it is between two sets of data, and nobody must unseal from it.
	StateKey = "core/restore/state"
	// RestoredKey is there from the end of a restore until the barrier key was rotated: what the restored keyring counts as encryptions is less than
	// the truth, because its keys went on being used after the snapshot.
	RestoredKey = "core/restored"
	// MigrationKey is held by a store that is being copied to another.
	MigrationKey = "core/migration"

	restorePrefix = "core/restore/"
	piecePrefix   = "core/restore/piece/"
)

// pieceSize leaves room for the key in a commit.
const pieceSize = 512 << 10

// Copied reports whether an entry belongs to the data, rather than to what this package does with it.
func Copied(key string) bool {
	return !strings.HasPrefix(key, restorePrefix) && key != RestoredKey && key != MigrationKey
}

// State is a restore that was decided and is not finished (JSON, version in "v").
type State struct {
	Version int       `json:"v"`
	Pieces  int       `json:"pieces"` // at core/restore/piece/
	Started time.Time `json:"started"`
	Meta    Meta      `json:"meta"` // of the snapshot
}

// Pending returns the restore that was decided and is not finished, or nil.
func Pending(ctx context.Context, store storage.Store) (*State, error) {
	raw, err := store.Get(ctx, StateKey)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var st State
	if err := json.Unmarshal(raw, &st); err != nil || st.Version != FormatVersion || st.Pieces < 1 {
		return nil, fmt.Errorf("%w: entry %s", storage.ErrCorrupt, StateKey)
	}
	return &st, nil
}

// Stage copies a snapshot beside the data in use, and decides nothing. The archive must have been checked by [Read]. What an earlier attempt
// left is overwritten. It returns the number of pieces.
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
	var buffer []byte
	put := func(most int) error {
		for len(buffer) >= most {
			n := min(len(buffer), pieceSize)
			pieces++
			op := storage.Put(pieceKey(pieces), buffer[:n])
			if err := store.Commit(ctx, storage.Batch{Epoch: epoch, Ops: []storage.Op{op}}); err != nil {
				return err
			}
			buffer = buffer[:copy(buffer, buffer[n:])]
			if len(buffer) == 0 {
				return nil
			}
		}
		return nil
	}
	_, err = Read(ctx, archive, func(key string, value []byte) error {
		buffer = appendEntry(buffer, key, value)
		return put(pieceSize)
	})
	if err == nil && len(buffer) > 0 {
		err = put(1)
	}
	if err == nil && pieces == 0 {
		err = fmt.Errorf("%w: it holds no entry", ErrDamaged)
	}
	return pieces, err
}

func pieceKey(n int) string { return fmt.Sprintf("%s%08d", piecePrefix, n) }

// Decide makes up the mind of whoever reads the store: from this commit on it holds the snapshot, even if [Finish] has to be called by another.
func Decide(ctx context.Context, store storage.Store, epoch uint64, st State) error {
	st.Version = FormatVersion
	raw, err := json.Marshal(st)
	if err != nil {
		return err
	}
	err = store.Commit(ctx, storage.Batch{Epoch: epoch, If: []storage.Condition{storage.IfAbsent(StateKey)},
		Ops: []storage.Op{storage.Put(StateKey, raw)}})
	if errors.Is(err, storage.ErrConflict) {
		return ErrUnderWay
	}
	return err
}

// Finish replaces the data by what was staged, and may be called any number of times; without a restore that was decided it does nothing.
func Finish(ctx context.Context, store storage.Store, epoch uint64) error {
	st, err := Pending(ctx, store)
	if err != nil || st == nil {
		return err
	}
	source, ok := store.(storage.Snapshotter)
	if !ok {
		return ErrUnsupported
	}
	m := &merge{ctx: ctx, store: store, epoch: epoch, staged: &decoder{r: &pieces{ctx: ctx, store: store, last: st.Pieces}}}
	if err := m.run(source); err != nil {
		return err
	}
	end := []storage.Op{storage.Put(RestoredKey, []byte(st.Meta.Created.UTC().Format(time.RFC3339Nano))), storage.Delete(StateKey)}
	if err := store.Commit(ctx, storage.Batch{Epoch: epoch, Ops: end}); err != nil {
		return err
	}
	return Clean(ctx, store, epoch)
}

// Clean removes what was staged. It must not be called between [Decide] and the end of [Finish].
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

// merge makes a store equal to a staged snapshot by walking along both in key order: what is equal is left alone, so that
// a repetition writes only what is missing.
type merge struct {
	ctx    context.Context
	store  storage.Store
	epoch  uint64
	staged *decoder
	key    string // next of the staged entries; "" behind the last
	value  []byte
	ops    []storage.Op
	size   int
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

// advance takes the next staged entry.
func (m *merge) advance() (err error) {
	m.key, m.value, err = m.staged.next()
	if errors.Is(err, io.EOF) {
		m.key, err = "", nil
	}
	return err
}

// put writes the staged entry and takes the next.
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
	err := m.store.Commit(m.ctx, storage.Batch{Epoch: m.epoch, Ops: m.ops})
	m.ops, m.size = nil, 0
	return err
}

// pieces reads what was staged.
type pieces struct {
	ctx   context.Context
	store storage.Store
	next  int // number of the last piece that was read
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
