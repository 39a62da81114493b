package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sealgate/sealgate/internal/storage"
)

// appendEntry appends an entry in the format of a state file.
func appendEntry(b []byte, key string, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// decoder reads entries. It accepts only entries that a store could hold, in strictly ascending
// order of keys.
type decoder struct {
	r    io.Reader
	last string
}

// next returns io.EOF after the last entry. The caller owns the value.
func (d *decoder) next() (key string, value []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(d.r, head[:2]); err != nil {
		if errors.Is(err, io.EOF) {
			return "", nil, io.EOF
		}
		return "", nil, cutOff(err)
	}
	name, err := d.take(int(binary.BigEndian.Uint16(head[:2])), storage.MaxKey)
	if err != nil {
		return "", nil, err
	}
	key = string(name)
	if err := storage.CheckKey(key); err != nil {
		return "", nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if key <= d.last {
		return "", nil, fmt.Errorf("%w: the entry %q follows %q", ErrDamaged, key, d.last)
	}
	d.last = key
	if _, err := io.ReadFull(d.r, head[:4]); err != nil {
		return "", nil, cutOff(err)
	}
	value, err = d.take(int(binary.BigEndian.Uint32(head[:4])), storage.MaxBytes)
	return key, value, err
}

func (d *decoder) take(n, most int) ([]byte, error) {
	if n > most {
		return nil, fmt.Errorf("%w: a field of %d bytes; at most %d are possible", ErrDamaged, n, most)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(d.r, b); err != nil {
		return nil, cutOff(err)
	}
	return b, nil
}

// cutOff turns an unexpected end of the input into ErrDamaged; other errors of the source stay as
// they are.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends in the middle of an entry", ErrDamaged)
	}
	return err
}
