package softhsm_test

import (
	"context"
	"testing"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// This example is a test that has a token of its own: New deletes the token when the test ends.
func ExampleNew() {
	testWrap := func(t *testing.T) {
		tok := softhsm.New(t)
		tok.Key(t, hsm.AES256, "wrap")
		token, err := hsm.New(tok.Config())
		if err != nil {
			t.Fatal(err)
		}
		defer token.Close()
		key, err := token.Key(hsm.KeySpec{Label: "wrap"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := key.Encrypt(context.Background(), []byte("secret"), nil); err != nil {
			t.Error(err)
		}
	}
	testing.RunTests(func(string, string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "TestWrap", F: testWrap}})
}
