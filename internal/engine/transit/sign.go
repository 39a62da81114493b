package transit

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"strconv"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/tools"
)

// signing is how a request wants its signatures, which is the same for all items of a batch.
type signing struct {
	keys.SignParams
	jws     bool
	version int
}

func (c *call) readSigning(k *keys.Key) (s signing, err error) {
	if s.version, err = c.data.number("key_version"); err != nil {
		return s, err
	}
	if s.Prehashed, err = c.data.flag("prehashed"); err != nil {
		return s, err
	}
	algorithm, err := c.data.text("signature_algorithm")
	if err != nil {
		return s, err
	}
	s.PKCS1 = algorithm == "pkcs1v15"
	if err := s.readHash(c); err != nil {
		return s, err
	}
	if err := s.readMarshaling(c); err != nil {
		return s, err
	}
	if err := s.readSalt(c); err != nil {
		return s, err
	}
	if k.Type.RSA() && algorithm != "" && algorithm != "pss" && algorithm != "pkcs1v15" {
		return s, keys.Errors("unsupported rsa signature algorithm %s", algorithm)
	}
	domain, err := c.data.encoded("signature_context", "failed to base64-decode signature_context")
	if err == nil && domain != nil && k.Type != keys.Ed25519 && k.Type != keys.MLDSA {
		err = fault.New(fault.Invalid, "signature_context is not valid for keys of type %s", k.Type)
	}
	s.Domain = domain
	return s, err
}

// readHash reads the hash: the path wins over the body.
func (s *signing) readHash(c *call) error {
	name := c.segs[1]
	for _, field := range []string{"hash_algorithm", "algorithm"} { // the second is the older name
		if name == "" {
			var err error
			if name, err = c.data.text(field); err != nil {
				return err
			}
		}
	}
	switch name {
	case "":
		s.Hash = crypto.SHA256
		return nil
	case "none":
		if !s.Prehashed || !s.PKCS1 {
			return fault.New(fault.Invalid, "hash_algorithm=none requires both prehashed=true and signature_algorithm=pkcs1v15")
		}
		return nil
	}
	h, ok := tools.ParseHash(name)
	if !ok {
		return fault.New(fault.Invalid, "invalid hash algorithm %q", name)
	}
	s.Hash = h
	return nil
}

func (s *signing) readMarshaling(c *call) error {
	name, err := c.data.text("marshaling_algorithm")
	switch {
	case err != nil:
		return err
	case name == "jws":
		s.jws = true
	case name != "" && name != "asn1":
		return fault.New(fault.Invalid, "invalid marshaling type %q", name)
	}
	return nil
}

func (s *signing) readSalt(c *call) error {
	text, err := c.data.text("salt_length")
	if err != nil {
		return err
	}
	switch text {
	case "", "auto":
		s.Salt = rsa.PSSSaltLengthAuto
		return nil
	case "hash":
		s.Salt = rsa.PSSSaltLengthEqualsHash
		return nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return fault.New(fault.Invalid, "salt length neither 'auto', 'hash', nor an int: %s", text)
	case n < rsa.PSSSaltLengthEqualsHash:
		return fault.New(fault.Invalid, "salt length is invalid: %d", n)
	}
	s.Salt = n
	return nil
}

// readInput decodes what is signed, hashed or authenticated.
func (f fields) readInput(name string) ([]byte, error) {
	encoded, err := f.text(name)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fault.New(fault.Invalid, "unable to decode input as base64: %s", err)
	}
	return b, nil
}

type signAnswer struct {
	KeyVersion int    `json:"key_version"`
	PublicKey  string `json:"public_key,omitempty"` // of a derived key
	Signature  string `json:"signature"`
}

type signResult struct {
	Signature  string `json:"signature,omitempty"`
	KeyVersion int    `json:"key_version"`
	PublicKey  string `json:"publickey,omitempty"`
	Error      string `json:"error,omitempty"`
	Reference  string `json:"reference"`
}

func (b *backend) sign(ctx context.Context, c *call) (*mount.Response, error) {
	k, err := b.use(ctx, c, 0, fault.New(fault.Invalid, "signing key not found"))
	if err != nil {
		return nil, err
	}
	if !k.Type.Signs() {
		return nil, fault.New(fault.Invalid, "key type %s does not support signing", k.Type)
	}
	s, err := c.readSigning(k)
	if err != nil {
		return nil, err
	}
	items, isBatch, err := c.data.batch("'' ")
	if err != nil {
		return nil, err
	}
	if !isBatch {
		r, err := b.signOne(ctx, c, k, s, c.data)
		if err != nil {
			return nil, err
		}
		return &mount.Response{Data: signAnswer{r.KeyVersion, r.PublicKey, r.Signature}}, nil
	}
	all := make([]signResult, len(items))
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r, err := signResult{}, error(fault.New(fault.Invalid, "missing input"))
		if f.given("input") {
			r, err = b.signOne(ctx, c, k, s, f)
		}
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		if err != nil {
			r = signResult{Error: itemText(err)}
		}
		r.Reference, _ = f.text("reference")
		all[i] = r
	}
	return &mount.Response{Data: results[signResult]{all}}, nil
}

func (b *backend) signOne(ctx context.Context, c *call, k *keys.Key, s signing, f fields) (r signResult, err error) {
	input, err := f.readInput("input")
	if err != nil {
		return r, err
	}
	if s.Context, err = f.encoded("context", "failed to base64-decode context"); err != nil {
		return r, err
	}
	n, err := k.VersionToEncrypt(s.version, "signing")
	if err != nil {
		return r, err
	}
	v, err := k.Version(ctx, n)
	if err != nil {
		return r, err
	}
	signer, err := k.Signer(ctx, v)
	if err != nil {
		return r, err
	}
	sig, err := signer.Sign(ctx, input, s.SignParams)
	if err != nil {
		return r, err
	}
	if r.Signature, err = s.encode(k, n, sig); err != nil {
		return r, err
	}
	r.KeyVersion = n
	if k.Derived {
		public, err := signer.Public(ctx, s.Context)
		if err != nil {
			return r, err
		}
		if e, ok := public.(ed25519.PublicKey); ok {
			r.PublicKey = base64.StdEncoding.EncodeToString(e)
		}
	}
	k.CountUse(n, 1, c.by())
	return r, nil
}

func (s signing) encode(k *keys.Key, version int, sig []byte) (string, error) {
	out := appendPrefix(nil, version)
	if !s.jws {
		return string(base64.StdEncoding.AppendEncode(out, sig)), nil
	}
	if k.Type.ECDSA() {
		var err error
		if sig, err = k.Type.ECDSARaw(sig); err != nil {
			return "", err
		}
	}
	return string(base64.RawURLEncoding.AppendEncode(out, sig)), nil
}

// decode reads a signature. ok is false for one that is well written but cannot be any of the
// key's.
func (s signing) decode(k *keys.Key, text string) (sig []byte, version int, ok bool, err error) {
	version, body, err := aSignature.split(text, k)
	if err != nil {
		return nil, 0, false, err
	}
	encoding := base64.StdEncoding
	if s.jws {
		encoding = base64.RawURLEncoding
	}
	if sig, err = encoding.DecodeString(body); err != nil {
		return nil, 0, false, fault.New(fault.Invalid, "invalid base64 signature value")
	}
	if s.jws && k.Type.ECDSA() {
		if sig, err = k.Type.ECDSADER(sig); err != nil {
			return nil, version, false, nil
		}
	}
	return sig, version, true, nil
}
