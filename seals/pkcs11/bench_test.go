//go:build cgo && !windows

package pkcs11_test

import (
	"fmt"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/hsmtest"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// BenchmarkWrapUnwrap compares the seal with a bare loop on miekg/pkcs11, one session for each
// goroutine, by turns in the same run. ratio is the seal's operations per second to the loop's.
func BenchmarkWrapUnwrap(b *testing.B) {
	tok := softhsm.New(b)
	tok.Key(b, hsm.AES256, "wrap")
	seal := open(b, tok, "key_label", "wrap")
	_, err := seal.KeyId(b.Context())
	must(b, err)
	bare := hsmtest.NewBare(b, tok)
	plain, aad := make([]byte, 32), []byte("cluster, seal, generation")
	for _, workers := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("goroutines=%d", workers), func(b *testing.B) {
			sessions := bare.Open(b, workers, "wrap")
			hsmtest.Compare(b, workers, func(int) error {
				blob, err := seal.Encrypt(b.Context(), plain, wrapping.WithAad(aad))
				if err != nil {
					return err
				}
				_, err = seal.Decrypt(b.Context(), blob, wrapping.WithAad(aad))
				return err
			}, func(i int) error { return bare.RoundTrip(sessions[i], plain, aad) })
		})
	}
}
