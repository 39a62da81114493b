package keys

import (
	"context"
	"crypto"
	"crypto/ecdh"

	"github.com/sealgate/sealgate/internal/secret"
)

// Software is the name of the provider whose keys are in the barrier.
const Software = "software"

// Material is what a provider makes: what is stored of a version.
type Material struct {
	Reference *secret.Bytes // understood by the provider alone
	Public    []byte        // PKIX, DER; nil for symmetric keys and keys derived for each context
}

// Provider makes and opens versions of keys. It is safe for concurrent use.
type Provider interface {
	// Generate makes a new key.
	Generate(ctx context.Context, s Spec) (Material, error)
	// Open returns the handle of a key. The public part is the stored one.
	Open(ctx context.Context, s Spec, m Material) (any, error)
}

// Importer is implemented by providers that can take a key from outside.
type Importer interface {
	// Import takes private key material: raw bytes of a symmetric key, PKCS #8 of an asymmetric one.
	Import(ctx context.Context, s Spec, private *secret.Bytes) (Material, error)
	// ImportPublic takes the public part alone, as PKIX in DER.
	ImportPublic(ctx context.Context, s Spec, public []byte) (Material, error)
}

// CipherParams are the inputs of an encryption beside the text.
type CipherParams struct {
	Context []byte // of a derived key
	AAD     []byte // of an AEAD
	PKCS1   bool   // RSA: PKCS #1 v1.5 instead of OAEP with SHA-256
}

// Encrypter is implemented by handles that encrypt and decrypt. Both append to dst.
type Encrypter interface {
	// Encrypt gives nonce, ciphertext and tag of an AEAD; the block of RSA.
	Encrypt(ctx context.Context, dst, plain []byte, p CipherParams) ([]byte, error)
	Decrypt(ctx context.Context, dst, blob []byte, p CipherParams) ([]byte, error)
}

// SignParams are the inputs of a signature beside the text.
type SignParams struct {
	Hash      crypto.Hash // 0: the input is signed as it is
	Prehashed bool        // the input is the digest
	PKCS1     bool        // RSA: PKCS #1 v1.5 instead of PSS
	Salt      int         // RSA-PSS, as of package rsa: a length, or PSSSaltLengthAuto, PSSSaltLengthEqualsHash
	Context   []byte      // of a derived key
	Domain    []byte      // the signature context of Ed25519ctx, Ed25519ph and ML-DSA
}

// Signer is implemented by handles of keys with a public part. An ECDSA signature is ASN.1.
type Signer interface {
	Sign(ctx context.Context, input []byte, p SignParams) ([]byte, error)
	// Verify reports whether the signature is the input's. The error is about parameters or a
	// malformed signature.
	Verify(ctx context.Context, input, signature []byte, p SignParams) (bool, error)
	// Public is the public part, of a derived key that of the context.
	Public(ctx context.Context, context []byte) (crypto.PublicKey, error)
}

// MACer is implemented by handles that authenticate.
type MACer interface {
	// HMAC authenticates by a key of the version's own.
	HMAC(ctx context.Context, input []byte, h crypto.Hash) ([]byte, error)
}

// CMACer is implemented by handles of AES-CMAC keys.
type CMACer interface {
	CMAC(ctx context.Context, input []byte) ([]byte, error)
}

// Agreer is implemented by handles of keys that take part in ECDH.
type Agreer interface {
	Agree(ctx context.Context, peer *ecdh.PublicKey) (*secret.Bytes, error)
}

// Exporter is implemented by handles whose key can be seen: those of software.
type Exporter interface {
	// Export gives raw bytes of a symmetric key, PKCS #8 of an asymmetric one; nil where there is a
	// public part alone.
	Export() (*secret.Bytes, error)
	// ExportHMAC gives the key of [MACer].
	ExportHMAC() *secret.Bytes
}
