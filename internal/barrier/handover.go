package barrier

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
)

// A hand-over lets an unsealed node follow a change of the root key under a Shamir seal, which no
// machine can unwrap. The entry of a generation holds its root key, encrypted to each node that has
// announced a key of its own, and all of that encrypted by the root key before:
//
//	version 2 | made i64 (nanoseconds since 1970) | nonce 12 | AES-256-GCM ciphertext | tag 16
//
// The additional data is handoverDomain, the path, and what precedes the nonce. The plaintext:
//
//	count u8 | { node id u8-len | HPKE of the root key u16-len: encapsulated key, ciphertext } ...
//
// HPKE is MLKEM768-X25519, HKDF-SHA-256 and AES-256-GCM, with handoverDomain and the path as info.
// The root key before authenticates the entry; it does not open it. An attacker who has that key
// and reads the storage learns no new one, because the nodes' private keys are in their memory
// alone.
//
// It is written with the change itself, and only where [Options.HandOver] is set;
// [Barrier.EndHandOver] removes it.
//
// Version 1 held the root key under the root key before, without the nodes' keys. It is read, and
// never written.
const (
	handoverPrefix       = "core/root-handover/" // + the generation, 20 digits
	handoverVersion      = 2
	handoverVersionPlain = 1
	handoverHeader       = 1 + 8
	handoverSizePlain    = handoverHeader + nonceSize + keySize + tagSize
	handoverDomainPlain  = "sealgate/barrier/root-handover/v1\x00"
	handoverDomain       = "sealgate/barrier/root-handover/v2\x00"
	maxHandover          = 64 << 10
	maxRecipients        = 16 // further nodes need the seal
)

// HandOver is this node's part in hand-overs.
type HandOver struct {
	ID  string // of this node
	key hpke.PrivateKey
	// Recipients returns the other nodes. It is called while the barrier is locked.
	Recipients func() []Recipient
}

// Recipient is a node that new root keys are handed over to.
type Recipient struct {
	ID  string
	Key []byte // as HandOver.PublicKey returns it
}

// NewHandOver makes the key of a node, which stays in memory.
func NewHandOver(id string, recipients func() []Recipient) (*HandOver, error) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("barrier: making a key for hand-overs: %w", err)
	}
	return &HandOver{ID: id, key: key, Recipients: recipients}, nil
}

// PublicKey is the key that the node announces.
func (h *HandOver) PublicKey() []byte { return h.key.PublicKey().Bytes() }

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

func handoverAAD(domain, path string, header []byte) []byte {
	return append([]byte(domain+path+"\x00"), header...)
}

// handOverOp returns the operation that writes next's root key for the other nodes; ok is false
// where there are none.
func (b *Barrier) handOverOp(old, next *ring) (op storage.Op, ok bool, err error) {
	secret.Do(func() { op, ok, err = b.encryptHandOver(old, next) })
	return op, ok, err
}

func (b *Barrier) encryptHandOver(old, next *ring) (op storage.Op, ok bool, err error) {
	recipients := b.handOver.Recipients()
	if len(recipients) > maxRecipients {
		b.log.Warn("the new root key is handed over to some nodes only; the others need the current shares",
			"nodes", len(recipients), "at_most", maxRecipients)
		recipients = recipients[:maxRecipients]
	}
	path := handoverPath(next.generation)
	list := cryptobyte.NewBuilder(nil)
	count := 0
	for _, r := range recipients {
		sealed, err := sealTo(r, path, next.root)
		if err != nil {
			b.log.Warn("a node announced a key that a new root key cannot be encrypted to", "node", r.ID, "error", err)
			continue
		}
		list.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(r.ID)) })
		list.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(sealed) })
		count++
	}
	if count == 0 {
		return op, false, nil
	}
	plain, err := list.Bytes()
	if err != nil {
		return op, false, fmt.Errorf("barrier: encoding a hand-over: %w", err)
	}
	aead, err := handoverAEAD(old.root)
	if err != nil {
		return op, false, err
	}
	header := binary.BigEndian.AppendUint64([]byte{handoverVersion}, uint64(b.now().UnixNano()))
	record := aead.Seal(header, nil, append([]byte{uint8(count)}, plain...), handoverAAD(handoverDomain, path, header))
	return storage.Put(path, record), true, nil
}

// sealTo encrypts a root key to one node.
func sealTo(r Recipient, path string, root *secret.Bytes) ([]byte, error) {
	public, err := hpke.MLKEM768X25519().NewPublicKey(r.Key)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(handoverDomain+path), root.Expose())
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
	if len(record) < handoverHeader+nonceSize+tagSize || len(record) > maxHandover {
		return nil, corrupt(path, "its length is none of a hand-over of a root key")
	}
	var next *secret.Bytes
	secret.Do(func() { next, err = b.decryptHandOver(path, record, root) })
	return next, err
}

func (b *Barrier) decryptHandOver(path string, record []byte, root *secret.Bytes) (*secret.Bytes, error) {
	aead, err := handoverAEAD(root)
	if err != nil {
		return nil, err
	}
	domain := handoverDomain
	switch {
	case record[0] == handoverVersionPlain && len(record) == handoverSizePlain:
		domain = handoverDomainPlain
	case record[0] != handoverVersion:
		return nil, corrupt(path, "it is no hand-over of a known format")
	}
	header := record[:handoverHeader]
	plain, err := aead.Open(nil, nil, record[handoverHeader:], handoverAAD(domain, path, header))
	if err != nil {
		return nil, corrupt(path, "it does not open with the root key before")
	}
	if record[0] == handoverVersionPlain {
		return secret.New(plain), nil
	}
	return b.handOver.open(path, plain)
}

// open finds this node's part of a hand-over, and decrypts it.
func (h *HandOver) open(path string, plain []byte) (*secret.Bytes, error) {
	s := cryptobyte.String(plain)
	var count uint8
	if !s.ReadUint8(&count) {
		return nil, corrupt(path, "the hand-over is malformed")
	}
	for range count {
		var id, sealed cryptobyte.String
		if !s.ReadUint8LengthPrefixed(&id) || !s.ReadUint16LengthPrefixed(&sealed) {
			return nil, corrupt(path, "the hand-over is malformed")
		}
		if string(id) != h.ID || h.key == nil {
			continue
		}
		root, err := hpke.Open(h.key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(handoverDomain+path), sealed)
		if err != nil {
			return nil, corrupt(path, "it does not open with this node's key")
		}
		return secret.New(root), nil
	}
	return nil, fmt.Errorf("barrier: %s: this node had not announced itself to the leader", path)
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
