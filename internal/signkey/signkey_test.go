package signkey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"testing"
)

type entries map[string][]byte

var errNone = errors.New("none")

func (e entries) Get(_ context.Context, path string) ([]byte, error) {
	if v, ok := e[path]; ok {
		return bytes.Clone(v), nil
	}
	return nil, errNone
}

func TestKey(t *testing.T) {
	t.Parallel()
	entry, public, err := New(rand.Reader)
	if err != nil || len(entry) != HeadSize {
		t.Fatalf("%d bytes, %v", len(entry), err)
	}
	all := entries{"a": append(bytes.Clone(entry), "more"...), "short": entry[:HeadSize-1],
		"new": append([]byte{2}, entry[1:]...)}
	var kept ed25519.PrivateKey
	err = With(t.Context(), all, "a", func(key ed25519.PrivateKey, addition []byte) error {
		kept = key
		if string(addition) != "more" || !bytes.Equal(Public(key), public) ||
			!ed25519.Verify(public, []byte("m"), ed25519.Sign(key, []byte("m"))) {
			t.Errorf("another key or addition: %q", addition)
		}
		return nil
	})
	if err != nil || !bytes.Equal(kept, make([]byte, ed25519.PrivateKeySize)) {
		t.Errorf("%v; the key is not overwritten after use", err)
	}
	never := func(ed25519.PrivateKey, []byte) error { t.Error("called"); return nil }
	for path, want := range map[string]error{"short": ErrEntry, "new": ErrEntry, "none": errNone} {
		if err := With(t.Context(), all, path, never); !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
