package static_test

import (
	"context"
	"fmt"
	"log"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

// A key in the environment wraps a secret; the additional data binds the blob to its use.
func Example() {
	ctx := context.Background()
	env := map[string]string{"MY_KEY": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}
	w, err := static.New(seals.Config{
		Name:   "example",
		Params: map[string]string{"current_key": "env://MY_KEY", "current_key_id": "2026-01"},
		Getenv: func(name string) string { return env[name] },
	})
	if err != nil {
		log.Fatal(err)
	}
	blob, err := w.Encrypt(ctx, []byte("a secret"), wrapping.WithAad([]byte("tenant=7")))
	if err != nil {
		log.Fatal(err)
	}
	plain, err := w.Decrypt(ctx, blob, wrapping.WithAad([]byte("tenant=7")))
	fmt.Println(blob.KeyInfo.KeyId, string(plain), err)

	_, err = w.Decrypt(ctx, blob, wrapping.WithAad([]byte("tenant=8")))
	fmt.Println(seals.ClassOf(err))
	// Output:
	// 2026-01 a secret <nil>
	// corrupt
}
