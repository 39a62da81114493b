package node

import (
	"context"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/secret"
)

// StoredEntries checks the entries of a storage that no node has opened. It writes nothing.
type StoredEntries struct{ archive *barrier.Archive }

// OpenEntries opens the stored keyring by the root key, with the Get of a store.
func OpenEntries(ctx context.Context, get func(context.Context, string) ([]byte, error), root *secret.Bytes,
	generation uint64) (*StoredEntries, error) {
	keyring, err := get(ctx, barrier.KeyringPath)
	if err != nil {
		return nil, fmt.Errorf("reading the keyring: %w", err)
	}
	archive, err := barrier.OpenArchive(keyring, root, generation)
	if err != nil {
		return nil, fmt.Errorf("opening the keyring: %w", err)
	}
	return &StoredEntries{archive}, nil
}

// Check proves that an entry decrypts at its place. The few that are stored without the barrier
// pass.
func (s *StoredEntries) Check(key string, value []byte) error {
	if outsideBarrier(key) {
		return nil
	}
	return s.archive.Check(key, value)
}

// Close wipes the keys.
func (s *StoredEntries) Close() { s.archive.Close() }
