// Package outside uses every public package of Sealgate as a program outside its module does. It
// constructs every type that an exported signature needs.
package outside

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/recovery/recipient"
	"github.com/sealgate/sealgate/recovery/transcript"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/pkcs11"
)

// WrapWithToken encrypts a key on a PKCS#11 token.
func WrapWithToken(ctx context.Context, lib, label string, pin, plain []byte) (*hsm.Sealed, error) {
	secret := hsm.NewSecret(pin)
	defer secret.Destroy()
	token, err := hsm.New(hsm.Config{Lib: lib, TokenLabel: label, PIN: secret})
	if err != nil {
		return nil, err
	}
	defer token.Close()
	if err := token.Generate(ctx, hsm.Template{Kind: hsm.AES256, Label: "wrap"}); err != nil &&
		!errors.Is(err, hsm.ErrKeyExists) {
		return nil, err
	}
	key, err := token.Key(hsm.KeySpec{Label: "wrap"})
	if err != nil {
		return nil, err
	}
	return key.Encrypt(ctx, plain, nil)
}

// Wrapper makes the pkcs11 seal on a SoftHSM token of a test.
func Wrapper(t *testing.T) (wrapping.Wrapper, error) {
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "root")
	return pkcs11.New(seals.Config{
		Name: "hsm", Type: "pkcs11", Getenv: func(string) string { return "" },
		Params: map[string]string{"lib": tok.Lib, "token_label": tok.Label, "pin": tok.PIN, "key_label": "root"},
	})
}

// SplitVerifyCombine makes a share set, verifies a share and restores the key.
func SplitVerifyCombine(random io.Reader, now time.Time) (*recovery.Secret, error) {
	set, shares, err := recovery.NewShareSet(recovery.Recovery, nil, 3, 2, random, now)
	if err != nil {
		return nil, err
	}
	if _, err := set.Identify(recovery.NewSecret(shares[0].Expose())); err != nil {
		return nil, err
	}
	unsealing := recovery.NewUnsealing(set, random)
	if _, err := unsealing.Give(shares[0]); err != nil {
		return nil, err
	}
	return unsealing.Give(shares[2])
}

// SplitTo splits a key and encrypts each share to its holder.
func SplitTo(key []byte, holders []string, threshold int, now time.Time) ([][]byte, error) {
	to, err := recipient.ParseAll(holders, now)
	if err != nil {
		return nil, err
	}
	shares, err := recovery.Split(recovery.NewSecret(key), len(holders), threshold, nil)
	if err != nil {
		return nil, err
	}
	messages := make([][]byte, len(shares))
	for i, share := range shares {
		if messages[i], err = to[i].Encrypt(share.Expose()); err != nil {
			return nil, err
		}
		share.Destroy()
	}
	return messages, nil
}

// Verify checks a transcript offline.
func Verify(file io.Reader, key ed25519.PublicKey, head string) (*transcript.Report, error) {
	noted, err := transcript.ParseHead(head)
	if err != nil {
		return nil, err
	}
	return transcript.VerifyFile(file, key, &noted)
}
