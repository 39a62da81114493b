package pkcs11

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/url"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/secret"
	sealpkcs11 "github.com/sealgate/sealgate/seals/pkcs11"
)

var (
	_ device.Driver    = Driver{}
	_ device.Typer     = Driver{}
	_ device.Generator = (*connection)(nil)
	_ device.Importer  = (*connection)(nil)
	_ device.Remover   = (*connection)(nil)
	_ device.Namer     = (*connection)(nil)
)

var kinds = map[keys.Type]hsm.Kind{
	keys.AES256GCM: hsm.AES256, keys.AES128GCM: hsm.AES128, keys.HMAC: hsm.HMAC256, keys.RSA2048: hsm.RSA2048,
	keys.RSA3072: hsm.RSA3072, keys.RSA4096: hsm.RSA4096, keys.ECDSAP256: hsm.ECP256, keys.ECDSAP384: hsm.ECP384,
	keys.ECDSAP521: hsm.ECP521,
}

func template(r device.Ref, s keys.Spec) (t hsm.Template, err error) {
	kind, ok := kinds[s.Type]
	if !ok || s.Type == keys.HMAC && s.KeySize != 32 {
		return t, fault.New(fault.Invalid, "a token has no keys of type %s with this size", s.Type)
	}
	if r.Name == "" {
		return t, fault.New(fault.Invalid, "key_label is required to make or import a key")
	}
	t = hsm.Template{Kind: kind, Label: r.Name, Sign: s.Type.RSA()}
	if t.ID, err = hex.DecodeString(r.ID); err != nil || len(t.ID) == 0 {
		t.ID = make([]byte, 16)
		_, _ = rand.Read(t.ID) // never fails
	}
	return t, nil
}

// Generate implements [device.Generator]. The label may belong to no other key.
func (c *connection) Generate(ctx context.Context, r device.Ref, s keys.Spec) (device.Ref, error) {
	t, err := template(r, s)
	if err != nil {
		return r, err
	}
	return made(t, c.name, c.token.Generate(ctx, t))
}

// Fresh implements [device.Importer].
func (c *connection) Fresh(r device.Ref) device.Ref {
	if r.ID == "" {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		r.ID = hex.EncodeToString(id)
	}
	return r
}

// Import implements [device.Importer].
func (c *connection) Import(ctx context.Context, r device.Ref, s keys.Spec, private *secret.Bytes) (device.Ref, error) {
	t, err := template(r, s)
	if err != nil {
		return r, err
	}
	err = c.token.Import(ctx, t, private)
	if errors.Is(err, hsm.ErrConfig) {
		return r, fault.Wrap(err, fault.Invalid, "the key cannot be imported: it is not a valid key of type %s", s.Type)
	}
	return made(t, c.name, err)
}

func made(t hsm.Template, name string, err error) (device.Ref, error) {
	r := device.Ref{Name: t.Label, ID: hex.EncodeToString(t.ID)}
	switch {
	case errors.Is(err, hsm.ErrKeyExists):
		return r, device.ErrExists
	case err != nil:
		return r, sealpkcs11.Failure(name, err)
	}
	return r, nil
}

// Remove implements [device.Remover]: the key's id is looked up where the reference has none.
func (c *connection) Remove(ctx context.Context, r device.Ref) error {
	if r.ID == "" || r.Name == "" {
		_, facts, err := c.Open(ctx, r)
		if err != nil {
			return err
		}
		if r, err = refOf(facts.Identity); err != nil {
			return err
		}
	}
	id, err := idOf(r)
	if err != nil {
		return sealpkcs11.Failure(c.name, err)
	}
	return sealpkcs11.Failure(c.name, c.token.Destroy(ctx, r.Name, id))
}

// Identity implements [device.Namer]. A reference without an id gets one at random.
func (c *connection) Identity(r device.Ref) string {
	uri := "pkcs11:object=" + url.PathEscape(r.Name)
	if id, err := hex.DecodeString(r.ID); err == nil && len(id) > 0 {
		uri += ";id=" + url.PathEscape(string(id))
	}
	return uri
}

func refOf(identity string) (device.Ref, error) {
	label, id := sealpkcs11.URIParts(identity)
	if label == "" || id == "" {
		return device.Ref{}, fault.New(fault.Invalid, "the key has no label or no id in the token, and can only be "+
			"destroyed there")
	}
	return device.Ref{Name: label, ID: id}, nil
}
