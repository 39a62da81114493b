package secret

import (
	"bytes"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit"
)

func TestLocked(t *testing.T) {
	t.Parallel()
	own := bytes.Repeat([]byte{7}, 32)
	s := Locked(own)
	if s.slot == nil {
		testkit.Missing(t, "this system has no pages for keys")
	}
	c := s.Clone()
	if c.slot == nil || !s.Equal(c) || !bytes.Equal(own, s.Expose()) {
		t.Fatal("the copy of a locked secret is on the heap, or differs")
	}
	if cap(s.Expose()) > slotSize || &s.Expose()[0] == &own[0] || &s.Expose()[0] == &c.Expose()[0] {
		t.Fatal("two secrets share memory")
	}
	was := s.slot
	s.Destroy()
	s.Destroy()
	if !bytes.Equal(was, make([]byte, slotSize)) || !bytes.Equal(own, c.Expose()) {
		t.Error("Destroy left the bytes, or touched the clone")
	}
	c.Destroy()
}

// TestLockedGrows takes more secrets than one chunk has slots.
func TestLockedGrows(t *testing.T) {
	t.Parallel()
	var all []*Bytes
	for i := range 2*chunkSize/slotSize + 1 {
		all = append(all, Locked([]byte{byte(i), byte(i >> 8), 1}))
	}
	for i, s := range all {
		if !bytes.Equal(s.Expose(), []byte{byte(i), byte(i >> 8), 1}) {
			t.Fatalf("secret %d was overwritten", i)
		}
		s.Destroy()
	}
	if long := Locked(make([]byte, slotSize+1)); long.Len() != slotSize+1 || long.slot != nil {
		t.Error("a secret that fits no slot")
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	called := 0
	func() {
		defer func() { called += recover().(int) }()
		Do(func() { Do(func() { called++ }); panic(2) })
	}()
	if called != 3 {
		t.Errorf("calls and panics pass: %d", called)
	}
}
