// Package awskms serves keys of AWS KMS: symmetric encryption, RSA, ECDSA and HMAC.
//
// It guarantees that ciphertexts bind their additional data, through the encryption context; and
// that an endpoint other than AWS's own is used only with credentials of the same configuration:
// the server's own credentials never go to an address that a request has named.
//
// Ciphertexts are those of KMS, which names the key in them; at most 4096 bytes can be encrypted.
// Keys are made in AWS, not here.
package awskms

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"maps"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/seals"
	sealawskms "github.com/sealgate/sealgate/seals/awskms"
)

// Driver is the driver of the type "awskms".
type Driver struct{ Getenv func(string) string }

var _ device.Driver = Driver{}

// Parameters implements [device.Driver]. The names are Vault's; kms_key_id is the seal's for
// kms_key.
func (Driver) Parameters() device.Parameters {
	return device.Parameters{
		Connection: []string{"region", "endpoint", "access_key", "secret_key", "session_token", "role_arn", "timeout"},
		Key:        []string{"kms_key", "kms_key_id"},
		Secret:     []string{"access_key", "secret_key", "session_token"},
		Ignored:    []string{"key_type", "key_bits", "curve"},
	}
}

// Connect implements [device.Driver].
func (d Driver) Connect(s device.Settings) (device.Connection, error) {
	if s.Params["endpoint"] != "" && (s.Params["access_key"] == "" || s.Params["secret_key"] == "") {
		return nil, fault.New(fault.Invalid, "an endpoint needs access_key and secret_key in the same configuration: the "+
			"server's own credentials go to AWS alone")
	}
	c := &connection{name: s.Name}
	c.config = seals.Config{Name: s.Name, Type: "awskms", Params: s.Params, Getenv: d.Getenv, Log: s.Log}
	if c.config.Params["access_key"] != "" {
		c.config.Getenv = nil
	}
	if err := c.Configure(s.Params); err != nil {
		return nil, err
	}
	return c, nil
}

// Select implements [device.Driver]: the name is the key's id, ARN or alias.
func (Driver) Select(p device.Params) (device.Ref, error) {
	name := p["kms_key"]
	if name == "" {
		name = p["kms_key_id"]
	}
	if name == "" {
		return device.Ref{}, fault.New(fault.Invalid, "kms_key is required: the id, the ARN or an alias of the key")
	}
	return device.Ref{Name: name}, nil
}

// connection is an account and Region with credentials.
type connection struct {
	name   string
	config seals.Config
	device.Opened[string, *sealawskms.Key]
}

func (c *connection) key(name string) (*sealawskms.Key, error) {
	return c.Key(name, func() (*sealawskms.Key, error) {
		cfg := c.config
		cfg.Params = maps.Clone(c.config.Params)
		cfg.Params["kms_key_id"] = name
		return sealawskms.OpenKey(cfg)
	})
}

// specs are the types of AWS's key specs, with the hash that a key authenticates with.
var specs = map[string]keys.Spec{
	"SYMMETRIC_DEFAULT": {Type: keys.AES256GCM}, "RSA_2048": {Type: keys.RSA2048}, "RSA_3072": {Type: keys.RSA3072},
	"RSA_4096": {Type: keys.RSA4096}, "ECC_NIST_P256": {Type: keys.ECDSAP256}, "ECC_NIST_P384": {Type: keys.ECDSAP384},
	"ECC_NIST_P521": {Type: keys.ECDSAP521}, "HMAC_256": {Type: keys.HMAC, KeySize: 32},
}

var usages = map[string][]device.Usage{
	"ENCRYPT_DECRYPT": {device.Encrypt, device.Decrypt}, "SIGN_VERIFY": {device.Sign, device.Verify},
	"GENERATE_VERIFY_MAC": {device.MAC},
}

// Open implements [device.Connection].
func (c *connection) Open(ctx context.Context, r device.Ref) (device.Key, device.Facts, error) {
	k, err := c.key(r.Name)
	if err != nil {
		return nil, device.Facts{}, err
	}
	st, spec, err := k.Describe(ctx)
	if err != nil {
		return nil, device.Facts{}, err
	}
	f := device.Facts{Identity: st.ID, Protection: st.Protection, State: st.State, Deletion: st.DeletionDate,
		Uses: usages[spec.Usage]}
	var ok bool
	if f.Spec, ok = specs[spec.Key]; !ok {
		return nil, f, seals.Fail(seals.Misconfigured, errors.New("a key of the KeySpec "+spec.Key+" cannot be served"),
			"use another key")
	}
	if f.Spec.Type.Asymmetric() {
		if f.Public, err = k.PublicKey(ctx); err != nil {
			return nil, f, err
		}
		return &pair{k, f.Spec.Type.RSA()}, f, nil
	}
	if f.Spec.Type == keys.HMAC {
		return &macKey{k}, f, nil
	}
	return &cipherKey{k}, f, nil
}

// wrong returns the caller's mistake where AWS says that data do not belong to the key.
func wrong(err, corrupt error) error {
	if seals.ClassOf(err) == seals.Corrupt || seals.ClassOf(err) == seals.WrongKey {
		return corrupt
	}
	return err
}

const maxPlain = 4096

type cipherKey struct{ k *sealawskms.Key }

func (c *cipherKey) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	if len(plain) == 0 || len(plain) > maxPlain {
		return nil, fault.New(fault.Invalid, "AWS KMS encrypts from 1 to %d bytes: encrypt a data key, and the data with it",
			maxPlain)
	}
	blob, err := c.k.Encrypt(ctx, plain, p.AAD)
	return append(dst, blob...), err
}

func (c *cipherKey) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	plain, err := c.k.Decrypt(ctx, blob, p.AAD)
	if err != nil {
		return nil, wrong(err, keys.ErrGCM)
	}
	defer clear(plain)
	return append(dst, plain...), nil
}

type macKey struct{ k *sealawskms.Key }

func (m *macKey) MAC(ctx context.Context, input []byte, h crypto.Hash) ([]byte, error) {
	if h != crypto.SHA256 || len(input) == 0 || len(input) > maxPlain {
		return nil, fault.New(fault.Invalid, "this key authenticates from 1 to %d bytes with sha2-256", maxPlain)
	}
	return m.k.MAC(ctx, input)
}

type pair struct {
	k   *sealawskms.Key
	rsa bool
}

// bits are AWS's names of hashes.
var bits = map[crypto.Hash]string{crypto.SHA256: "256", crypto.SHA384: "384", crypto.SHA512: "512"}

func (p *pair) SignDigest(ctx context.Context, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	h := o.HashFunc()
	algorithm := "ECDSA_SHA_"
	switch pss := o.(type) {
	case *rsa.PSSOptions:
		if pss.SaltLength > 0 && pss.SaltLength != h.Size() {
			return nil, fault.New(fault.Invalid, "AWS KMS signs with a salt as long as the hash: set salt_length to hash")
		}
		algorithm = "RSASSA_PSS_SHA_"
	default:
		if p.rsa {
			algorithm = "RSASSA_PKCS1_V1_5_SHA_"
		}
	}
	if bits[h] == "" {
		return nil, fault.New(fault.Invalid, "AWS KMS signs with sha2-256, sha2-384 and sha2-512")
	}
	sig, err := p.k.Sign(ctx, digest, algorithm+bits[h])
	if seals.ClassOf(err) == seals.Misconfigured {
		return nil, fault.Wrap(err, fault.Invalid, "AWS KMS does not sign with this hash and this key: each curve has its "+
			"own hash, sha2-256 for P-256, sha2-384 for P-384 and sha2-512 for P-521")
	}
	return sig, err
}

func (p *pair) DecryptRSA(ctx context.Context, block []byte, h crypto.Hash) ([]byte, error) {
	if h != crypto.SHA256 {
		return nil, fault.New(fault.Invalid, "AWS KMS decrypts OAEP alone: encrypt with padding_scheme oaep")
	}
	out, err := p.k.DecryptRSA(ctx, block)
	return out, wrong(err, keys.Errors("failed to RSA decrypt the ciphertext: %s", rsa.ErrDecryption))
}
