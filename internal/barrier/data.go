package barrier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// Get returns the plaintext at path. Its errors are those of storage.Store, ErrSealed, and
// storage.ErrCorrupt naming the path.
func (b *Barrier) Get(ctx context.Context, path string) ([]byte, error) {
	if m := b.meter.Load(); m != nil {
		begun, working := time.Now(), m.busy.Load()
		defer func() { m.observe(time.Since(begun), working) }()
	}
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	record, err := b.store.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := b.passed(r, path, record); err != nil {
		return nil, err
	}
	plain, err := r.open(path, record)
	if errors.Is(err, errUnknownTerm) {
		return b.openUnknown(ctx, path, record)
	}
	return plain, err
}

// openUnknown opens an entry of a term that was added since this ring was read: by another node, or
// by a rotation since this read began.
func (b *Barrier) openUnknown(ctx context.Context, path string, record []byte) ([]byte, error) {
	id := binary.BigEndian.Uint32(record[1:])
	if err := b.follow(ctx, id); err != nil {
		return nil, fmt.Errorf("barrier: the entry %q names term %d, and reading the keyring again failed: %w", path, id, err)
	}
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	plain, err := r.open(path, record)
	if errors.Is(err, errUnknownTerm) {
		return nil, corrupt(path, fmt.Sprintf("it names term %d, which is not in the keyring", id))
	}
	return plain, err
}

// follow reloads unless the term was added meanwhile.
func (b *Barrier) follow(ctx context.Context, id uint32) error {
	b.change.Lock()
	defer b.change.Unlock()
	if r := b.ring.Load(); r != nil && r.find(id) != nil {
		return nil
	}
	b.counting.Lock()
	defer b.counting.Unlock()
	return b.reload(ctx)
}

// List is storage.Store's List: paths are not secret.
func (b *Barrier) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	if b.Sealed() {
		return nil, ErrSealed
	}
	return b.store.List(ctx, prefix, after, limit)
}

// Commit is storage.Store's Commit with plaintext values, and at most storage.MaxOps-OwnOps
// operations and conditions. Of the conditions only IfAbsent is supported (ErrCondition). An epoch
// in the batch replaces Fence's.
func (b *Barrier) Commit(ctx context.Context, batch storage.Batch) error {
	if err := checkBatch(batch); err != nil {
		return err
	}
	b.writing.RLock()
	defer b.writing.RUnlock()
	r, err := b.writable(ctx)
	if err != nil {
		return err
	}
	out := storage.Batch{If: batch.If, Ops: make([]storage.Op, len(batch.Ops)), Epoch: batch.Epoch}
	if out.Epoch == 0 {
		out.Epoch = b.epoch.Load()
	}
	puts := 0
	for _, op := range batch.Ops {
		if !op.Delete {
			puts++
		}
	}
	if puts > 0 {
		if err := b.count(ctx, r.active, puts); err != nil {
			return err
		}
	}
	for i, op := range batch.Ops {
		out.Ops[i] = op
		if !op.Delete {
			out.Ops[i].Value = r.active.seal(op.Key, op.Value)
		}
	}
	return b.commit(ctx, out)
}

// writable returns the ring to encrypt with. Where it is unknown what is stored, it reads that
// first.
func (b *Barrier) writable(ctx context.Context) (*ring, error) {
	r := b.ring.Load()
	if r != nil && r.frozen {
		if err := b.Reload(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		r = b.ring.Load()
	}
	if r == nil {
		return nil, ErrSealed
	}
	return r, nil
}

// checkBatch refuses before encryption what the storage would refuse after it.
func checkBatch(batch storage.Batch) error {
	if n := len(batch.Ops) + len(batch.If); n > storage.MaxOps-OwnOps {
		return fmt.Errorf("%w: %d operations and conditions; at most %d are allowed",
			storage.ErrTooLarge, n, storage.MaxOps-OwnOps)
	}
	if err := batch.Check(); err != nil {
		return err
	}
	size := 0
	for _, op := range batch.Ops {
		if reserved(op.Key) {
			return fmt.Errorf("%w: %q", ErrReserved, op.Key)
		}
		size += len(op.Key)
		if !op.Delete {
			size += len(op.Value) + entryOverhead
		}
	}
	for _, c := range batch.If {
		if !c.Absent {
			return fmt.Errorf("%w: %q", ErrCondition, c.Key)
		}
		size += len(c.Key)
	}
	if size > storage.MaxBytes {
		return fmt.Errorf("%w: %d bytes once sealed; at most %d are allowed", storage.ErrTooLarge, size, storage.MaxBytes)
	}
	return nil
}

func reserved(path string) bool {
	return path == KeyringPath || path == countsPath || path == censusPath
}
