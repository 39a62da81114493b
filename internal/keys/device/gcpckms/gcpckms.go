// Package gcpckms serves symmetric keys of Google Cloud KMS.
//
// It guarantees that an endpoint other than Google's is used only with credentials of the same
// configuration, and that credentials given by a request name no file, program or address: they are
// those of a service account.
//
// Ciphertexts are those of Cloud KMS; at most 64 KiB can be encrypted. Keys for signatures are not
// served, and keys are made in Google Cloud, not here.
package gcpckms

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/seals"
	sealgcpckms "github.com/sealgate/sealgate/seals/gcpckms"
)

// Driver is the driver of the type "gcpckms".
type Driver struct{ Getenv func(string) string }

var _ device.Driver = Driver{}

// Parameters implements [device.Driver]. The names are Vault's.
func (Driver) Parameters() device.Parameters {
	return device.Parameters{
		Connection: []string{"credentials", "project", "region", "key_ring", "endpoint", "tls_ca_cert", "timeout"},
		Key:        []string{"crypto_key"},
		Secret:     []string{"credentials"},
		Ignored:    []string{"crypto_key_version", "algorithm"},
	}
}

// Connect implements [device.Driver].
func (d Driver) Connect(s device.Settings) (device.Connection, error) {
	if s.Params["endpoint"] != "" && s.Params["credentials"] == "" {
		return nil, fault.New(fault.Invalid, "an endpoint needs credentials in the same configuration: the server's own "+
			"credentials go to Google alone")
	}
	if v := s.Params["credentials"]; v != "" && !strings.HasPrefix(strings.TrimSpace(v), "{") {
		return nil, fault.New(fault.Invalid, "credentials must be the JSON of a service account")
	}
	c := &connection{}
	c.config = seals.Config{Name: s.Name, Type: "gcpckms", Params: s.Params, Getenv: d.Getenv, Log: s.Log}
	if s.Params["credentials"] != "" {
		c.config.Getenv = nil
	}
	if err := c.Configure(s.Params); err != nil {
		return nil, err
	}
	return c, nil
}

// Select implements [device.Driver].
func (Driver) Select(p device.Params) (device.Ref, error) {
	if p["crypto_key"] == "" {
		return device.Ref{}, fault.New(fault.Invalid, "crypto_key is required: the name of the key in its key ring")
	}
	return device.Ref{Name: p["crypto_key"]}, nil
}

// connection is a key ring with credentials.
type connection struct {
	config seals.Config
	device.Opened[string, *sealgcpckms.Key]
}

func (c *connection) key(name string) (*sealgcpckms.Key, error) {
	return c.Key(name, func() (*sealgcpckms.Key, error) {
		cfg := c.config
		cfg.Params = maps.Clone(c.config.Params)
		cfg.Params["crypto_key"] = name
		ca := []byte(cfg.Params["tls_ca_cert"])
		delete(cfg.Params, "tls_ca_cert")
		return sealgcpckms.OpenKey(cfg, ca)
	})
}

// Open implements [device.Connection].
func (c *connection) Open(ctx context.Context, r device.Ref) (device.Key, device.Facts, error) {
	k, err := c.key(r.Name)
	if err != nil {
		return nil, device.Facts{}, err
	}
	st, err := k.Describe(ctx)
	if err != nil {
		return nil, device.Facts{}, err
	}
	f := device.Facts{Identity: st.ID, Protection: st.Protection, State: st.State, Deletion: st.DeletionDate,
		Spec: keys.Spec{Type: keys.AES256GCM}, Uses: []device.Usage{device.Encrypt, device.Decrypt}}
	if st.Detail["purpose"] != "" {
		return nil, f, seals.Fail(seals.Misconfigured, errors.New("a key of the purpose "+st.Detail["purpose"]+
			" cannot be served"), "use a symmetric key")
	}
	return &cipherKey{k}, f, nil
}

type cipherKey struct{ k *sealgcpckms.Key }

func (c *cipherKey) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	if len(plain) == 0 || len(plain) > sealgcpckms.MaxPlaintext || len(p.AAD) > sealgcpckms.MaxPlaintext/2 {
		return nil, fault.New(fault.Invalid, "Cloud KMS encrypts from 1 to %d bytes, with at most half as much additional "+
			"data", sealgcpckms.MaxPlaintext)
	}
	blob, err := c.k.Encrypt(ctx, plain, p.AAD)
	return append(dst, blob...), err
}

func (c *cipherKey) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	plain, err := c.k.Decrypt(ctx, blob, p.AAD)
	if seals.ClassOf(err) == seals.Corrupt {
		return nil, keys.ErrGCM
	}
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return append(dst, plain...), nil
}
