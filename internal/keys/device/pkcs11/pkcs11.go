// Package pkcs11 serves keys on PKCS#11 tokens: AES-GCM, RSA, ECDSA and HMAC.
//
// It guarantees that a key that it makes or imports cannot leave the token, and is read back; that
// every call ends by its deadline; and that the library runs where the seal's would: in a confined
// child process.
//
// It does not guarantee that a key that exists is protected: its facts say what the token reports.
// Ciphertexts of AES-GCM are IV (12 bytes), ciphertext and tag, as those of software keys.
package pkcs11

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/seals"
	sealpkcs11 "github.com/sealgate/sealgate/seals/pkcs11"
)

// Driver is the driver of the type "pkcs11". Getenv resolves the PIN of a kms_library stanza.
type Driver struct{ Getenv func(string) string }

// Parameters implements [device.Driver]. The names are Vault's.
func (Driver) Parameters() device.Parameters {
	return device.Parameters{
		Connection: []string{"library", "token_label", "token_serial", "slot", "pin", "max_parallel", "timeout"},
		Key:        []string{"key_label", "key_id", "mechanism", "key_bits", "curve"},
		Secret:     []string{"pin"},
		Ignored:    []string{"force_rw_session"},
	}
}

// maxSessions bounds what a request can ask for: a seal may need sessions of the same token.
const maxSessions = 32

// Connect implements [device.Driver]. What the stanza sets, a request cannot set.
func (d Driver) Connect(s device.Settings) (device.Connection, error) {
	p := map[string]string{}
	maps.Copy(p, s.Library.Params)
	for name, v := range s.Params {
		switch {
		case name == "library":
		case p[name] != "" && p[name] != v:
			return nil, fault.New(fault.Invalid, "%s is set by the kms_library stanza: leave it out", name)
		default:
			p[name] = v
		}
	}
	if n, err := strconv.Atoi(s.Params["max_parallel"]); err == nil && n > maxSessions {
		return nil, fault.New(fault.Invalid, "max_parallel is at most %d, so that sessions are left for the token's other "+
			"users; the kms_library stanza can set more", maxSessions)
	}
	p["lib"] = s.Library.Path
	t, timeout, err := sealpkcs11.OpenToken(seals.Config{Name: s.Name, Type: "pkcs11", Params: p, Getenv: d.Getenv,
		Log: s.Log})
	if err != nil {
		return nil, err
	}
	return &connection{token: t, name: s.Name, timeout: timeout}, nil
}

// Select implements [device.Driver]: the name is the label, the id CKA_ID in hexadecimal.
func (Driver) Select(p device.Params) (device.Ref, error) {
	id, err := sealpkcs11.ParseID(p["key_id"])
	if err != nil {
		return device.Ref{}, fault.New(fault.Invalid, "%s", err)
	}
	if p["key_label"] == "" && id == nil {
		return device.Ref{}, fault.New(fault.Invalid, "key_label or key_id is required")
	}
	if _, _, err := (Driver{}).Spec(p); err != nil {
		return device.Ref{}, err
	}
	return device.Ref{Name: p["key_label"], ID: hex.EncodeToString(id)}, nil
}

// Mechanisms of PKCS#11 by the family of key that they need.
var families = map[uint]string{
	0x1080: "aes", 0x1087: "aes", // CKM_AES_KEY_GEN, CKM_AES_GCM
	0x0000: "rsa", 0x0001: "rsa", 0x0009: "rsa", 0x000d: "rsa", 0x0040: "rsa", 0x0043: "rsa", // RSA, PKCS, OAEP, PSS
	0x1040: "ec", 0x1041: "ec", 0x1044: "ec", // EC, ECDSA, ECDSA_SHA256
	0x0251: "hmac", 0x0350: "hmac", // SHA256_HMAC, GENERIC_SECRET_KEY_GEN
}

// specs are the keys that can be made, by family and size or curve.
var specs = map[string]keys.Spec{
	"aes": {Type: keys.AES256GCM}, "aes 256": {Type: keys.AES256GCM}, "aes 128": {Type: keys.AES128GCM},
	"rsa": {Type: keys.RSA3072}, "rsa 2048": {Type: keys.RSA2048}, "rsa 3072": {Type: keys.RSA3072},
	"rsa 4096": {Type: keys.RSA4096},
	"ec":       {Type: keys.ECDSAP256}, "ec P-256": {Type: keys.ECDSAP256}, "ec P-384": {Type: keys.ECDSAP384},
	"ec P-521": {Type: keys.ECDSAP521},
	"hmac":     {Type: keys.HMAC, KeySize: 32}, "hmac 256": {Type: keys.HMAC, KeySize: 32},
}

// curveNames are Vault's and the field's names of curves.
var curveNames = map[string]string{
	"P256": "P-256", "P384": "P-384", "P521": "P-521", "P-256": "P-256", "P-384": "P-384", "P-521": "P-521",
}

// Spec implements [device.Typer]: mechanism, key_bits and curve say what key to make.
func (Driver) Spec(p device.Params) (keys.Spec, bool, error) {
	family := "aes"
	if p["curve"] != "" {
		family = "ec"
	}
	if v := p["mechanism"]; v != "" {
		m, err := hsm.ParseMechanism(v)
		if err != nil || families[m] == "" {
			return keys.Spec{}, false, fault.New(fault.Invalid, "unknown mechanism %q: give CKM_AES_GCM (0x1087), 0x1041 "+
				"(ECDSA), 0x0001, 0x0009 or 0x000D (RSA PKCS, OAEP, PSS) or 0x0251 (SHA-256 HMAC)", v)
		}
		family = families[m]
	}
	size := p["key_bits"]
	if c := p["curve"]; c != "" {
		size = cmp.Or(curveNames[strings.ToUpper(c)], c)
	}
	if family == "ec" && p["curve"] == "" && size != "" {
		size = "P-" + size
	}
	s, ok := specs[strings.TrimSpace(family+" "+size)]
	if !ok {
		return s, false, fault.New(fault.Invalid, "no %s key of the size %q can be made: see key_bits and curve", family,
			size)
	}
	return s, p["mechanism"]+p["curve"]+p["key_bits"] != "", nil
}

// connection is one token.
type connection struct {
	token   *hsm.Token
	name    string
	timeout time.Duration
}

func (c *connection) Timeout() time.Duration { return c.timeout }

func (c *connection) Close() error { return c.token.Close() }

// Open implements [device.Connection].
func (c *connection) Open(ctx context.Context, r device.Ref) (device.Key, device.Facts, error) {
	id, err := idOf(r)
	if err != nil {
		return nil, device.Facts{}, sealpkcs11.Failure(c.name, err)
	}
	d, err := c.token.DeviceKey(r.Name, id)
	if err != nil {
		return nil, device.Facts{}, sealpkcs11.Failure(c.name, err)
	}
	info, err := d.Describe(ctx)
	if err != nil {
		return nil, device.Facts{}, sealpkcs11.Failure(c.name, err)
	}
	facts, err := factsOf(info)
	if err == nil {
		d, err = c.pinned(d, info.URI)
	}
	if err != nil {
		return nil, device.Facts{}, sealpkcs11.Failure(c.name, err)
	}
	k := key{d, c.name}
	switch {
	case facts.Spec.Type.AEAD():
		return &aesKey{k}, facts, nil
	case facts.Spec.Type == keys.HMAC:
		return &hmacKey{k}, facts, nil
	}
	return &pair{k}, facts, nil
}

// idOf returns the id of a reference; nil where it names a label alone: package hsm takes an empty
// id that is not nil for that of a key without an id.
func idOf(r device.Ref) ([]byte, error) {
	if r.ID == "" {
		return nil, nil
	}
	id, err := hex.DecodeString(r.ID)
	if err != nil {
		return nil, hsm.ErrConfig
	}
	return id, nil
}

// pinned selects a key by label and id, however it was found: another key that gets its label later
// is not used in its place.
func (c *connection) pinned(d *hsm.DeviceKey, uri string) (*hsm.DeviceKey, error) {
	label, text := sealpkcs11.URIParts(uri)
	id, err := hex.DecodeString(text)
	if err != nil || len(id) == 0 {
		return d, nil // the key has no id
	}
	return c.token.DeviceKey(label, id)
}

func factsOf(info hsm.DeviceKeyInfo) (f device.Facts, err error) {
	_, name, _ := strings.Cut(info.URI, ";") // without the serial number, which a token's backup changes
	f = device.Facts{Identity: "pkcs11:" + name, Protection: info.Protection.String(), State: "enabled"}
	switch p := info.Public.(type) {
	case *rsa.PublicKey:
		f.Spec, err = specOf(fmt.Sprintf("rsa %d", p.N.BitLen()))
	case *ecdsa.PublicKey:
		f.Spec, err = specOf("ec " + p.Params().Name)
	case nil:
		switch {
		case info.Type == hsm.TypeHMAC:
			f.Spec = keys.Spec{Type: keys.HMAC, KeySize: 32}
			f.Uses = []device.Usage{device.MAC}
		case info.Bits == 0:
			f.Spec = keys.Spec{Type: keys.AES256GCM}
		default:
			f.Spec, err = specOf(fmt.Sprintf("aes %d", info.Bits))
		}
	}
	if err == nil && info.Public != nil {
		f.Public, err = x509.MarshalPKIXPublicKey(info.Public)
	}
	if info.Type == hsm.TypeAES || info.Type == hsm.TypeRSA {
		f.Uses = append(f.Uses, device.Encrypt)
		if info.Decrypt {
			f.Uses = append(f.Uses, device.Decrypt)
		}
	}
	if info.Public != nil {
		f.Uses = append(f.Uses, device.Verify)
		if info.Sign {
			f.Uses = append(f.Uses, device.Sign)
		}
	}
	return f, err
}

func specOf(name string) (keys.Spec, error) {
	s, ok := specs[name]
	if !ok {
		return s, fmt.Errorf("%w: a key %q is of no type that can be served", hsm.ErrKeyType, name)
	}
	return s, nil
}

// key is a key on the token.
type key struct {
	*hsm.DeviceKey
	name string
}

// fail classifies. Data that do not belong to the key are the caller's mistake.
func (k key) fail(err, corrupt error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hsm.ErrCorrupt), errors.Is(err, hsm.ErrFormat):
		return corrupt
	case errors.Is(err, hsm.ErrTooLarge):
		return fault.New(fault.Invalid, "the token takes from 1 to %d bytes in one operation", hsm.MaxInput)
	}
	return sealpkcs11.Failure(k.name, err)
}

type aesKey struct{ key }

const ivSize = 12

func (k *aesKey) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	iv, ciphertext, err := k.EncryptGCM(ctx, plain, p.AAD)
	if err != nil {
		return nil, k.fail(err, keys.ErrGCM)
	}
	if len(iv) != ivSize {
		return nil, sealpkcs11.Failure(k.name, fmt.Errorf("%w: the token uses IVs of %d bytes, and the format has 12",
			hsm.ErrMechanism, len(iv)))
	}
	return append(append(dst, iv...), ciphertext...), nil
}

func (k *aesKey) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	if len(blob) < ivSize+16 {
		return nil, keys.ErrShort
	}
	plain, err := k.DecryptGCM(ctx, blob[:ivSize], blob[ivSize:], p.AAD)
	if err != nil {
		return nil, k.fail(err, keys.ErrGCM)
	}
	defer clear(plain)
	return append(dst, plain...), nil
}

type hmacKey struct{ key }

func (k *hmacKey) MAC(ctx context.Context, input []byte, h crypto.Hash) ([]byte, error) {
	out, err := k.DeviceKey.MAC(ctx, input, h)
	if errors.Is(err, hsm.ErrMechanism) {
		return nil, fault.Wrap(err, fault.Invalid, "the token has no HMAC with this hash: use sha2-256, sha2-384 or sha2-512")
	}
	return out, k.fail(err, keys.ErrGCM)
}

type pair struct{ key }

func (k *pair) SignDigest(ctx context.Context, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	out, err := k.DeviceKey.SignDigest(ctx, digest, o)
	if errors.Is(err, hsm.ErrMechanism) {
		return nil, fault.Wrap(err, fault.Invalid, "the token cannot sign with this hash and padding")
	}
	return out, k.fail(err, fault.New(fault.Invalid, "the input cannot be signed: its length does not fit the hash"))
}

func (k *pair) DecryptRSA(ctx context.Context, block []byte, h crypto.Hash) ([]byte, error) {
	out, err := k.DeviceKey.DecryptRSA(ctx, block, h)
	if errors.Is(err, hsm.ErrMechanism) {
		return nil, fault.Wrap(err, fault.Invalid, "the token has no OAEP with SHA-256: encrypt with padding_scheme pkcs1v15")
	}
	return out, k.fail(err, keys.Errors("failed to RSA decrypt the ciphertext: %s", rsa.ErrDecryption))
}
