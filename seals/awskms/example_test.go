package awskms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/awskms"
)

const keyARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// memoryKMS replaces a *kms.Client, so that the example runs without AWS. It does not encrypt.
type memoryKMS struct{ awskms.API }

func (memoryKMS) Encrypt(_ context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	return &kms.EncryptOutput{KeyId: in.KeyId, CiphertextBlob: bytes.Clone(in.Plaintext)}, nil
}

func (memoryKMS) Decrypt(_ context.Context, in *kms.DecryptInput, _ ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return &kms.DecryptOutput{KeyId: in.KeyId, Plaintext: bytes.Clone(in.CiphertextBlob)}, nil
}

// A function that takes any [wrapping.Wrapper] uses a key of AWS KMS. Without a client of your own,
// use awskms.New with a stanza.
func Example() {
	roundTrip := func(ctx context.Context, w wrapping.Wrapper, secret []byte) ([]byte, error) {
		blob, err := w.Encrypt(ctx, secret, wrapping.WithAad([]byte("tenant=7\n")))
		if err != nil {
			return nil, err
		}
		return w.Decrypt(ctx, blob, wrapping.WithAad([]byte("tenant=7\n")))
	}

	w, err := awskms.NewWithClient("example", keyARN, memoryKMS{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	plain, err := roundTrip(context.Background(), w, []byte("a secret"))
	fmt.Println(string(plain), err)
	// Output: a secret <nil>
}

type disabledKMS struct{ memoryKMS }

func (disabledKMS) Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	return nil, &types.DisabledException{}
}

// Errors have a class and a remedy.
func ExampleWrapper_Decrypt() {
	ctx := context.Background()
	w, err := awskms.NewWithClient("example", keyARN, disabledKMS{})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close()
	blob, err := w.Encrypt(ctx, []byte("a secret"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = w.Decrypt(ctx, blob)
	var failure *seals.Failure
	if errors.As(err, &failure) {
		fmt.Println(failure.Class)
		fmt.Println(strings.Contains(failure.Remedy, "aws kms enable-key"))
	}
	// Output:
	// key disabled
	// true
}
