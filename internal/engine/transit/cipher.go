package transit

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
)

var (
	errNoPlaintext  = fault.New(fault.Invalid, "missing plaintext to encrypt")
	errNoCiphertext = fault.New(fault.Invalid, "missing ciphertext to decrypt")
	errNoBase64     = fault.New(fault.Invalid, "invalid ciphertext: could not decode base64")
	errMixed        = fault.New(fault.Invalid, "context should be set either in all the request blocks or in none")
)

// text is a plaintext or ciphertext with what belongs to it.
type text struct {
	body    string
	context []byte
	aad     []byte
	version int
	pkcs1   bool
}

// readText reads one. Texts of errors are OpenBao's; index is the item's.
func (f fields) readText(name string, k *keys.Key, index int) (t text, err error) {
	if t.body, err = f.text(name); err != nil {
		return t, err
	}
	if len(f) == 1 && t.body != "" { // as most items of a batch
		return t, nil
	}
	if t.version, err = f.number("key_version"); err != nil {
		return t, err
	}
	if t.context, err = f.decoded("context"); err != nil {
		return t, err
	}
	if f.given("associated_data") {
		if err := f.readAAD(&t, k, index); err != nil {
			return t, err
		}
	}
	t.pkcs1, err = f.padding("padding_scheme", k)
	return t, err
}

func (f fields) readAAD(t *text, k *keys.Key, index int) error {
	encoded, err := f.text("associated_data")
	if err != nil || encoded == "" {
		return err
	}
	if !k.Type.AEAD() {
		return fault.New(fault.Invalid, "'[%d].associated_data' provided for non-AEAD cipher suite %s", index, k.Type)
	}
	if t.aad, err = base64.StdEncoding.DecodeString(encoded); err != nil {
		return keys.Errors("unable to get associated_data/additional_data from factory[%d]: %s", index, err)
	}
	return nil
}

// decoded decodes a field whose error is the decoder's own: it shows the position alone.
func (f fields) decoded(name string) ([]byte, error) {
	encoded, err := f.text(name)
	if err != nil || encoded == "" {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s", err)
	}
	return b, nil
}

func (f fields) padding(name string, k *keys.Key) (pkcs1 bool, err error) {
	scheme, err := f.text(name)
	switch {
	case err != nil:
		return false, err
	case scheme != "" && !k.Type.RSA():
		return false, fault.New(fault.Invalid, "%s is not valid for keys of type %s", name, k.Type)
	case scheme == "", scheme == "oaep":
		return false, nil
	case scheme == "pkcs1v15":
		return true, nil
	}
	return false, fault.New(fault.Invalid, `unsupported %s; must be "oaep" or "pkcs1v15"`, name)
}

func (t *text) params() keys.CipherParams {
	return keys.CipherParams{Context: t.context, AAD: t.aad, PKCS1: t.pkcs1}
}

// seal encrypts, and appends the ciphertext to dst.
func (b *backend) seal(
	ctx context.Context, c *call, dst []byte, k *keys.Key, plain []byte, t *text,
) (out []byte, version int, err error) {
	if !k.Type.Encrypts() {
		return nil, 0, fault.New(fault.Invalid, "message encryption not supported for key type %s", k.Type)
	}
	if version, err = k.VersionToEncrypt(t.version, "encryption"); err != nil {
		return nil, 0, err
	}
	e, err := c.encrypter(ctx, k, version)
	if err != nil {
		return nil, 0, err
	}
	blob, err := e.Encrypt(ctx, c.blob[:0], plain, t.params())
	if err != nil {
		return nil, 0, err
	}
	dst = appendPrefix(dst, version)
	return base64.StdEncoding.AppendEncode(dst, blob), version, nil
}

// encrypter opens a version of the request's key. The items of a batch use the same one.
func (c *call) encrypter(ctx context.Context, k *keys.Key, version int) (keys.Encrypter, error) {
	if c.opened != nil && c.openedVersion == version && c.openedKey == k {
		return c.opened, nil
	}
	v, err := k.Version(ctx, version)
	if err != nil {
		return nil, err
	}
	e, err := k.Encrypter(ctx, v)
	if err == nil {
		c.opened, c.openedVersion, c.openedKey = e, version, k
	}
	return e, err
}

// open decrypts, and appends the plaintext to dst.
func (b *backend) open(
	ctx context.Context, c *call, dst []byte, k *keys.Key, t *text,
) (plain []byte, version int, err error) {
	if t.body == "" {
		return nil, 0, errNoCiphertext
	}
	if !k.Type.Encrypts() {
		return nil, 0, fault.New(fault.Invalid, "message decryption not supported for key type %s", k.Type)
	}
	version, body, err := aCiphertext.split(t.body, k)
	if err != nil {
		return nil, 0, err
	}
	blob, err := base64.StdEncoding.AppendDecode(c.blob[:0], []byte(body))
	if err != nil {
		return nil, 0, errNoBase64
	}
	e, err := c.encrypter(ctx, k, version)
	if err != nil {
		return nil, 0, err
	}
	plain, err = e.Decrypt(ctx, dst, blob, t.params())
	return plain, version, err
}

func (b *backend) encrypt(ctx context.Context, c *call) (*mount.Response, error) {
	items, isBatch, err := c.data.batch("")
	if err != nil {
		return nil, err
	}
	if isBatch {
		return b.encryptBatch(ctx, c, items)
	}
	if !c.data.given("plaintext") {
		return nil, errNoPlaintext
	}
	k, err := b.keyToEncrypt(ctx, c, c.data.given("context"))
	if err != nil {
		return nil, err
	}
	t, err := c.data.readText("plaintext", k, 0)
	if err != nil {
		return nil, err
	}
	out, version, err := b.sealText(ctx, c, `{"ciphertext":"`, k, &t)
	if err != nil {
		return nil, err
	}
	k.CountUse(version, 1, c.by())
	out = append(out, `","key_version":`...)
	out = strconv.AppendInt(out, int64(version), 10)
	return c.answer(json.RawMessage(append(out, '}'))), nil
}

// sealText decodes a plaintext and encrypts it. The result begins with head.
func (b *backend) sealText(ctx context.Context, c *call, head string, k *keys.Key, t *text) ([]byte, int, error) {
	plain, err := base64.StdEncoding.AppendDecode(c.plain[:0], []byte(t.body))
	defer clear(plain)
	if err != nil {
		return nil, 0, fault.New(fault.Invalid, "%s", err)
	}
	const more = len(prefix) + len(`10000000:","key_version":10000000}`)
	room := len(head) + base64.StdEncoding.EncodedLen(len(plain)+overhead) + more
	return b.seal(ctx, c, append(make([]byte, 0, room), head...), k, plain, t)
}

// overhead is what most ciphertexts have beside the text: nonce and tag.
const overhead = 24 + 16

func (b *backend) decrypt(ctx context.Context, c *call) (*mount.Response, error) {
	items, isBatch, err := c.data.batch("")
	if err != nil {
		return nil, err
	}
	if !isBatch && !c.data.given("ciphertext") {
		return nil, errNoCiphertext
	}
	k, err := b.use(ctx, c, 0, nil)
	if err != nil {
		return nil, err
	}
	if isBatch {
		return b.decryptBatch(ctx, c, k, items)
	}
	t, err := c.data.readText("ciphertext", k, 0)
	if err != nil {
		return nil, err
	}
	plain, version, err := b.open(ctx, c, c.plain[:0], k, &t)
	defer clear(plain)
	if err != nil {
		return nil, err
	}
	k.CountUse(version, 1, c.by())
	const head, tail = `{"plaintext":"`, `"}`
	out := append(make([]byte, 0, len(head)+len(tail)+base64.StdEncoding.EncodedLen(len(plain))), head...)
	out = base64.StdEncoding.AppendEncode(out, plain)
	return c.answer(json.RawMessage(append(out, tail...))), nil
}

// keyToEncrypt finds the key, or makes it where the request may and the mount allows it.
func (b *backend) keyToEncrypt(ctx context.Context, c *call, derived bool) (*keys.Key, error) {
	k, err := b.use(ctx, c, 0, nil)
	if !errors.Is(err, keys.ErrNotFound) || c.Operation != mount.Create {
		return k, err
	}
	s, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	if s.disableUpsert {
		return nil, keys.ErrNotFound
	}
	spec := keys.Spec{Type: keys.AES256GCM, Derived: derived}
	if spec.Convergent, err = c.data.flag("convergent_encryption"); err != nil {
		return nil, err
	}
	if spec.Convergent && !derived {
		return nil,
			fault.New(fault.Invalid, "convergent encryption requires derivation to be enabled, so context is required")
	}
	if name, err := c.data.text("type"); err != nil {
		return nil, err
	} else if name != "" {
		if spec.Type, err = keys.ParseType(name); err != nil {
			return nil, err
		}
		if spec.Type.RSA() {
			return nil, fault.New(fault.Invalid, "unknown key type %s", name)
		}
		if !spec.Type.AEAD() {
			return nil, fault.New(fault.Invalid, "key type %s not supported for this operation", name)
		}
	}
	first := keys.Settings{Spec: spec}
	k, err = b.keys.Create(ctx, c.segs[0], first, func(ctx context.Context, _ *keys.Key) (*keys.Version, error) {
		return b.keys.Generate(ctx, keys.Software, spec)
	})
	if errors.Is(err, keys.ErrExists) { // another request made it first
		return b.use(ctx, c, 0, nil)
	}
	return k, err
}

func (b *backend) rewrap(ctx context.Context, c *call) (*mount.Response, error) {
	items, isBatch, err := c.data.batch("'' ")
	if err != nil {
		return nil, err
	}
	if !isBatch && !c.data.given("ciphertext") {
		return nil, errNoCiphertext
	}
	k, err := b.use(ctx, c, 0, nil)
	if err != nil {
		return nil, err
	}
	if isBatch {
		return b.rewrapBatch(ctx, c, k, items)
	}
	out, version, err := b.rewrapOne(ctx, c, k, c.data, 0)
	if err != nil {
		return nil, err
	}
	return &mount.Response{Data: ciphertextAnswer{Ciphertext: string(out), KeyVersion: version}}, nil
}

type ciphertextAnswer struct {
	Ciphertext string `json:"ciphertext"`
	KeyVersion int    `json:"key_version"`
	Plaintext  string `json:"plaintext,omitempty"` // of a data key
}

// rewrapOne encrypts by a newer version what an older one has encrypted. The older one does not
// count as used: rewrapping is how a version gets out of use.
func (b *backend) rewrapOne(
	ctx context.Context, c *call, k *keys.Key, f fields, index int,
) (out []byte, version int, err error) {
	t, err := f.readText("ciphertext", k, index)
	if err != nil {
		return nil, 0, err
	}
	from, to := t, t
	for name, into := range map[string]*bool{"decrypt_padding_scheme": &from.pkcs1, "encrypt_padding_scheme": &to.pkcs1} {
		if f.given(name) {
			if *into, err = f.padding(name, k); err != nil {
				return nil, 0, err
			}
		}
	}
	plain, _, err := b.open(ctx, c, nil, k, &from)
	defer clear(plain)
	if err != nil {
		return nil, 0, err
	}
	if out, version, err = b.seal(ctx, c, nil, k, plain, &to); err == nil {
		k.CountUse(version, 1, c.by())
	}
	return out, version, err
}
