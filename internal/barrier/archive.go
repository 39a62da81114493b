package barrier

import (
	"encoding/binary"

	"github.com/sealgate/sealgate/internal/secret"
)

// Archive opens entries of a copy of a storage, such as a snapshot. It writes nothing.
type Archive struct{ r *ring }

// OpenArchive opens the keyring record of a copy.
func OpenArchive(keyring []byte, root *secret.Bytes, generation uint64) (*Archive, error) {
	r, err := openRing(keyring, root, generation)
	if err != nil {
		return nil, err
	}
	return &Archive{r}, nil
}

// Check proves that an entry of the copy opens. It keeps the record as it is.
func (a *Archive) Check(path string, record []byte) error {
	plain, err := a.r.open(path, append([]byte(nil), record...))
	clear(plain)
	return err
}

// Open returns what [Barrier.SealEntry] sealed in the copied storage.
func (a *Archive) Open(path string, record []byte) ([]byte, error) {
	return a.r.open(path, append([]byte(nil), record...))
}

// Seal returns the entry of a path under the newest term. It counts no encryption:
// what it is for, a snapshot, gets a new term when it is restored.
func (a *Archive) Seal(path string, plain []byte) []byte { return a.r.active.seal(path, plain) }

// Reseal returns an entry with another content under the term of the one that it replaces, so that
// the numbers of entries per term stay right.
func (a *Archive) Reseal(path string, record, plain []byte) ([]byte, error) {
	old, err := a.r.open(path, append([]byte(nil), record...))
	if err != nil {
		return nil, err
	}
	clear(old)
	return a.r.find(binary.BigEndian.Uint32(record[1:])).seal(path, plain), nil
}

// Close wipes the keys.
func (a *Archive) Close() { a.r.destroy(nil) }
