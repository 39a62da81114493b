// Package transit serves keys of another transit engine: of OpenBao, Vault or Sealgate.
//
// It guarantees that each request names the version of the upstream key, so that a rotation there
// changes nothing here; and that the token and the address come from the configuration alone.
//
// Ciphertexts are the upstream's own. Keys are made upstream, not here. Ed25519 is not served: the
// engine signs it over messages, not digests.
package transit

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"maps"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/seals"
	sealtransit "github.com/sealgate/sealgate/seals/transit"
)

// Driver is the driver of the type "transit".
type Driver struct{}

var _ device.Driver = Driver{}

// Parameters implements [device.Driver]. The names are OpenBao's.
func (Driver) Parameters() device.Parameters {
	return device.Parameters{
		Connection: []string{"address", "token", "mount_path", "namespace", "disable_renewal", "tls_ca_cert",
			"tls_server_name", "timeout"},
		Key:    []string{"name", "version"},
		Secret: []string{"token"},
	}
}

// Connect implements [device.Driver].
func (Driver) Connect(s device.Settings) (device.Connection, error) {
	c := &connection{}
	c.config = seals.Config{Name: s.Name, Type: "transit", Params: s.Params, Log: s.Log}
	if err := c.Configure(s.Params); err != nil {
		return nil, err
	}
	for _, name := range []string{"address", "token", "mount_path"} {
		if s.Params[name] == "" {
			return nil, fault.New(fault.Invalid, "missing required field %q", name)
		}
	}
	return c, nil
}

// Select implements [device.Driver]: the id is the version.
func (Driver) Select(p device.Params) (device.Ref, error) {
	for _, name := range []string{"name", "version"} {
		if p[name] == "" {
			return device.Ref{}, fault.New(fault.Invalid, "missing required parameter '%s'", name)
		}
	}
	n, err := strconv.Atoi(strings.TrimPrefix(p["version"], "v"))
	if err != nil || n < 1 {
		return device.Ref{}, fault.New(fault.Invalid, "the version must be a number from 1")
	}
	return device.Ref{Name: p["name"], ID: strconv.Itoa(n)}, nil
}

// connection is a mount of an engine with a token.
type connection struct {
	config seals.Config
	device.Opened[device.Ref, *sealtransit.Key]
}

func (c *connection) key(r device.Ref) (*sealtransit.Key, error) {
	return c.Key(r, func() (*sealtransit.Key, error) {
		version, err := strconv.Atoi(r.ID)
		if err != nil {
			return nil, seals.Fail(seals.Misconfigured, err, "correct the version")
		}
		cfg := c.config
		cfg.Params = maps.Clone(c.config.Params)
		cfg.Params["key_name"] = r.Name
		return sealtransit.OpenKey(cfg, version)
	})
}

// Open implements [device.Connection].
func (c *connection) Open(ctx context.Context, r device.Ref) (device.Key, device.Facts, error) {
	k, err := c.key(r)
	if err != nil {
		return nil, device.Facts{}, err
	}
	info, err := k.Describe(ctx)
	if err != nil {
		return nil, device.Facts{}, err
	}
	f := device.Facts{Identity: info.ID, Protection: "external", State: "enabled", Public: info.Public}
	if info.Disabled {
		f.State = "disabled"
	}
	if f.Spec.Type, err = keys.ParseType(info.Type); err != nil || f.Spec.Type == keys.Ed25519 ||
		f.Spec.Type == keys.MLDSA || f.Spec.Type.CMAC() {
		return nil, f, seals.Fail(seals.Misconfigured, errors.New("a key of type "+info.Type+" cannot be served"),
			"use another key")
	}
	t := f.Spec.Type
	if t == keys.HMAC {
		f.Spec.KeySize = info.KeySize
		f.Uses = []device.Usage{device.MAC}
		return &macKey{k}, f, nil
	}
	if t.Encrypts() {
		f.Uses = append(f.Uses, device.Encrypt, device.Decrypt)
	}
	if t.Asymmetric() {
		f.Uses = append(f.Uses, device.Sign, device.Verify)
		return &pair{k, t, r.ID}, f, nil
	}
	return &cipherKey{k}, f, nil
}

// wrong returns the caller's mistake where the server says that data do not belong to the key.
func wrong(err, corrupt error) error {
	if seals.ClassOf(err) == seals.Corrupt {
		return corrupt
	}
	return err
}

type cipherKey struct{ k *sealtransit.Key }

func (c *cipherKey) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	text, err := c.k.Encrypt(ctx, plain, p.AAD)
	return append(dst, text...), err
}

func (c *cipherKey) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	plain, err := c.k.Decrypt(ctx, string(blob), p.AAD)
	if err != nil {
		return nil, wrong(err, keys.ErrGCM)
	}
	defer clear(plain)
	return append(dst, plain...), nil
}

// hashes are the engine's names.
var hashes = map[crypto.Hash]string{
	crypto.SHA1: "sha1", crypto.SHA224: "sha2-224", crypto.SHA256: "sha2-256", crypto.SHA384: "sha2-384",
	crypto.SHA512: "sha2-512", crypto.SHA3_224: "sha3-224", crypto.SHA3_256: "sha3-256", crypto.SHA3_384: "sha3-384",
	crypto.SHA3_512: "sha3-512", 0: "none",
}

type macKey struct{ k *sealtransit.Key }

func (m *macKey) MAC(ctx context.Context, input []byte, h crypto.Hash) ([]byte, error) {
	return m.k.MAC(ctx, input, hashes[h])
}

type pair struct {
	k       *sealtransit.Key
	t       keys.Type
	version string
}

func (p *pair) SignDigest(ctx context.Context, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	salt, pkcs1 := "", p.t.RSA()
	if pss, ok := o.(*rsa.PSSOptions); ok {
		pkcs1 = false
		switch salt = strconv.Itoa(pss.SaltLength); pss.SaltLength {
		case rsa.PSSSaltLengthAuto:
			salt = "auto"
		case rsa.PSSSaltLengthEqualsHash:
			salt = "hash"
		}
	}
	sig, err := p.k.Sign(ctx, digest, hashes[o.HashFunc()], pkcs1, salt)
	if seals.ClassOf(err) == seals.Misconfigured {
		return nil, fault.Wrap(err, fault.Invalid, "the upstream engine does not sign with this hash and padding")
	}
	return sig, err
}

func (p *pair) DecryptRSA(ctx context.Context, block []byte, h crypto.Hash) ([]byte, error) {
	if h != crypto.SHA256 {
		return nil, fault.New(fault.Invalid, "the upstream engine decrypts OAEP alone: encrypt with padding_scheme oaep")
	}
	out, err := p.k.Decrypt(ctx, "vault:v"+p.version+":"+base64.StdEncoding.EncodeToString(block), nil)
	return out, wrong(err, keys.Errors("failed to RSA decrypt the ciphertext: %s", rsa.ErrDecryption))
}
