package uuid

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestNew(t *testing.T) {
	t.Parallel()
	fixed := bytes.Repeat([]byte{0xff}, 16)
	got, err := New(bytes.NewReader(fixed))
	if err != nil || got != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := New(bytes.NewReader(fixed[:15])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader that ends early: %v", err)
	}
	a, errA := New(nil)
	b, errB := New(nil)
	if errA != nil || errB != nil || a == b || !Valid(a) || !Valid(b) {
		t.Errorf("%q, %v; %q, %v", a, errA, b, errB)
	}
}

func TestValid(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "ffffffff-ffff-4fff-bfff-fffffffffff", "ffffffff-ffff-4fff-bfff-ffffffffffff0",
		"FFFFFFFF-ffff-4fff-bfff-ffffffffffff", "ffffffffffffff-4fff-bfff-ffffffffffff",
		"../fffff-ffff-4fff-bfff-ffffffffffff",
	} {
		if Valid(s) {
			t.Errorf("%q is valid", s)
		}
	}
}
