package transit

import (
	"errors"
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
)

func TestKeysAreOpenedForOtherProtocols(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	var opener keys.Opener = e.backend
	open := func(name string) *keys.Named {
		t.Helper()
		n, err := opener.OpenKey(t.Context(), name, "xks:store")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for name, kind := range map[string]string{"a": "aes256-gcm96", "b": "aes256-gcm96", "s": "ecdsa-p256"} {
		e.must("POST", "keys/"+name, body("type", kind))
	}
	a := open("a")
	version, blob, err := a.Encrypt(t.Context(), []byte("text"), []byte("aad"))
	if err != nil || version != 1 || len(blob) != 12+4+16 {
		t.Fatalf("version %d, %d bytes, %v", version, len(blob), err)
	}
	first, err := a.Fingerprint(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	e.must("POST", "keys/a/rotate", "")
	a = open("a")
	if oldest, latest := a.Versions(); oldest != 1 || latest != 2 {
		t.Errorf("versions %d to %d after a rotation", oldest, latest)
	}
	if plain, err := a.Decrypt(t.Context(), 1, blob, []byte("aad")); err != nil || string(plain) != "text" {
		t.Errorf("%q, %v", plain, err)
	}
	for what, failed := range map[string]func() error{
		"other additional data": func() error { _, err := a.Decrypt(t.Context(), 1, blob, []byte("b")); return err },
		"another version":       func() error { _, err := a.Decrypt(t.Context(), 2, blob, []byte("aad")); return err },
		"an absent version":     func() error { _, err := a.Decrypt(t.Context(), 3, blob, []byte("aad")); return err },
		"a key that signs":      func() error { _, _, err := open("s").Encrypt(t.Context(), []byte("t"), nil); return err },
	} {
		if err := failed(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	seen := map[[8]byte]bool{first: true}
	for _, v := range []struct {
		name    string
		version int
	}{{"a", 2}, {"b", 1}, {"s", 1}} {
		f, err := open(v.name).Fingerprint(t.Context(), v.version)
		if err != nil || seen[f] {
			t.Errorf("version %d of %s: fingerprint %x, seen before: %t, %v", v.version, v.name, f, seen[f], err)
		}
		seen[f] = true
	}
	e.must("POST", "keys/d", body("derived", true))
	if _, err := opener.OpenKey(t.Context(), "d", ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("a derived key: %v", err)
	}
	e.must("DELETE", "keys/b/soft-delete", "")
	if _, err := opener.OpenKey(t.Context(), "b", ""); !errors.Is(err, keys.ErrSoftDeleted) {
		t.Errorf("a soft-deleted key: %v", err)
	}
	if use := e.must("GET", "keys/a/use", "")["versions"]; use == nil {
		t.Error("the use of a gateway is not counted")
	}
}
