package recipient_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"time"

	"filippo.io/age"

	"github.com/sealgate/sealgate/recovery/recipient"
)

// This example encrypts a share to an age recipient.
func Example() {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		log.Fatal(err)
	}
	r, err := recipient.Parse(identity.Recipient().String(), time.Now())
	if err != nil {
		log.Fatal(err)
	}
	message, err := r.Encrypt([]byte("00ff01"))
	if err != nil {
		log.Fatal(err)
	}
	plain, err := age.Decrypt(bytes.NewReader(message), identity)
	if err != nil {
		log.Fatal(err)
	}
	share, err := io.ReadAll(plain)
	fmt.Println(r.Kind(), string(share), err)
	// Output: age 00ff01 <nil>
}
