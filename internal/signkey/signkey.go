// Package signkey keeps Ed25519 keys in entries behind the barrier, and lends them for the time of
// one signature.
//
// Each key signs for one purpose: transcripts and snapshots have keys of their own, so that one can
// be replaced without the other. What is signed starts with the domain of its purpose all the same.
//
// It guarantees that seed and key are overwritten when the caller is done: no memory keeps them
// between two signatures.
//
// Stays compatible: the entry, version u8 = 1 | seed 32 | what the purpose adds.
package signkey

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/secret"
)

const (
	version = 1
	// HeadSize is the size of version and seed.
	HeadSize = 1 + ed25519.SeedSize
)

// ErrEntry is returned for an entry that is not one of this package.
var ErrEntry = errors.New("signkey: the entry of a signing key is not in a format that this program reads")

// Entries reads entries behind the barrier.
type Entries interface {
	Get(ctx context.Context, path string) ([]byte, error)
}

// New returns the entry of a new key, without an addition, and its public half. The caller wipes
// the entry.
func New(rnd io.Reader) (entry []byte, public ed25519.PublicKey, err error) {
	seed, err := secret.Random(rnd, ed25519.SeedSize)
	if err != nil {
		return nil, nil, err
	}
	defer seed.Destroy()
	entry = append([]byte{version}, seed.Expose()...)
	err = use(entry, func(key ed25519.PrivateKey, _ []byte) error {
		public = Public(key)
		return nil
	})
	return entry, public, err
}

// Public returns a copy of the public half.
func Public(key ed25519.PrivateKey) ed25519.PublicKey {
	return append(ed25519.PublicKey(nil), key[ed25519.SeedSize:]...)
}

// With calls f with the key of an entry and the addition of its purpose, both valid until f
// returns. The errors are those of entries and of f, and [ErrEntry].
func With(ctx context.Context, entries Entries, path string,
	f func(key ed25519.PrivateKey, addition []byte) error) (err error) {
	secret.Do(func() {
		var raw []byte
		if raw, err = entries.Get(ctx, path); err != nil {
			return
		}
		defer clear(raw)
		if err = use(raw, f); errors.Is(err, ErrEntry) {
			err = fmt.Errorf("%w: %s", err, path)
		}
	})
	return err
}

// use is on the heap, because crypto/ed25519 takes keys from nowhere else (it throws for a key in a
// locked page).
func use(entry []byte, f func(ed25519.PrivateKey, []byte) error) error {
	if len(entry) < HeadSize || entry[0] != version {
		return ErrEntry
	}
	key := ed25519.NewKeyFromSeed(entry[1:HeadSize])
	defer clear(key)
	return f(key, entry[HeadSize:])
}
