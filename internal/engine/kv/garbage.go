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

// garbagePrefix is the key prefix of notes about values to remove: "g/" + 8 random bytes in hex.
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
	return b.BytesOrPanic() // no length prefix, so nothing can overflow
}

func parseLeftover(b []byte) (l leftover, err error) {
	in := cryptobyte.String(b)
	var kind uint8
	if !in.ReadUint8(&kind) || kind != leftoverVersion || !in.CopyBytes(l.id[:]) || len(in)%8 != 0 {
		return l, fmt.Errorf("%w: a note of values to remove must be version %d", errRecord, leftoverVersion)
	}
	for !in.Empty() {
		var n uint64
		in.ReadUint64(&n) // the length is a multiple of 8
		l.numbers = append(l.numbers, n)
	}
	return l, nil
}

// garbage returns the operation that notes values to remove.
func (d *versioned) garbage(of id, numbers []uint64) (storage.Op, error) {
	name := make([]byte, 8)
	if _, err := io.ReadFull(d.rnd, name); err != nil {
		return storage.Op{}, fmt.Errorf("kv: cannot name a note of values to remove: %w", err)
	}
	return storage.Put(garbagePrefix+hex.EncodeToString(name), leftover{of, numbers}.marshal()), nil
}

// sweep removes the values that a note lists, then the note.
func (d *versioned) sweep(ctx context.Context, key string) error {
	b, err := d.store.Get(ctx, key)
	if errors.Is(err, storage.ErrNotFound) { // removed by a concurrent call
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

// Maintain finishes interrupted work: an upgrade, and the removal of values.
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
