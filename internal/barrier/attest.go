package barrier

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
)

// SealEntry returns the entry that Commit would write at path, and writes nothing. A caller that
// opens it knows that a barrier with the same keys made it.
func (b *Barrier) SealEntry(ctx context.Context, path string, plain []byte) ([]byte, error) {
	if err := checkBatch(storage.Batch{Ops: []storage.Op{storage.Put(path, plain)}}); err != nil {
		return nil, err
	}
	b.writing.RLock()
	defer b.writing.RUnlock()
	r, err := b.writable(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.count(ctx, r.active, 1); err != nil {
		return nil, err
	}
	return r.active.seal(path, plain), nil
}

// ErrNotOurs is returned by OpenEntry for what no key of this keyring sealed under that path.
var ErrNotOurs = errors.New("barrier: not sealed by a key of this keyring")

// OpenEntry opens what SealEntry returned, and leaves it as it is. What a distrusted term sealed is
// not ours.
func (b *Barrier) OpenEntry(path string, entry []byte) ([]byte, error) {
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	if id, ok := termOf(entry); !ok || id < r.trust.from {
		return nil, ErrNotOurs
	}
	plain, err := r.open(path, append([]byte(nil), entry...))
	if err != nil {
		return nil, ErrNotOurs
	}
	return plain, nil
}

// TermOf returns the term that an entry names; ok is false for what is no entry.
func TermOf(entry []byte) (id uint32, ok bool) { return termOf(entry) }

// Opens returns nil where the root key opens a keyring record that is not in this storage, such as
// one in a snapshot.
func Opens(record []byte, root *secret.Bytes, generation uint64) error {
	r, err := openRing(record, root, generation)
	if err != nil {
		return err
	}
	r.destroy(nil)
	return nil
}

// Epoch returns the epoch that Fence set; 0 where there is no election.
func (b *Barrier) Epoch() uint64 { return b.epoch.Load() }
