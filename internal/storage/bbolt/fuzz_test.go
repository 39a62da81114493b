package bbolt

import (
	"bytes"
	"errors"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
)

// FuzzVerify changes a database at some places and looks at it as Open does: an error or none,
// never a panic, and never for long.
func FuzzVerify(f *testing.F) {
	whole := sample(f)
	f.Add(uint32(4096*3+8), []byte{2}, uint32(0), []byte{}, uint32(len(whole)))
	f.Add(uint32(16), []byte{0}, uint32(4096+16), []byte{0}, uint32(len(whole)))
	f.Add(uint32(4096*3+16), []byte{0xFF, 0xFF, 0xFF, 0xFF}, uint32(4096*2+12), []byte{0xFF, 0xFF}, uint32(9000))
	f.Fuzz(func(t *testing.T, at1 uint32, change1 []byte, at2 uint32, change2 []byte, length uint32) {
		b := bytes.Clone(whole[:min(int(length), len(whole))])
		for at, change := range map[uint32][]byte{at1: change1, at2: change2} {
			if int(at) < len(b) {
				copy(b[at:], change)
			}
		}
		c := &checker{file: bytes.NewReader(b)}
		err := c.examine(uint64(len(b)))
		if err == nil {
			err = c.verify()
		}
		var damage damageError
		if err != nil && !errors.As(err, &damage) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzFrame: what is framed is read back, under its own key alone.
func FuzzFrame(f *testing.F) {
	f.Add("key", []byte("value"))
	f.Add("k", []byte{})
	s := &Store{path: "file"}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		stored := frame([]byte(key), value)
		if got, err := s.unframe([]byte(key), stored); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := s.unframe([]byte(key+"x"), stored); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("under another key: %v", err)
		}
		if got, err := s.unframe([]byte(key), value); err == nil && !bytes.Equal(frame([]byte(key), got), value) {
			t.Errorf("%q passes for a frame", value)
		}
	})
}
