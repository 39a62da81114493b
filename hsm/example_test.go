//go:build cgo && !windows

package hsm_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// This example opens a token by its label and wraps a key with an AES key on it. The token is a
// throw-away SoftHSM: with an HSM, Lib is the vendor's library.
func Example() {
	dir, err := os.MkdirTemp("", "hsm-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	soft, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{Label: "example", PIN: "71832645"})
	if err != nil {
		log.Fatal(err)
	}
	if err := soft.Use(); err != nil {
		log.Fatal(err)
	}

	pin := hsm.NewSecret([]byte("71832645"))
	defer pin.Destroy()
	token, err := hsm.New(hsm.Config{Lib: soft.Lib, TokenLabel: "example", PIN: pin})
	if err != nil {
		log.Fatal(err)
	}
	defer token.Close()
	ctx := context.Background()
	if err := token.Generate(ctx, hsm.Template{Kind: hsm.AES256, Label: "wrap"}); err != nil {
		log.Fatal(err)
	}
	key, err := token.Key(hsm.KeySpec{Label: "wrap"})
	if err != nil {
		log.Fatal(err)
	}

	sealed, err := key.Encrypt(ctx, []byte("a 32-byte data key of a database"), []byte("database 7"))
	if err != nil {
		log.Fatal(err)
	}
	plain, err := key.Decrypt(ctx, sealed, []byte("database 7"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(hsm.MechanismName(sealed.Mechanism))
	fmt.Printf("%s\n", plain)
	_, err = key.Decrypt(ctx, sealed, []byte("database 8"))
	fmt.Println(err != nil)
	// Output:
	// CKM_AES_GCM
	// a 32-byte data key of a database
	// true
}
