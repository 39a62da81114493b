package hsm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Create implements cryptoki.Creator.
func (s *fakeSession) Create(template []ck.Attribute) (uint, error) {
	leave, err := s.enter("create")
	defer leave()
	if err != nil {
		return 0, err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.made++
	h := 1000 + s.f.made
	o := ck.Object{Handle: h, Attributes: map[uint][]byte{}}
	for _, a := range template {
		o.Attributes[a.Type] = bytes.Clone(a.Value)
	}
	s.f.objects[h] = o
	return h, nil
}

// TestDataObjectIsReplaced: the fake, like some tokens, changes no object, so a new one is made
// before the old one goes.
func TestDataObjectIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(nil)
	defer shut(t, tok)
	for _, text := range []string{"first", "second, longer", "third"} {
		if err := tok.WriteData(t.Context(), "anchor", []byte(text)); err != nil {
			t.Fatal(err)
		}
		values, err := tok.ReadData(t.Context(), "anchor")
		if err != nil || len(values) != 1 || string(values[0]) != text {
			t.Fatalf("%q, %v; want %q alone", values, err, text)
		}
	}
	if values, err := tok.ReadData(t.Context(), "other"); err != nil || len(values) != 0 {
		t.Errorf("another label: %q, %v", values, err)
	}
}

func TestDataObjectThatIsNotStored(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answer, want error }{
		{ck.SessionReadOnly, ErrReadOnly}, {ck.TokenWriteProtected, ErrReadOnly}, {ck.DeviceMemory, ErrTokenFull},
		{ck.FunctionNotSupported, ErrMechanism},
	} {
		f := newFake(t)
		tok := f.token(nil)
		if err := tok.WriteData(t.Context(), "anchor", []byte("old")); err != nil {
			t.Fatal(err)
		}
		f.set(func() {
			f.hook = func(op string) error {
				if op == "create" {
					return c.answer
				}
				return nil
			}
		})
		if err := tok.WriteData(t.Context(), "anchor", []byte("new")); !errors.Is(err, c.want) {
			t.Errorf("%v: %v; want %v", c.answer, err, c.want)
		}
		if values, err := tok.ReadData(t.Context(), "anchor"); err != nil || len(values) != 1 || string(values[0]) != "old" {
			t.Errorf("%v: %q, %v; want the old object", c.answer, values, err)
		}
		shut(t, tok)
	}
}

// TestDataObjectOfAnInterruptedWrite: both objects are there, and the next write leaves one.
func TestDataObjectOfAnInterruptedWrite(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	tok := f.token(nil)
	defer shut(t, tok)
	if err := tok.WriteData(t.Context(), "anchor", []byte("old")); err != nil {
		t.Fatal(err)
	}
	f.set(func() {
		f.hook = func(op string) error {
			if op == "destroy" {
				return ck.TokenWriteProtected
			}
			return nil
		}
	})
	if err := tok.WriteData(context.Background(), "anchor", []byte("new")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("%v; want ErrReadOnly", err)
	}
	f.set(func() { f.hook = nil })
	values, err := tok.ReadData(t.Context(), "anchor")
	slices.SortFunc(values, bytes.Compare)
	if err != nil || len(values) != 2 || string(values[0]) != "new" || string(values[1]) != "old" {
		t.Fatalf("%q, %v; want both", values, err)
	}
	if err := tok.WriteData(t.Context(), "anchor", []byte("newest")); err != nil {
		t.Fatal(err)
	}
	if values, err := tok.ReadData(t.Context(), "anchor"); err != nil || len(values) != 1 {
		t.Errorf("%q, %v; want one", values, err)
	}
}
