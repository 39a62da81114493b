package shamir_test

import (
	"context"
	"fmt"
	"log"

	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
)

// A quorum of two of three share holders unlocks the seal. Encrypt needs no shares.
func Example() {
	ctx := context.Background()
	seed := seals.NewSecret([]byte("0123456789abcdef0123456789abcdef")) // use 32 random bytes
	shares, err := recovery.Split(seed, 3, 2, nil)
	if err != nil {
		log.Fatal(err)
	}
	private, err := recovery.PrivateKey(seed)
	if err != nil {
		log.Fatal(err)
	}

	w := new(shamir.Wrapper)
	if err := w.SetPublicKey(private.PublicKey().Bytes()); err != nil {
		log.Fatal(err)
	}
	blob, err := w.Encrypt(ctx, []byte("a root key"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = w.Decrypt(ctx, blob)
	fmt.Println("before the shares:", seals.ClassOf(err))

	combined, err := recovery.Combine(shares[:2])
	if err != nil {
		log.Fatal(err)
	}
	if err := w.Unlock(combined.Expose()); err != nil {
		log.Fatal(err)
	}
	plain, err := w.Decrypt(ctx, blob)
	fmt.Println("after two shares:", string(plain), err)
	// Output:
	// before the shares: denied
	// after two shares: a root key <nil>
}
