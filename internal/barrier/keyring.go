package barrier

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
)

// The keyring's record:
//
//	version 1 | root generation u64 | nonce 12 | AES-256-GCM ciphertext under the root key | tag 16
//
// The additional data is keyringDomain followed by the generation. The plaintext:
//
//	active term u32 | length u24 | { term u32 | key 32 | installed i64 (nanoseconds since 1970) } ...
//
// with terms in ascending order, from 1. Terms that were retired are missing.
//
// Version 3 is written while the ring has terms whose keys others may know ([Tx.Distrust]). Its
// domain is keyringDomainDistrust, and its plaintext:
//
//	active term u32 | trusted u32 | refused u32 | length u24 | { as above } ...
//
// Others may know the terms before trusted, which is in the list. Control records of the terms
// before refused do not open. The root key seals the record: the older terms alone change nothing.
// Version 2 is unused: a golden vector has it as one that no program knows.
const (
	keyringVersion  = 1
	keyringDistrust = 3
	keyringHeader   = 1 + 8
	keyringOverhead = keyringHeader + nonceSize + tagSize
	keyringDomain   = "sealgate/barrier/keyring/v1\x00" + KeyringPath + "\x00"

	keyringDomainDistrust = "sealgate/barrier/keyring/v3\x00" + KeyringPath + "\x00"

	keySize      = 32
	termSize     = 4 + keySize + 8
	plainHeader  = 4 + 3
	plainTrust   = 4 + 4
	maxTerms     = 8192 // so that the keyring and the condition on the one before fit into one commit
	maxPlainSize = plainHeader + plainTrust + maxTerms*termSize
)

// ring is a keyring as readers see it. It is immutable but for the counters of its terms: a change
// makes another ring.
type ring struct {
	root       *secret.Bytes // touched under Barrier.change only
	generation uint64
	record     []byte  // as it is stored
	terms      []*term // ascending by id
	active     *term
	trust      trust
	frozen     bool // it is not known whether this is what is stored
}

// find returns the term with an id, or nil.
func (r *ring) find(id uint32) *term {
	if r.active.id == id {
		return r.active
	}
	i, ok := slices.BinarySearchFunc(r.terms, id, func(t *term, id uint32) int { return cmp.Compare(t.id, id) })
	if !ok {
		return nil
	}
	return r.terms[i]
}

// with returns a ring that has t as its active term. It shares the root key and the older terms.
func (r *ring) with(t *term) *ring {
	return &ring{root: r.root, generation: r.generation, terms: append(slices.Clip(slices.Clone(r.terms)), t), active: t,
		trust: r.trust}
}

// marshal makes the plaintext of the record. The caller clears it.
func (r *ring) marshal() []byte {
	b := cryptobyte.NewFixedBuilder(make([]byte, 0, plainHeader+plainTrust+len(r.terms)*termSize))
	b.AddUint32(r.active.id)
	r.trust.add(b)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, t := range r.terms {
			b.AddUint32(t.id)
			b.AddBytes(t.key.Expose())
			b.AddUint64(uint64(t.installed.UnixNano()))
		}
	})
	return b.BytesOrPanic() // the sizes are those of the buffer
}

// unmarshalRing reads the plaintext of a record of a version, and copies the keys.
func unmarshalRing(version uint8, plain []byte) (*ring, error) {
	var active uint32
	var list cryptobyte.String
	r := &ring{}
	in := cryptobyte.String(plain)
	if len(plain) > maxPlainSize || !in.ReadUint32(&active) || version == keyringDistrust && !r.trust.read(&in) ||
		!in.ReadUint24LengthPrefixed(&list) || !in.Empty() {
		return nil, corrupt(KeyringPath, "the list of terms is malformed")
	}
	for last := uint32(0); !list.Empty(); {
		var id uint32
		var key []byte
		var installed uint64
		if !list.ReadUint32(&id) || !list.ReadBytes(&key, keySize) || !list.ReadUint64(&installed) || id <= last {
			return nil, corrupt(KeyringPath, "a term is malformed, or out of order")
		}
		t, err := newTerm(id, secret.Locked(key), time.Unix(0, int64(installed)).UTC())
		if err != nil {
			return nil, err
		}
		r.terms = append(r.terms, t)
		if id == active {
			r.active = t
		}
		last = id
	}
	if r.active == nil {
		return nil, corrupt(KeyringPath, "the active term is not in the list")
	}
	if r.trust.from > 0 && (r.find(r.trust.from) == nil || r.trust.from > active) {
		return nil, corrupt(KeyringPath, "the oldest trusted term is not in the list")
	}
	return r, nil
}

// seal fills r.record.
func (r *ring) seal() (err error) {
	secret.Do(func() { err = r.encrypt() })
	return err
}

func (r *ring) encrypt() error {
	if len(r.terms) > maxTerms {
		return fmt.Errorf("%w (%d)", ErrTerms, maxTerms)
	}
	block, err := aes.NewCipher(r.root.Expose())
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	plain := r.marshal()
	defer clear(plain)
	version := r.trust.version()
	header := binary.BigEndian.AppendUint64([]byte{version}, r.generation)
	r.record = aead.Seal(header, nil, plain, keyringAAD(version, r.generation))
	return nil
}

func keyringAAD(version uint8, generation uint64) []byte {
	domain := keyringDomain
	if version == keyringDistrust {
		domain = keyringDomainDistrust
	}
	return binary.BigEndian.AppendUint64([]byte(domain), generation)
}

// keyringGeneration returns the generation of the root key that seals a record.
func keyringGeneration(record []byte) (uint64, error) {
	switch {
	case len(record) < keyringOverhead+plainHeader || len(record) > keyringOverhead+maxPlainSize:
		return 0, corrupt(KeyringPath, "its length is none of a keyring")
	case record[0] != keyringVersion && record[0] != keyringDistrust:
		return 0, fmt.Errorf("%w: the keyring has format %d; this program knows formats %d and %d: was it written by a "+
			"newer one?", storage.ErrCorrupt, record[0], keyringVersion, keyringDistrust)
	}
	return binary.BigEndian.Uint64(record[1:]), nil
}

// openRing opens a record with its root key, of which the ring keeps a copy.
func openRing(record []byte, root *secret.Bytes, generation uint64) (r *ring, err error) {
	secret.Do(func() { r, err = decryptRing(record, root, generation) })
	return r, err
}

func decryptRing(record []byte, root *secret.Bytes, generation uint64) (*ring, error) {
	stored, err := keyringGeneration(record)
	if err != nil {
		return nil, err
	}
	if stored != generation {
		return nil, fmt.Errorf("%w: the keyring is sealed by generation %d of the root key, the key given is generation %d",
			ErrWrongRoot, stored, generation)
	}
	block, err := aes.NewCipher(root.Expose())
	if err != nil || root.Len() != keySize {
		return nil, fmt.Errorf("%w: it has %d bytes instead of %d", ErrWrongRoot, root.Len(), keySize)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	nonce, sealed := record[keyringHeader:keyringHeader+nonceSize], record[keyringHeader+nonceSize:]
	plain, err := aead.Open(nil, nonce, sealed, keyringAAD(record[0], generation))
	if err != nil {
		return nil, fmt.Errorf("%w: the key is another one, or the record %q was changed", ErrWrongRoot, KeyringPath)
	}
	defer clear(plain)
	r, err := unmarshalRing(record[0], plain)
	if err != nil {
		return nil, err
	}
	r.root, r.generation, r.record = secret.Locked(root.Expose()), generation, bytes.Clone(record)
	return r, nil
}

// adopt makes r share the terms that old also has, and so their counters.
func (r *ring) adopt(old *ring) {
	for i, t := range r.terms {
		if o := old.find(t.id); o != nil && o.key.Equal(t.key) {
			t.key.Destroy()
			r.terms[i] = o
			if r.active == t {
				r.active = o
			}
		}
	}
}

// destroy overwrites the keys of the ring, except those that keep uses.
func (r *ring) destroy(keep *ring) {
	if keep == nil || keep.root != r.root {
		r.root.Destroy()
	}
	for _, t := range r.terms {
		if keep == nil || keep.find(t.id) != t {
			t.key.Destroy()
		}
	}
}
