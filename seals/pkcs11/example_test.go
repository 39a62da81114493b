//go:build cgo && !windows

package pkcs11_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
)

// This example uses the seal as a wrapping.Wrapper of go-kms-wrapping, on a throw-away SoftHSM
// token.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "pkcs11-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tok, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{Label: "example"})
	if err != nil {
		log.Fatal(err)
	}
	if err := tok.Use(); err != nil {
		log.Fatal(err)
	}

	var w wrapping.Wrapper
	w, err = pkcs11.New(seals.Config{
		Name: "hsm", Type: "pkcs11", Getenv: os.Getenv,
		Params: map[string]string{
			"lib": tok.Lib, "token_label": tok.Label, "pin": tok.PIN, "key_label": "root", "generate_key": "true",
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer w.(seals.Closer).Close()
	ctx := context.Background()
	blob, err := w.Encrypt(ctx, []byte("root key"), wrapping.WithAad([]byte("cluster 1")))
	if err != nil {
		log.Fatal(err)
	}
	plain, err := w.Decrypt(ctx, blob, wrapping.WithAad([]byte("cluster 1")))
	fmt.Printf("%s %v\n", plain, err)
	// Output: root key <nil>
}
