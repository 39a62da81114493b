package softhsm_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

func TestNewInParallel(t *testing.T) {
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			tok := softhsm.New(t)
			tok.Key(t, hsm.AES256, "wrap")
			h, err := hsm.New(tok.Config())
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			key, err := h.Key(hsm.KeySpec{Label: "wrap"})
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			sealed, err := key.Encrypt(ctx, []byte("hello"), []byte("aad"))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := key.Decrypt(ctx, sealed, []byte("aad"))
			if err != nil || string(plain) != "hello" {
				t.Fatalf("%q %v", plain, err)
			}
			if _, err := key.Decrypt(ctx, sealed, []byte("axd")); err == nil {
				t.Fatal("wrong aad accepted")
			} else {
				t.Log(err)
			}
			t.Log(key.Describe(ctx))
		})
	}
}
