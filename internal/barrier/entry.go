package barrier

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
)

// An entry is a value under one term:
//
//	version 1 | term u32 | nonce 12 | AES-256-GCM ciphertext | tag 16
//
// The additional data is entryDomain followed by the path. Nonces are random (NIST SP 800-38D
// 8.2.2), hence the limit of encryptions by one term.
const (
	entryVersion  = 1
	entryHeader   = 1 + 4
	nonceSize     = 12
	tagSize       = 16
	entryOverhead = entryHeader + nonceSize + tagSize
	entryDomain   = "sealgate/barrier/entry/v1\x00"
)

// errUnknownTerm is returned by open for an entry of a term that the keyring does not hold.
var errUnknownTerm = errors.New("barrier: the entry names an unknown term")

// term is one data key.
type term struct {
	id        uint32
	key       *secret.Bytes // 32 bytes; touched under Barrier.change only
	installed time.Time
	sealer    cipher.AEAD // with random nonces
	opener    cipher.AEAD // the same key and format; with the nonce apart it opens in place
	count     counter
}

func newTerm(id uint32, key *secret.Bytes, installed time.Time) (*term, error) {
	block, err := aes.NewCipher(key.Expose())
	if err != nil {
		return nil, err
	}
	sealer, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	opener, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &term{id: id, key: key, installed: installed, sealer: sealer, opener: opener}, nil
}

// seal makes the entry for path. The additional data is built behind the record, in one allocation.
func (t *term) seal(path string, plain []byte) []byte {
	size := entryOverhead + len(plain)
	buf := make([]byte, entryHeader, size+len(entryDomain)+len(path))
	buf[0] = entryVersion
	binary.BigEndian.PutUint32(buf[1:], t.id)
	aad := append(append(buf[size:size], entryDomain...), path...)
	record := t.sealer.Seal(buf, nil, plain, aad)
	return record[:size:size]
}

// aads holds buffers for additional data, so that a read allocates only what the store returned.
var aads = sync.Pool{New: func() any { return new([]byte) }}

// open decrypts an entry in place: the result shares memory with record.
func (r *ring) open(path string, record []byte) ([]byte, error) {
	if len(record) < entryOverhead || record[0] != entryVersion {
		return nil, corrupt(path, "it is no entry of a known format")
	}
	t := r.find(binary.BigEndian.Uint32(record[1:]))
	if t == nil {
		return nil, errUnknownTerm
	}
	if r.trust.refuses(path, t.id) {
		return nil, errDistrusted(path, t.id)
	}
	aad := aads.Get().(*[]byte)
	*aad = append(append((*aad)[:0], entryDomain...), path...)
	nonce, sealed := record[entryHeader:entryHeader+nonceSize], record[entryHeader+nonceSize:]
	plain, err := t.opener.Open(sealed[:0], nonce, sealed, *aad)
	aads.Put(aad)
	if err != nil {
		return nil, corrupt(path, "it does not open with its key: it was changed, or moved from another path")
	}
	return plain[:len(plain):len(plain)], nil
}

// corrupt names the path in an error that wraps storage.ErrCorrupt.
func corrupt(path, what string) error {
	return fmt.Errorf("%w: the entry %q: %s", storage.ErrCorrupt, path, what)
}
