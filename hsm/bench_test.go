//go:build cgo && !windows

package hsm_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/hsmtest"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// BenchmarkWrapUnwrap compares wrapping and unwrapping 32 bytes through this package with a bare
// loop on miekg/pkcs11, one session for each goroutine, by turns in the same run. ratio is ours to
// theirs in operations per second.
func BenchmarkWrapUnwrap(b *testing.B) {
	tok := softhsm.New(b)
	tok.Key(b, hsm.AES256, "wrap")
	t, err := hsm.New(tok.Config())
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close()
	key, err := t.Key(hsm.KeySpec{Label: "wrap"})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := key.Describe(context.Background()); err != nil {
		b.Fatal(err)
	}
	bare := hsmtest.NewBare(b, tok)
	plain, aad := make([]byte, 32), []byte("cluster, seal, generation")
	for _, workers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			sessions := bare.Open(b, workers, "wrap")
			hsmtest.Compare(b, workers, func(int) error {
				sealed, err := key.Encrypt(context.Background(), plain, aad)
				if err != nil {
					return err
				}
				_, err = key.Decrypt(context.Background(), sealed, aad)
				return err
			}, func(i int) error { return bare.RoundTrip(sessions[i], plain, aad) })
		})
	}
}
