package device

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// usedPrefix has a record of each key that an entry ever made, imported or adopted, by its type
// and the SHA-256 of its identity in hexadecimal. It outlives the entry: the client that
// imported the key knows its bytes, so that it must not become the key of a seal.
const usedPrefix = Prefix + "used/" // + type/hash

// UsedKey is a key that mounts use or have used.
type UsedKey struct {
	Type     string `json:"type"`
	Identity string `json:"identity"`
	Label    string `json:"label"` // of the entry
}

func (k UsedKey) key() string { return usedPrefix + k.name() }

func (k UsedKey) name() string {
	sum := sha256.Sum256([]byte(k.Identity))
	return k.Type + "/" + hex.EncodeToString(sum[:])
}

// noteUsed records a key before it is made or imported, or once it is adopted.
func (r *Registry) noteUsed(ctx context.Context, e *Entry, identity string) error {
	if identity == "" {
		return nil
	}
	k := UsedKey{Type: e.Type, Identity: identity, Label: e.Label()}
	_, err := r.base.Get(ctx, k.key())
	if err == nil {
		return nil
	}
	if errors.Is(err, storage.ErrNotFound) {
		raw, failed := marshal(&k)
		if failed != nil {
			return failed
		}
		defer raw.Destroy()
		err = r.base.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(k.key(), raw.Expose())}})
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "nothing was changed: the use of the key could not be recorded; try again")
	}
	return nil
}

// noteNew records a key by the name under which it is to be made or imported.
func (r *Registry) noteNew(ctx context.Context, e *Entry, l *link, ref Ref) error {
	if n, ok := l.Connection.(Namer); ok {
		return r.noteUsed(ctx, e, n.Identity(ref))
	}
	return nil
}

// Used lists the keys that mounts use or have used, of every type.
func (r *Registry) Used(ctx context.Context) ([]UsedKey, error) {
	s, err := r.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []UsedKey
	for _, face := range s.entries { // those of an older program have no record of their own
		for _, e := range face {
			if e.Identity != "" {
				out = append(out, UsedKey{e.Type, e.Identity, e.Label()})
			}
		}
	}
	err = r.each(ctx, usedPrefix, func(b []byte) error {
		var k UsedKey
		err := unmarshal(b, &k)
		out = append(out, k)
		return err
	})
	return out, err
}
