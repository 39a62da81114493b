package awskms

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/sealgate/sealgate/seals"
)

// DeviceAPI is the part of *kms.Client that [Key] calls beside [API].
type DeviceAPI interface {
	Sign(context.Context, *kms.SignInput, ...func(*kms.Options)) (*kms.SignOutput, error)
	GetPublicKey(context.Context, *kms.GetPublicKeyInput, ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error)
	GenerateMac(context.Context, *kms.GenerateMacInput, ...func(*kms.Options)) (*kms.GenerateMacOutput, error)
}

// Key is a key of AWS KMS whose operations are used one by one. It has the seal's connection,
// credentials, deadline and classes of failures. Its ciphertexts are KMS's own; what a seal has
// encrypted does not decrypt here, because the encryption contexts differ.
type Key struct{ w *Wrapper }

// OpenKey takes the seal's parameters. It makes no request.
func OpenKey(cfg seals.Config) (*Key, error) {
	w, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return &Key{w.(*Wrapper)}, nil //nolint:forcetypeassert // New's only type
}

// Close closes idle connections.
func (k *Key) Close() error { return k.w.Close() }

// Spec is a key's KeySpec and KeyUsage, such as SYMMETRIC_DEFAULT and ENCRYPT_DECRYPT.
type Spec struct{ Key, Usage string }

// Describe returns what AWS reports about the key, and its type.
func (k *Key) Describe(ctx context.Context) (seals.KeyState, Spec, error) {
	meta, err := k.w.describe(ctx, true)
	if err != nil {
		return seals.KeyState{}, Spec{}, err
	}
	st, err := k.w.Describe(ctx)
	return st, Spec{string(meta.KeySpec), string(meta.KeyUsage)}, err
}

// aadName is the pair of the encryption context that binds additional data. A seal's contexts never
// have it.
const aadName = "sealgate-transit-aad-sha256"

func deviceContext(aad []byte) map[string]string {
	sum := sha256.Sum256(aad)
	return map[string]string{aadName: base64.StdEncoding.EncodeToString(sum[:])}
}

// Encrypt encrypts at most 4096 bytes.
func (k *Key) Encrypt(ctx context.Context, plain, aad []byte) ([]byte, error) {
	out, err := ask(ctx, k.w, "encrypt", k.w.set.key, encryptCall,
		&kms.EncryptInput{KeyId: &k.w.set.key, Plaintext: plain, EncryptionContext: deviceContext(aad)})
	if err != nil {
		return nil, err
	}
	return out.CiphertextBlob, nil
}

// Decrypt decrypts what Encrypt returned for the same additional data.
func (k *Key) Decrypt(ctx context.Context, blob, aad []byte) ([]byte, error) {
	return k.decrypt(ctx, &kms.DecryptInput{KeyId: &k.w.set.key, CiphertextBlob: blob,
		EncryptionContext: deviceContext(aad)})
}

// DecryptRSA decrypts a block of OAEP with SHA-256.
func (k *Key) DecryptRSA(ctx context.Context, block []byte) ([]byte, error) {
	return k.decrypt(ctx, &kms.DecryptInput{KeyId: &k.w.set.key, CiphertextBlob: block,
		EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256})
}

func (k *Key) decrypt(ctx context.Context, in *kms.DecryptInput) ([]byte, error) {
	out, err := ask(ctx, k.w, "decrypt", k.w.set.key, decryptCall, in)
	switch {
	case err == nil:
		return out.Plaintext, nil
	case code(err) == "IncorrectKeyException", code(err) == "ValidationException": // a blob that is none of this key
		return nil, k.w.corrupt(errors.Unwrap(err))
	}
	return nil, err
}

// PublicKey returns the public part, as PKIX in DER.
func (k *Key) PublicKey(ctx context.Context) ([]byte, error) {
	out, err := ask(ctx, k.w, "read the public key of", k.w.set.key, further(DeviceAPI.GetPublicKey),
		&kms.GetPublicKeyInput{KeyId: &k.w.set.key})
	if err != nil {
		return nil, err
	}
	return out.PublicKey, nil
}

// Sign signs a digest by an algorithm of AWS, such as ECDSA_SHA_256.
func (k *Key) Sign(ctx context.Context, digest []byte, algorithm string) ([]byte, error) {
	out, err := ask(ctx, k.w, "sign", k.w.set.key, further(DeviceAPI.Sign), &kms.SignInput{KeyId: &k.w.set.key,
		Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpec(algorithm)})
	if err != nil {
		return nil, err
	}
	return out.Signature, nil
}

// MAC computes an HMAC with SHA-256.
func (k *Key) MAC(ctx context.Context, input []byte) ([]byte, error) {
	out, err := ask(ctx, k.w, "authenticate", k.w.set.key, further(DeviceAPI.GenerateMac), &kms.GenerateMacInput{
		KeyId: &k.w.set.key, Message: input, MacAlgorithm: types.MacAlgorithmSpecHmacSha256})
	if err != nil {
		return nil, err
	}
	return out.Mac, nil
}

// further adapts a call of [DeviceAPI].
func further[In, Out any](
	f func(DeviceAPI, context.Context, In, ...func(*kms.Options)) (Out, error),
) func(context.Context, API, In) (Out, error) {
	return func(ctx context.Context, a API, in In) (Out, error) {
		more, ok := a.(DeviceAPI)
		if !ok {
			var none Out
			return none, fmt.Errorf("awskms: the client %T has no further operations", a)
		}
		return f(more, ctx, in)
	}
}

var (
	_ DeviceAPI      = (*kms.Client)(nil)
	_ seals.KeyOwner = (*Wrapper)(nil)
)

// OwnsKey compares an ARN with that of the seal's key, in any Region. Where the seal cannot learn
// its own ARN now, every key may be its.
func (w *Wrapper) OwnsKey(ctx context.Context, arn string) bool {
	own, err := w.KeyId(ctx)
	if err != nil {
		return true
	}
	a, ok1 := parseARN(own)
	b, ok2 := parseARN(arn)
	return !ok1 || !ok2 || a.sameKey(b)
}
