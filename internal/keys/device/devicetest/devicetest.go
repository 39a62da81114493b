// Package devicetest is the conformance suite of the drivers of package device: what every key in a
// device does through a mount. It is for tests alone.
package devicetest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/seals"
)

// Bench is a registry with one driver, and a mount.
type Bench struct {
	t        testing.TB
	kind     string
	Registry *device.Registry
	mount    *device.Mount
	store    *keys.Store
}

// copying keeps copies of values, as the barrier does, which encrypts them.
type copying struct{ *inmem.Store }

func (c copying) Commit(ctx context.Context, b storage.Batch) error {
	ops := make([]storage.Op, len(b.Ops))
	for i, op := range b.Ops {
		op.Value = bytes.Clone(op.Value)
		ops[i] = op
	}
	b.Ops = ops
	return c.Store.Commit(ctx, b)
}

// New returns a bench for a driver; protect are the seals in use.
func New(t testing.TB, kind string, d device.Driver, protect ...seals.Seal) *Bench {
	t.Helper()
	hub := device.NewHub(device.Options{Drivers: map[string]device.Driver{kind: d},
		Seals: func() []seals.Seal { return protect }})
	base := inmem.New()
	b := &Bench{t: t, kind: kind, Registry: hub.Open(copying{base})}
	t.Cleanup(func() {
		if err := b.Registry.Close(); err != nil {
			t.Error(err)
		}
		_ = base.Close()
	})
	b.mount = b.Registry.For("transit/", "5d3f", []string{"key"})
	providers := b.mount.Providers()
	b.store = keys.NewStore(copying{inmem.New()}, keys.Options{Providers: providers})
	return b
}

// Write configures the managed key "key".
func (b *Bench) Write(p device.Params, usages ...device.Usage) error {
	return b.Registry.Write(b.t.Context(), device.Entry{Face: device.Managed, Type: b.kind, Name: "key"}, device.Change{
		Given: p, Replace: true, Entry: func(e *device.Entry) { e.Usages, e.AllowReplace = usages, true }})
}

// Adopt configures the managed key and makes it a key of the mount.
func (b *Bench) Adopt(name string, p device.Params, usages ...device.Usage) *keys.Key {
	b.t.Helper()
	if err := b.Write(p, usages...); err != nil {
		b.t.Fatal(err)
	}
	c, err := b.mount.Adopt(b.t.Context(), device.Managed, "key")
	if err != nil {
		b.t.Fatal(err)
	}
	k, err := b.store.Create(b.t.Context(), name, keys.Settings{Spec: c.Spec},
		func(context.Context, *keys.Key) (*keys.Version, error) {
			return b.store.NewVersion(c.Provider, c.Material), nil
		})
	if err != nil {
		b.t.Fatal(err)
	}
	return k
}

func version(t testing.TB, k *keys.Key) *keys.Version {
	t.Helper()
	v, err := k.Version(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// CheckCipher makes round trips with an AEAD key, and spoils what it decrypts.
func CheckCipher(t testing.TB, k *keys.Key) {
	t.Helper()
	e, err := k.Encrypter(t.Context(), version(t, k))
	if err != nil {
		t.Fatal(err)
	}
	plain, p := []byte("text"), keys.CipherParams{AAD: []byte("aad")}
	blob, err := e.Encrypt(t.Context(), []byte("before:"), plain, p)
	if err != nil {
		t.Fatal(err)
	}
	blob, ok := bytes.CutPrefix(blob, []byte("before:"))
	if back, err := e.Decrypt(t.Context(), nil, blob, p); !ok || err != nil || !bytes.Equal(back, plain) {
		t.Errorf("decrypted to %q, %v", back, err)
	}
	spoiled := bytes.Clone(blob)
	spoiled[len(spoiled)-3] ^= 1
	for what, failed := range map[string]func() error{
		"other additional data": func() error {
			_, err := e.Decrypt(t.Context(), nil, blob, keys.CipherParams{AAD: []byte("b")})
			return err
		},
		"no additional data": func() error { _, err := e.Decrypt(t.Context(), nil, blob, keys.CipherParams{}); return err },
		"a spoiled blob":     func() error { _, err := e.Decrypt(t.Context(), nil, spoiled, p); return err },
		"hmac":               func() error { _, err := k.MACer(t.Context(), version(t, k)); return err },
		"export":             func() error { _, err := k.Exporter(t.Context(), version(t, k)); return err },
	} {
		if err := failed(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// CheckPair signs and verifies with each of the parameters.
func CheckPair(t testing.TB, k *keys.Key, all ...keys.SignParams) {
	t.Helper()
	s, err := k.Signer(t.Context(), version(t, k))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		sig, err := s.Sign(t.Context(), []byte("input"), p)
		if err != nil {
			t.Errorf("%+v: %v", p, err)
			continue
		}
		if ok, err := s.Verify(t.Context(), []byte("input"), sig, p); !ok || err != nil {
			t.Errorf("%+v: its own signature is %t, %v", p, ok, err)
		}
		if ok, _ := s.Verify(t.Context(), []byte("other"), sig, p); ok {
			t.Errorf("%+v: the signature of another input is valid", p)
		}
	}
}

// PSS and PKCS1 are what RSA keys sign with.
var (
	PSS   = keys.SignParams{Hash: crypto.SHA256, Salt: rsa.PSSSaltLengthEqualsHash}
	PKCS1 = keys.SignParams{Hash: crypto.SHA384, PKCS1: true}
	SHA2  = keys.SignParams{Hash: crypto.SHA256}
	// SHA2PKCS1 is PKCS #1 v1.5 with SHA-256.
	SHA2PKCS1 = keys.SignParams{Hash: crypto.SHA256, PKCS1: true}
)

// CheckBlock decrypts OAEP, and a spoiled block unless the emulator has no answer to it.
func CheckBlock(t testing.TB, k *keys.Key, spoil bool) {
	t.Helper()
	e, err := k.Encrypter(t.Context(), version(t, k))
	if err != nil {
		t.Fatal(err)
	}
	blob, err := e.Encrypt(t.Context(), nil, []byte("text"), keys.CipherParams{})
	if err != nil {
		t.Fatal(err)
	}
	if back, err := e.Decrypt(t.Context(), nil, blob, keys.CipherParams{}); err != nil || string(back) != "text" {
		t.Errorf("decrypted to %q, %v", back, err)
	}
	if !spoil {
		return
	}
	blob[9] ^= 1
	if _, err := e.Decrypt(t.Context(), nil, blob, keys.CipherParams{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a spoiled block: %v", err)
	}
}

// CheckMAC authenticates.
func CheckMAC(t testing.TB, k *keys.Key) {
	t.Helper()
	m, err := k.MACer(t.Context(), version(t, k))
	if err != nil {
		t.Fatal(err)
	}
	one, err := m.HMAC(t.Context(), []byte("input"), crypto.SHA256)
	if err != nil || len(one) != 32 {
		t.Fatalf("%d bytes, %v", len(one), err)
	}
	if two, err := m.HMAC(t.Context(), []byte("other"), crypto.SHA256); err != nil || bytes.Equal(one, two) {
		t.Errorf("another input has the same HMAC, %v", err)
	}
}

// CheckRefused checks an error that a client sees: its kind, a word of it, and that it shows none
// of the secrets or addresses.
func CheckRefused(t testing.TB, err error, kind fault.Kind, says string, hidden ...string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), says) {
		t.Errorf("the error is %v, of kind %d; want %d and %q", err, fault.KindOf(err), kind, says)
		return
	}
	for _, word := range hidden {
		if strings.Contains(err.Error(), word) {
			t.Errorf("the error shows %q: %v", word, err)
		}
	}
}
