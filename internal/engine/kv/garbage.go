package kv

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// garbagePrefix is where it is noted which values are still to be removed: "g/" + 8 random bytes in hex.
const garbagePrefix = "g/"

// leftover is such a note:
//
//	version u8 = 1 | id 16 | numbers: u64 each
type leftover struct {
	id      id
	numbers []uint64
}

const leftoverVersion = 1

func (l leftover) marshal() []byte {
	b := cryptobyte.NewBuilder(make([]byte, 0, 1+len(l.id)+8*len(l.numbers)))
	b.AddUint8(leftoverVersion)
	b.AddBytes(l.id[:])
	for _, n := range l.numbers {
		b.AddUint64(n)
	}
	return b.BytesOrPanic() // nothing of it has a length that could overflow
}

func parseLeftover(b []byte) (l leftover, err error) {
	in := cryptobyte.String(b)
	var kind uint8
	if !in.ReadUint8(&kind) || kind != leftoverVersion || !in.CopyBytes(l.id[:]) || len(in)%8 != 0 {
		return l, fmt.Errorf("%w: version %d of a note of what is to be removed is expected", errRecord, leftoverVersion)
	}
	for !in.Empty() {
		var n uint64
		in.ReadUint64(&n) // there are whole ones only
		l.numbers = append(l.numbers, n)
	}
	return l, nil
}

// garbage is the operation that notes what is to be removed.
func (d *versioned) garbage(of id, numbers []uint64) (storage.Op, error) {
	name := make([]byte, 8)
	if _, err := io.ReadFull(d.rnd, name); err != nil {
		return storage.Op{}, fmt.Errorf("kv: naming what is to be removed: %w", err)
	}
	return storage.Put(garbagePrefix+hex.EncodeToString(name), leftover{of, numbers}.marshal()), nil
}

// sweep removes what a note lists, and the note last.
func (d *versioned) sweep(ctx context.Context, key string) error {
	b, err := d.store.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) { // another call did it
		return nil
	}
	if err != nil {
		return err
	}
	l, err := parseLeftover(b)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	for len(l.numbers) > 0 {
		var batch storage.Batch
		n := min(len(l.numbers), mount.MaxOps-1)
		for _, number := range l.numbers[:n] {
			batch.Ops = append(batch.Ops, storage.Delete(d.valueKey(l.id, number)))
		}
		if l.numbers = l.numbers[n:]; len(l.numbers) == 0 {
			batch.Ops = append(batch.Ops, storage.Delete(key))
		}
		if err := d.store.Commit(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// Maintain ends what was begun: an upgrade, and the removal of values.
func (d *versioned) Maintain(ctx context.Context) error {
	if err := d.moveAll(ctx); err != nil {
		return err
	}
	names, err := d.store.List(ctx, garbagePrefix, "", 0)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := d.sweep(ctx, garbagePrefix+name); err != nil {
			return err
		}
	}
	return nil
}
