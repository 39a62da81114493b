package transit

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/secret"
)

// wrappingName is the key that others wrap theirs with. No request can name it: it is shown as a
// folder.
const wrappingName = "import/wrapping-key"

// wrapping gives that key; the first call makes it.
func (b *backend) wrapping(ctx context.Context) (*keys.Key, *keys.Version, error) {
	spec := keys.Spec{Type: keys.RSA4096}
	k, err := b.keys.Get(ctx, wrappingName)
	if errors.Is(err, keys.ErrNotFound) {
		k, err = b.keys.Create(ctx, wrappingName, keys.Settings{Spec: spec},
			func(ctx context.Context, _ *keys.Key) (*keys.Version, error) {
				return b.keys.Generate(ctx, keys.Software, spec)
			})
	}
	if err != nil && !errors.Is(err, keys.ErrExists) {
		return nil, nil, err
	}
	v, err := k.Version(ctx, k.Latest)
	return k, v, err
}

func wrappingKey(b *backend, ctx context.Context, _ *call) (*mount.Response, error) {
	_, v, err := b.wrapping(ctx)
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: struct {
		PublicKey string `json:"public_key"`
	}{pemText("PUBLIC KEY", v.Material.Public)}}, nil
}

// wrapHashes are the hashes of RSA-OAEP by the names of the API.
var wrapHashes = map[string]crypto.Hash{
	"SHA1": crypto.SHA1, "SHA224": crypto.SHA224, "SHA256": crypto.SHA256, "SHA384": crypto.SHA384,
	"SHA512": crypto.SHA512,
}

func readWrapHash(name string) (crypto.Hash, bool) {
	if name == "" {
		return crypto.SHA256, true
	}
	h, ok := wrapHashes[strings.ReplaceAll(strings.ToUpper(name), "-", "")]
	return h, ok && (h != crypto.SHA1 || !fips.Required())
}

// incoming is key material that a request brings: a private key, or a public one alone.
type incoming struct {
	private *secret.Bytes
	public  []byte
}

// readIncoming unwraps what is imported.
func (b *backend) readIncoming(ctx context.Context, c *call, t keys.Type) (in incoming, err error) {
	name, err := c.data.text("hash_function")
	if err != nil {
		return in, err
	}
	h, ok := readWrapHash(name)
	if !ok {
		return in, fault.New(fault.Invalid, "unknown hash function: %s", name)
	}
	text, err := c.data.text("ciphertext")
	if err != nil {
		return in, err
	}
	if text == "" {
		return readPublic(c, t)
	}
	wrapped, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return in, keys.Errors("%s", err)
	}
	k, v, err := b.wrapping(ctx)
	if err != nil {
		return in, err
	}
	handle, err := k.Handle(ctx, v)
	if err != nil {
		return in, err
	}
	in.private, err = handle.(keys.Unwrapper).Unwrap(wrapped, h)
	return in, err
}

func readPublic(c *call, t keys.Type) (in incoming, err error) {
	if !t.Asymmetric() || t == keys.MLDSA {
		return in, keys.Errors("provided type does not support public_key import")
	}
	text, err := c.data.text("public_key")
	if err != nil {
		return in, err
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return in, keys.Errors("error importing key: error parsing public key: not in PEM format")
	}
	in.public = block.Bytes
	return in, nil
}

// version makes a version of what was brought.
func (in incoming) version(ctx context.Context, s *keys.Store, spec keys.Spec) (*keys.Version, error) {
	defer in.private.Destroy()
	i, err := s.Importer(keys.Software)
	if err != nil {
		return nil, err
	}
	var m keys.Material
	if in.private != nil {
		m, err = i.Import(ctx, spec, in.private)
	} else {
		m, err = i.ImportPublic(ctx, spec, in.public)
	}
	if err != nil {
		return nil, err
	}
	return s.NewVersion(keys.Software, m), nil
}

func importKey(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	name := c.segs[0]
	spec, err := c.readImportSpec()
	if err != nil {
		return nil, err
	}
	s := keys.Settings{Spec: spec, Imported: true}
	if err := c.readPermissions(&s); err != nil {
		return nil, err
	}
	if s.ImportedRotation, err = c.data.flag("allow_rotation"); err != nil {
		return nil, err
	}
	exists := keys.Errors("the import path cannot be used with an existing key; use import-version to rotate an " +
		"existing imported key")
	if _, err := b.keys.Get(ctx, name); !errors.Is(err, keys.ErrNotFound) {
		if err == nil {
			err = exists
		}
		return nil, err
	}
	in, err := b.readIncoming(ctx, c, spec.Type)
	if err != nil {
		return nil, err
	}
	if spec.Type == keys.HMAC && in.private != nil {
		s.KeySize = in.private.Len()
	}
	k, err := b.keys.Create(ctx, name, s, func(ctx context.Context, k *keys.Key) (*keys.Version, error) {
		if v, ok, err := in.deviceVersion(b, ctx, k, c); ok || err != nil {
			return v, err
		}
		return in.version(ctx, b.keys, s.Spec)
	})
	if errors.Is(err, keys.ErrExists) {
		return nil, exists
	}
	if err != nil {
		return nil, err
	}
	b.reschedule(ctx, k)
	return settled(b, ctx, k)
}

func (c *call) readImportSpec() (keys.Spec, error) {
	name, err := c.data.text("type")
	if err != nil {
		return keys.Spec{}, err
	}
	if _, err := keys.ParseType(name); name != "" && err != nil {
		return keys.Spec{}, fault.New(fault.Invalid, "unknown key type: %s", name)
	}
	return c.readSpec()
}

func importVersion(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	name := c.segs[0]
	k, err := b.keys.Get(ctx, name)
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return nil, keys.Errors("no key found with name %s; to import a new key, use the import/ endpoint", name)
	case err != nil:
		return nil, err
	case !k.Imported:
		return nil, keys.Errors("the import_version endpoint can only be used with an imported key")
	case k.SoftDeleted:
		return nil, keys.ErrSoftDeleted
	}
	number, err := c.data.number("version")
	if err != nil {
		return nil, err
	}
	in, err := b.readIncoming(ctx, c, k.Type)
	if err != nil {
		return nil, err
	}
	spec := k.Spec
	v, err := in.nextVersion(b, ctx, k, number)
	if err != nil {
		return nil, err
	}
	k, err = b.keys.Change(ctx, name, func(ctx context.Context, ch *keys.Change) error {
		if ch.Spec != spec || !ch.Imported || isDevice(v) && v.Number != ch.Latest+1 {
			return fault.New(fault.Invalid, "the key %s was replaced by another meanwhile: try again", name)
		}
		if number == 0 {
			ch.Add(v)
			return nil
		}
		return completeVersion(ctx, ch, number, v)
	})
	if err != nil {
		return nil, err
	}
	b.reschedule(ctx, k)
	return settled(b, ctx, k)
}

// completeVersion gives a version that has a public part alone its private one.
func completeVersion(ctx context.Context, ch *keys.Change, number int, v *keys.Version) error {
	old, err := ch.Key().Version(ctx, number)
	if err != nil {
		return err
	}
	e, err := ch.Key().Exporter(ctx, old)
	if err != nil {
		return err
	}
	private, err := e.Export()
	if err != nil {
		return err
	}
	defer private.Destroy()
	switch {
	case private.Len() > 0:
		return keys.Errors("version %d of the key has a private part already", number)
	case string(old.Material.Public) != string(v.Material.Public):
		return keys.Errors("error importing key: the private key does not belong to the public key of version %d", number)
	}
	ch.Replace(old.With(func(n *keys.Version) { n.Material.Reference = v.Material.Reference.Clone() }))
	return nil
}

// byokExport wraps a key for the holder of another, in the form that import takes.
func byokExport(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	to, err := b.use(ctx, c, 0, keys.Errors("no such destination key to export to"))
	if err != nil {
		return nil, err
	}
	from, err := b.use(ctx, c, 1, keys.Errors("no such source key for export"))
	if err != nil {
		return nil, err
	}
	h, ok := readWrapHash(c.Query.Get("hash"))
	switch {
	case !from.Exportable:
		return nil, fault.New(fault.Invalid, "key is not exportable")
	case !to.Type.RSA():
		return nil, keys.Errors("unsupported key type in use; must be a rsa key")
	case !ok:
		return nil, keys.Errors("unknown hash function: %s", c.Query.Get("hash"))
	}
	target, err := to.Version(ctx, to.Latest)
	if err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(target.Material.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: the public part of %s: %w", keys.ErrRecord, to.Name, err)
	}
	a := exportAnswer{Keys: map[string]string{}, Name: from.Name, Type: from.Type.String()}
	err = eachExported(ctx, from, c.segs[2], func(v *keys.Version) error {
		e, err := from.Exporter(ctx, v)
		if err != nil {
			return err
		}
		private, err := e.Export()
		if err != nil {
			return err
		}
		defer private.Destroy()
		if private.Len() == 0 {
			return keys.Errors("version %d of the key has no private part", v.Number)
		}
		wrapped, err := keys.WrapFor(public.(*rsa.PublicKey), h, private)
		a.Keys[strconv.Itoa(v.Number)] = base64.StdEncoding.EncodeToString(wrapped)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: a}, nil
}
