//go:build !cgo

package hsm

import (
	"errors"
	"testing"
)

func TestBuildWithoutCgo(t *testing.T) {
	tok, err := New(Config{Lib: "/usr/lib/any.so", TokenLabel: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, tok)
	k, err := tok.Key(KeySpec{Label: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if err := trip(t.Context(), k); !errors.Is(err, ErrNoCgo) {
		t.Errorf("%v, want ErrNoCgo", err)
	}
	if _, err := tok.Info(t.Context()); !errors.Is(err, ErrNoCgo) {
		t.Errorf("%v, want ErrNoCgo", err)
	}
}
