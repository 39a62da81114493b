//go:build cgo && !windows

package transit

import (
	"testing"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/hsmtest"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
)

// BenchmarkDeviceKey compares encryptions of 32 bytes through the engine, by a key on a token, with
// those of package hsm alone: 8 callers, and the library in a child process for both.
func BenchmarkDeviceKey(b *testing.B) {
	e := newDeviceEngine(b)
	e.token.Key(b, hsm.AES256, "orders")
	if err := e.managed(device.Params{"key_label": "orders"}, usagesOf(device.Encrypt, device.Decrypt)); err != nil {
		b.Fatal(err)
	}
	e.must("POST", "keys/k", body("type", "managed_key", "managed_key_name", "hsm"))
	bare, err := hsm.New(e.token.Config())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := bare.Close(); err != nil {
			b.Error(err)
		}
	})
	key, err := bare.DeviceKey("orders", nil)
	if err != nil {
		b.Fatal(err)
	}
	plain := []byte("01234567890123456789012345678901")
	data := map[string]any{"plaintext": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}
	hsmtest.Compare(b, 8, func(int) error {
		_, err := e.Handle(b.Context(), &mount.Request{Operation: mount.Update, Path: "encrypt/k", Data: data})
		return err
	}, func(int) error {
		_, _, err := key.EncryptGCM(b.Context(), plain, nil)
		return err
	})
}
