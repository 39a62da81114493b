package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Note names a key in a device that a version is about to get, or has lost: what a crash leaves in
// the device is found by it. It is stored at "d/<id>/<number>" as
//
//	version u8 = 1 | number u32 | name u16-length | text u16-length
//
// The name is the key's; the text is understood by the provider.
type Note struct {
	Key    string // name
	Number int    // of the version
	Text   []byte

	at string // its place
}

const (
	notesPrefix = "d/" // + id in hex + "/" + number
	noteVersion = 1
)

func (k *Key) noteKey(n int) string { return fmt.Sprintf("%s%x/%d", notesPrefix, k.id[:], n) }

// ShortID identifies the key in the names of its keys in devices. A key that is deleted and made
// again has another.
func (k *Key) ShortID() string { return hex.EncodeToString(k.id[:6]) }

func (n Note) marshal() ([]byte, error) {
	b := cryptobyte.NewBuilder([]byte{noteVersion})
	b.AddUint32(uint32(n.Number))
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(n.Key)) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(n.Text) })
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("keys: encoding a note: %w", err)
	}
	return out, nil
}

func parseNote(record []byte) (n Note, err error) {
	in := cryptobyte.String(record)
	var version uint8
	var number uint32
	var name, text cryptobyte.String
	if !in.ReadUint8(&version) || version != noteVersion || !in.ReadUint32(&number) || number > maxVersion ||
		!in.ReadUint16LengthPrefixed(&name) || !in.ReadUint16LengthPrefixed(&text) || !in.Empty() {
		return n, fmt.Errorf("%w: version %d of a note of a key in a device is expected", ErrRecord, noteVersion)
	}
	return Note{Key: string(name), Number: int(number), Text: append([]byte(nil), text...)}, nil
}

// Announce stores a note before a key is made in a device. The commit that adds the version removes
// it.
func (s *Store) Announce(ctx context.Context, k *Key, number int, text []byte) error {
	record, err := Note{Key: k.Name, Number: number, Text: text}.marshal()
	if err != nil {
		return err
	}
	return s.base.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(k.noteKey(number), record)}})
}

// Announced returns the note of a version that does not exist yet, [storage.ErrNotFound] if there
// is none.
func (s *Store) Announced(ctx context.Context, k *Key, number int) (Note, error) {
	at := k.noteKey(number)
	b, err := s.base.Get(ctx, at)
	if err != nil {
		return Note{}, err
	}
	n, err := parseNote(b)
	n.at = at
	return n, err
}

// Lose notes that a version's key in a device is to be destroyed, in the commit of the change that
// trims the version.
func (c *Change) Lose(number int, text []byte) error {
	record, err := Note{Key: c.key.Name, Number: number, Text: text}.marshal()
	if err != nil {
		return err
	}
	c.lost = append(c.lost, storage.Put(c.key.noteKey(number), record))
	if len(c.lost) > maxLost {
		return fault.New(fault.Invalid, "at most %d keys in a device are destroyed by one request: trim fewer versions",
			maxLost)
	}
	return nil
}

// maxLost leaves room in the commit that trims.
const maxLost = maxOps / 2

// Notes lists all notes.
func (s *Store) Notes(ctx context.Context) ([]Note, error) {
	folders, err := s.base.List(ctx, notesPrefix, "", 0)
	if err != nil {
		return nil, err
	}
	var all []Note
	for _, folder := range folders {
		names, err := s.base.List(ctx, notesPrefix+folder, "", 0)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			at := notesPrefix + folder + name
			b, err := s.base.Get(ctx, at)
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			n, err := parseNote(b)
			if err != nil {
				return nil, err
			}
			n.at = at
			all = append(all, n)
		}
	}
	return all, nil
}

// Fate is the decision about a note.
type Fate uint8

// The fates.
const (
	Awaited Fate = iota // the next version of the key takes the device's key over
	Taken               // the version exists
	Orphan              // no version will ever take it over
)

// FateOf compares a note with its key as it is now.
func (s *Store) FateOf(ctx context.Context, n Note) (Fate, error) {
	k, err := s.Get(ctx, n.Key)
	switch {
	case errors.Is(err, ErrNotFound):
		return Orphan, nil
	case err != nil:
		return Awaited, err
	case !strings.HasPrefix(n.at, notesPrefix+hex.EncodeToString(k.id[:])+"/"): // made again since
		return Orphan, nil
	case n.Number < k.MinAvailable:
		return Orphan, nil
	case n.Number <= k.Latest:
		return Taken, nil
	case n.Number > k.Latest+1:
		return Orphan, nil
	}
	return Awaited, nil
}

// Forget removes a note.
func (s *Store) Forget(ctx context.Context, n Note) error {
	return s.base.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(n.at)}})
}
