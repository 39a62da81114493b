// Package azurekeyvault serves RSA keys of Azure Key Vault and Managed HSM: decryption by OAEP with
// SHA-256, and signatures.
//
// It guarantees that one version of a key serves one version here, so that a rotation in the vault
// changes nothing; and that an endpoint or a token service that a configuration names is used only
// with credentials of the same configuration.
//
// Keys are made in Azure, not here. Elliptic curves and symmetric keys are not served.
package azurekeyvault

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"maps"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/seals"
	sealazure "github.com/sealgate/sealgate/seals/azurekeyvault"
)

// Driver is the driver of the type "azurekeyvault".
type Driver struct{ Getenv func(string) string }

var _ device.Driver = Driver{}

// Parameters implements [device.Driver]. The names are Vault's.
func (Driver) Parameters() device.Parameters {
	return device.Parameters{
		Connection: []string{"tenant_id", "client_id", "client_secret", "environment", "vault_name", "resource", "endpoint",
			"authority_host", "tls_ca_cert", "timeout"},
		Key:     []string{"key_name", "key_version"},
		Secret:  []string{"client_secret"},
		Ignored: []string{"key_type", "key_bits"},
	}
}

// Connect implements [device.Driver].
func (d Driver) Connect(s device.Settings) (device.Connection, error) {
	own := s.Params["tenant_id"] != "" && s.Params["client_id"] != "" && s.Params["client_secret"] != ""
	for _, name := range []string{"endpoint", "authority_host", "resource"} {
		if s.Params[name] != "" && !own {
			return nil, fault.New(fault.Invalid, "%s needs tenant_id, client_id and client_secret in the same "+
				"configuration: the server's own credentials go to Azure alone", name)
		}
	}
	c := &connection{}
	c.config = seals.Config{Name: s.Name, Type: "azurekeyvault", Params: s.Params, Getenv: d.Getenv, Log: s.Log}
	if own {
		c.config.Getenv = nil
	}
	if err := c.Configure(s.Params); err != nil {
		return nil, err
	}
	return c, nil
}

// Select implements [device.Driver]: the id is the version, which is required: the newest one of a
// key changes.
func (Driver) Select(p device.Params) (device.Ref, error) {
	for _, name := range []string{"key_name", "key_version"} {
		if p[name] == "" || strings.ContainsAny(p[name], "/?#%") {
			return device.Ref{}, fault.New(fault.Invalid, "%s is required, without slashes", name)
		}
	}
	return device.Ref{Name: p["key_name"], ID: p["key_version"]}, nil
}

// connection is a vault with credentials.
type connection struct {
	config seals.Config
	device.Opened[device.Ref, *sealazure.Key]
}

func (c *connection) key(r device.Ref) (*sealazure.Key, error) {
	return c.Key(r, func() (*sealazure.Key, error) {
		cfg := c.config
		cfg.Params = maps.Clone(c.config.Params)
		cfg.Params["key_name"] = r.Name
		ca := []byte(cfg.Params["tls_ca_cert"])
		delete(cfg.Params, "tls_ca_cert")
		return sealazure.OpenKey(cfg, r.ID, ca)
	})
}

var sizes = map[int]keys.Type{2048: keys.RSA2048, 3072: keys.RSA3072, 4096: keys.RSA4096}

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
	f := device.Facts{Identity: info.ID, Protection: info.Protection, State: info.State, Deletion: info.Deletion,
		Spec: keys.Spec{Type: sizes[info.Public.N.BitLen()]}, Uses: []device.Usage{device.Encrypt, device.Verify}}
	if f.Spec.Type == 0 {
		return nil, f, seals.Fail(seals.Misconfigured, fmt.Errorf("a key of %d bits cannot be served",
			info.Public.N.BitLen()), "use another key")
	}
	if info.Unwraps {
		f.Uses = append(f.Uses, device.Decrypt)
	}
	if info.Signs {
		f.Uses = append(f.Uses, device.Sign)
	}
	f.Public, err = x509.MarshalPKIXPublicKey(info.Public)
	return &pair{k}, f, err
}

type pair struct{ k *sealazure.Key }

var bits = map[crypto.Hash]string{crypto.SHA256: "256", crypto.SHA384: "384", crypto.SHA512: "512"}

func (p *pair) SignDigest(ctx context.Context, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	h := o.HashFunc()
	algorithm := "RS"
	if pss, ok := o.(*rsa.PSSOptions); ok {
		if algorithm = "PS"; pss.SaltLength > 0 && pss.SaltLength != h.Size() {
			return nil, fault.New(fault.Invalid, "Key Vault signs with a salt as long as the hash: set salt_length to hash")
		}
	}
	if bits[h] == "" {
		return nil, fault.New(fault.Invalid, "Key Vault signs with sha2-256, sha2-384 and sha2-512")
	}
	return p.k.Sign(ctx, digest, algorithm+bits[h])
}

func (p *pair) DecryptRSA(ctx context.Context, block []byte, h crypto.Hash) ([]byte, error) {
	if h != crypto.SHA256 {
		return nil, fault.New(fault.Invalid, "Key Vault decrypts OAEP alone: encrypt with padding_scheme oaep")
	}
	out, err := p.k.DecryptRSA(ctx, block)
	if seals.ClassOf(err) == seals.Corrupt {
		err = keys.Errors("failed to RSA decrypt the ciphertext: %s", rsa.ErrDecryption)
	}
	return out, err
}
