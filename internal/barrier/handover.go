package barrier

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"golang.org/x/crypto/cryptobyte"
)

// A hand-over lets an unsealed node follow a change of the root key under a Shamir seal, which no
// machine can unwrap. The entry of a generation holds its root key, sealed by the one before:
//
//	version 1 | made i64 (nanoseconds since 1970) | nonce 12 | AES-256-GCM ciphertext of the root key, 32 | tag 16
//
// The additional data is handoverDomain, the path, and what precedes the nonce. It is written with
// the change itself, and only where [Options.HandOver] is set; [Barrier.EndHandOver] removes it.
// While it is there, an attacker who has the previous root key and can read the storage has the new
// one too.
const (
	handoverPrefix  = "core/root-handover/" // + the generation, 20 digits
	handoverVersion = 1
	handoverHeader  = 1 + 8
	handoverSize    = handoverHeader + nonceSize + keySize + tagSize
	handoverDomain  = "sealgate/barrier/root-handover/v1\x00"
)

func handoverPath(generation uint64) string {
	return fmt.Sprintf("%s%020d", handoverPrefix, generation)
}

func handoverAEAD(root *secret.Bytes) (cipher.AEAD, error) {
	block, err := aes.NewCipher(root.Expose())
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func handoverAAD(path string, header []byte) []byte {
	return append([]byte(handoverDomain+path+"\x00"), header...)
}

// handOverOp returns the operation that writes next's root key for the nodes that have old's.
func (b *Barrier) handOverOp(old, next *ring) (storage.Op, error) {
	aead, err := handoverAEAD(old.root)
	if err != nil {
		return storage.Op{}, err
	}
	path := handoverPath(next.generation)
	header := binary.BigEndian.AppendUint64([]byte{handoverVersion}, uint64(b.now().UnixNano()))
	return storage.Put(path, aead.Seal(header, nil, next.root.Expose(), handoverAAD(path, header))), nil
}

// inherit opens the stored record with the root key that was handed over, generation by generation.
func (b *Barrier) inherit(ctx context.Context, record []byte, old *ring) (*ring, error) {
	stored, err := keyringGeneration(record)
	if err != nil {
		return nil, err
	}
	root := old.root.Clone()
	defer func() { root.Destroy() }()
	for generation := old.generation + 1; generation <= stored; generation++ {
		next, err := b.inheritOne(ctx, root, generation)
		if err != nil {
			return nil, fmt.Errorf("%w: it is of generation %d, "+
				"and generation %d was not handed over: %w", ErrWrongRoot, stored, generation, err)
		}
		root.Destroy()
		root = next
	}
	r, err := openRing(record, root, stored)
	if err != nil {
		return nil, err
	}
	r.adopt(old)
	return r, nil
}

func (b *Barrier) inheritOne(ctx context.Context, root *secret.Bytes, generation uint64) (*secret.Bytes, error) {
	path := handoverPath(generation)
	record, err := b.store.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	if len(record) != handoverSize || record[0] != handoverVersion {
		return nil, corrupt(path, "it is no hand-over of a root key")
	}
	aead, err := handoverAEAD(root)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, record[handoverHeader:], handoverAAD(path, record[:handoverHeader]))
	if err != nil {
		return nil, corrupt(path, "it does not open with the root key before")
	}
	return secret.New(plain), nil
}

// EndHandOver removes hand-overs made before a time (nanoseconds since 1970). A node that has not
// followed by then needs the seal.
func (b *Barrier) EndHandOver(ctx context.Context, before int64) error {
	names, err := b.store.List(ctx, handoverPrefix, "", storage.MaxOps)
	if err != nil {
		return err
	}
	var ops []storage.Op
	for _, name := range names {
		record, err := b.store.Get(ctx, handoverPrefix+name)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			continue
		case err != nil:
			return err
		}
		var version uint8
		var made uint64
		in := cryptobyte.String(record)
		if !in.ReadUint8(&version) || !in.ReadUint64(&made) || int64(made) <= before { // a damaged one is of no use
			ops = append(ops, storage.Delete(handoverPrefix+name))
		}
	}
	if len(ops) == 0 {
		return nil
	}
	return b.store.Commit(ctx, storage.Batch{Ops: ops, Epoch: b.epoch.Load()})
}
