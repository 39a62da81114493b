package transit

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
)

// exportKinds are what can be exported, and whether it is secret.
var exportKinds = map[string]bool{
	"encryption-key": true, "signing-key": true, "hmac-key": true, "cmac-key": true, "public-key": false,
	"certificate-chain": false,
}

type exportAnswer struct {
	Keys map[string]string `json:"keys"`
	Name string            `json:"name"`
	Type string            `json:"type"`
}

func export(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	what := c.segs[0]
	secret, ok := exportKinds[what]
	if !ok {
		return nil, fault.New(fault.Invalid, "invalid export type: %s", what)
	}
	format := c.Query.Get("format")
	if format != "" && format != "raw" && format != "der" && format != "pem" {
		return nil, fault.New(fault.Invalid, "invalid format: %s", format)
	}
	k, err := b.use(ctx, c, 1, nil)
	if errors.Is(err, keys.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := mayExport(k, what, secret); err != nil {
		return nil, err
	}
	a := exportAnswer{Keys: map[string]string{}, Name: k.Name, Type: k.Type.String()}
	err = eachExported(ctx, k, c.segs[2], func(v *keys.Version) error {
		text, err := exportVersion(ctx, k, v, what, format)
		a.Keys[strconv.Itoa(v.Number)] = text
		return err
	})
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: a}, nil
}

func mayExport(k *keys.Key, what string, secret bool) error {
	switch {
	case secret && !k.Exportable:
		return fault.New(fault.Invalid, "private key material is not exportable")
	case what == "encryption-key" && !k.Type.Encrypts():
		return fault.New(fault.Invalid, "encryption not supported for the key")
	case what == "signing-key" && !k.Type.Signs():
		return fault.New(fault.Invalid, "signing not supported for the key")
	case what == "cmac-key" && !k.Type.CMAC():
		return fault.New(fault.Invalid, "CMAC not supported for the key")
	case what == "certificate-chain" && !k.Type.Signs():
		return fault.New(fault.Invalid, "certificate chain not supported for keys that do not support signing")
	case what == "public-key" && !k.Type.Asymmetric():
		return keys.Errors("unknown key type %s for export type public-key", k.Type)
	case what == "public-key" && k.Derived:
		return fault.New(fault.Invalid, "the public key of a derived key depends on the context: read the "+
			"key with its context")
	}
	return nil
}

// eachExported visits the versions that a request names: one, "latest", or all that can decrypt.
func eachExported(ctx context.Context, k *keys.Key, which string, visit func(*keys.Version) error) error {
	from, to := k.MinDecryption, k.Latest
	switch which {
	case "":
	case "latest":
		from = to
	default:
		n, err := strconv.Atoi(strings.TrimPrefix(which, "v"))
		switch {
		case err != nil:
			return fault.New(fault.Invalid, "invalid key version")
		case n < k.MinDecryption:
			return fault.New(fault.Invalid, "version for export is below minimum decryption version")
		}
		from, to = n, n
	}
	for n := from; n <= to; n++ {
		v, err := k.Version(ctx, n)
		if err != nil {
			return err
		}
		if err := visit(v); err != nil {
			return err
		}
	}
	return nil
}

func exportVersion(ctx context.Context, k *keys.Key, v *keys.Version, what, format string) (string, error) {
	switch what {
	case "public-key":
		return exportPublic(k, v, format)
	case "certificate-chain":
		if len(v.Chain) == 0 {
			return "", keys.Errors("selected key version does not have a certificate chain imported")
		}
		return chainPEM(v.Chain), nil
	}
	e, err := k.Exporter(ctx, v)
	if err != nil {
		return "", err
	}
	if what == "hmac-key" {
		if format == "der" || format == "pem" {
			return "", errNotBytes
		}
		mac := e.ExportHMAC()
		defer mac.Destroy()
		return base64.StdEncoding.EncodeToString(mac.Expose()), nil
	}
	private, err := e.Export()
	if err != nil {
		return "", err
	}
	defer private.Destroy()
	if private.Len() == 0 {
		return "", keys.Errors("version %d of the key has no private part", v.Number)
	}
	return encodePrivate(k, private.Expose(), format)
}

var errNotBytes = keys.Errors("unknown format for HMAC key; supported values are `` or `raw`")

// encodePrivate gives the forms of OpenBao: where no format is asked for, those of PKCS #1 and SEC
// 1.
func encodePrivate(k *keys.Key, private []byte, format string) (string, error) {
	if k.Type.Symmetric() || k.Type == keys.MLDSA {
		if format == "der" || format == "pem" {
			return "", errNotBytes
		}
		return base64.StdEncoding.EncodeToString(private), nil
	}
	switch format {
	case "der":
		return base64.StdEncoding.EncodeToString(private), nil
	case "pem":
		return strings.TrimSpace(pemText("PRIVATE KEY", private)), nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("%w: a private key: %w", keys.ErrRecord, err)
	}
	switch p := parsed.(type) {
	case ed25519.PrivateKey:
		return base64.StdEncoding.EncodeToString(p), nil
	case *rsa.PrivateKey:
		if format == "raw" {
			return "", keys.Errors("unknown key format for rsa key; supported values are ``, `der`, or `pem`")
		}
		return strings.TrimSpace(pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(p))), nil
	case *ecdsa.PrivateKey:
		if format == "raw" {
			return "", keys.Errors("unknown key format for ec key; supported values are ``, `der`, or `pem`")
		}
		der, err := x509.MarshalECPrivateKey(p)
		return strings.TrimSpace(pemText("EC PRIVATE KEY", der)), err
	}
	return "", fmt.Errorf("%w: a private key of type %T", keys.ErrRecord, parsed)
}

func exportPublic(k *keys.Key, v *keys.Version, format string) (string, error) {
	der := v.Material.Public
	bytes := k.Type == keys.Ed25519 || k.Type == keys.MLDSA
	switch {
	case k.Type == keys.MLDSA && (format == "der" || format == "pem"):
		return "", errNotBytes
	case format == "der":
		return base64.StdEncoding.EncodeToString(der), nil
	case format == "" && bytes, format == "raw" && bytes:
		return publicText(k, v)
	case format == "raw":
		return "", keys.Errors("unknown key format for a public key of this type; supported values are ``, `der`, or `pem`")
	case k.Type.RSA():
		return pemText("PUBLIC KEY", der), nil // with the newline at its end, which the others lack
	}
	return strings.TrimSpace(pemText("PUBLIC KEY", der)), nil
}

func backup(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	name, err := c.name(0)
	if err != nil {
		return nil, err
	}
	text, err := b.keys.Backup(ctx, name)
	if errors.Is(err, keys.ErrNotFound) {
		return nil, keys.Errors("key %q not found", name)
	}
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: struct {
		Backup string `json:"backup"`
	}{text}}, nil
}

func restore(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	text, err := c.data.text("backup")
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, fault.New(fault.Invalid, "'backup' must be supplied")
	}
	force, err := c.data.flag("force")
	if err != nil {
		return nil, err
	}
	if c.n > 1 {
		return nil, keys.Errors("key names cannot be paths")
	}
	backup, err := keys.ParseBackup(text)
	if err != nil {
		return nil, err
	}
	name := backup.Name
	if c.n == 1 {
		name = c.segs[0]
	}
	if !validName(name) {
		return nil, keys.Errors("key names cannot be paths")
	}
	err = b.keys.Restore(ctx, name, backup, force)
	if errors.Is(err, keys.ErrExists) {
		return nil, keys.Errors("key %q already exists", name)
	}
	if err != nil {
		return nil, err
	}
	if k, err := b.keys.Get(ctx, name); err == nil {
		b.reschedule(ctx, k)
	}
	return nil, nil
}
