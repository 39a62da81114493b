package transit

import (
	"context"
	"crypto/hmac"
	"encoding/base64"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/tools"
)

type verifyResult struct {
	Valid     bool   `json:"valid"`
	Error     string `json:"error,omitempty"`
	Reference string `json:"reference"`
}

// proofs are the fields that a request to verify can have; the first one that is there counts.
var proofs = []string{"signature", "hmac", "cmac"}

func (f fields) proof() string {
	for _, name := range proofs {
		if v, _ := f.text(name); v != "" {
			return name
		}
	}
	return ""
}

// verifier checks one proof.
type verifier func(f fields) (bool, error)

func (b *backend) verify(ctx context.Context, c *call) (*mount.Response, error) {
	items, isBatch, err := c.data.batch("'' ")
	if err != nil {
		return nil, err
	}
	var proof string
	if isBatch {
		proof, err = batchProof(items)
	} else if proof = c.data.proof(); proof == "" {
		err = fault.New(fault.Invalid, "neither a 'signature' nor an 'hmac' were given to verify")
	}
	if err != nil {
		return nil, err
	}
	verify, err := b.verifier(ctx, c, proof)
	if err != nil {
		return nil, err
	}
	if !isBatch {
		valid, err := verify(c.data)
		if err != nil {
			return nil, err
		}
		return &mount.Response{Data: struct {
			Valid bool `json:"valid"`
		}{valid}}, nil
	}
	all := make([]verifyResult, len(items))
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := &all[i]
		r.Reference, _ = f.text("reference")
		if !f.given("input") {
			r.Error = "missing input"
			continue
		}
		r.Valid, err = verify(f)
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		if err != nil {
			r.Valid, r.Error = false, itemText(err)
		}
	}
	return &mount.Response{Data: results[verifyResult]{all}}, nil
}

func batchProof(items []fields) (string, error) {
	proof := items[0].proof()
	for _, f := range items[1:] {
		if f.proof() != proof {
			return "", fault.New(fault.Invalid, "elements of batch_input must all provide 'signature' or all provide 'hmac'")
		}
	}
	if proof == "" {
		return "", fault.New(fault.Invalid, "no batch_input elements have 'signature' or 'hmac'")
	}
	return proof, nil
}

func (b *backend) verifier(ctx context.Context, c *call, proof string) (verifier, error) {
	absent := fault.New(fault.Invalid, "signature verification key not found")
	k, err := b.use(ctx, c, 0, absent)
	if err != nil {
		return nil, err
	}
	switch proof {
	case "hmac":
		return b.hmacVerifier(ctx, c, k)
	case "cmac":
		return b.cmacVerifier(ctx, c, k)
	}
	if !k.Type.Signs() {
		return nil, fault.New(fault.Invalid, "key type %s does not support verification", k.Type)
	}
	s, err := c.readSigning(k)
	if err != nil {
		return nil, err
	}
	return func(f fields) (bool, error) { return b.verifyOne(ctx, c, k, s, f) }, nil
}

func (b *backend) verifyOne(ctx context.Context, c *call, k *keys.Key, s signing, f fields) (bool, error) {
	input, err := f.readInput("input")
	if err != nil {
		return false, err
	}
	if s.Context, err = f.encoded("context", "failed to base64-decode context"); err != nil {
		return false, err
	}
	text, err := f.text("signature")
	if err != nil {
		return false, err
	}
	sig, n, ok, err := s.decode(k, text)
	if err != nil || !ok {
		return false, err
	}
	v, err := k.Version(ctx, n)
	if err != nil {
		return false, err
	}
	signer, err := k.Signer(ctx, v)
	if err != nil {
		return false, err
	}
	valid, err := signer.Verify(ctx, input, sig, s.SignParams)
	if valid {
		k.CountUse(n, 1, c.by())
	}
	return valid, err
}

// macFunc authenticates by one version.
type macFunc func(n int, input []byte) ([]byte, error)

// verifyMAC checks a MAC in constant time. One whose length is another is another; shorter CMACs
// are verified by mac_length.
func (b *backend) verifyMAC(c *call, k *keys.Key, what kind, f fields, name string, mac macFunc) (bool, error) {
	if !f.given("input") {
		return false, fault.New(fault.Invalid, "missing input")
	}
	input, err := f.readInput("input")
	if err != nil {
		return false, err
	}
	text, err := f.text(name)
	if err != nil {
		return false, err
	}
	n, body, err := what.split(text, k)
	if err != nil {
		return false, err
	}
	given, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return false, fault.New(fault.Invalid, "unable to decode verification %s as base64: %s", what.noun, err)
	}
	want, err := mac(n, input)
	if err != nil {
		return false, err
	}
	valid := hmac.Equal(want, given)
	if valid {
		k.CountUse(n, 1, c.by())
	}
	return valid, nil
}

func (b *backend) hmacVerifier(ctx context.Context, c *call, k *keys.Key) (verifier, error) {
	mac, err := b.hmacBy(ctx, c, k)
	if err != nil {
		return nil, err
	}
	return func(f fields) (bool, error) { return b.verifyMAC(c, k, anHMAC, f, "hmac", mac) }, nil
}

// hmacBy gives the HMAC of a request's algorithm: the path wins over the body.
func (b *backend) hmacBy(ctx context.Context, c *call, k *keys.Key) (macFunc, error) {
	name := c.segs[1]
	for _, field := range []string{"hash_algorithm", "algorithm"} {
		if name == "" {
			var err error
			if name, err = c.data.text(field); err != nil {
				return nil, err
			}
		}
	}
	if name == "" {
		name = "sha2-256"
	}
	h, ok := tools.ParseHash(name)
	switch {
	case name == "none":
		return nil, fault.New(fault.Invalid, "algorithm cannot be none")
	case !ok:
		return nil, fault.New(fault.Invalid, "unsupported algorithm %q", name)
	}
	return func(n int, input []byte) ([]byte, error) {
		v, err := k.Version(ctx, n)
		if err != nil {
			return nil, err
		}
		m, err := k.MACer(ctx, v)
		if err != nil {
			return nil, err
		}
		return m.HMAC(ctx, input, h)
	}, nil
}

// versionToMAC checks the version that is to authenticate; 0 is the latest.
func versionToMAC(k *keys.Key, n int) (int, error) {
	switch {
	case n == 0:
		return k.Latest, nil
	case n < 0:
		return 0, fault.New(fault.Invalid, "key version does not exist (cannot be negative)")
	case n > k.Latest:
		return 0, fault.New(fault.Invalid, "key version does not exist; latest key version is %d", k.Latest)
	case n < max(k.MinEncryption, k.MinAvailable):
		return 0, fault.New(fault.Invalid, "cannot generate HMAC: version is too old (disallowed by policy)")
	}
	return n, nil
}

type hmacResult struct {
	HMAC  string `json:"hmac,omitempty"`
	CMAC  string `json:"cmac,omitempty"`
	Error string `json:"error,omitempty"`
}

type hmacBatchResult struct {
	hmacResult
	Reference string `json:"reference"`
}

func (b *backend) hmac(ctx context.Context, c *call) (*mount.Response, error) {
	k, err := b.use(ctx, c, 0, nil)
	if err != nil {
		return nil, err
	}
	mac, err := b.hmacBy(ctx, c, k)
	if err != nil {
		return nil, err
	}
	return b.authenticate(ctx, c, k, mac, "missing input for HMAC",
		func(text string) hmacResult { return hmacResult{HMAC: text} })
}

// authenticate answers with a MAC, or those of a batch.
func (b *backend) authenticate(
	ctx context.Context, c *call, k *keys.Key, mac macFunc, missing string, show func(string) hmacResult,
) (*mount.Response, error) {
	n, err := c.data.number("key_version")
	if err != nil {
		return nil, err
	}
	if n, err = versionToMAC(k, n); err != nil {
		return nil, err
	}
	one := func(f fields) (string, error) {
		if !f.given("input") {
			return "", fault.New(fault.Invalid, "%s", missing)
		}
		input, err := f.readInput("input")
		if err != nil {
			return "", err
		}
		sum, err := mac(n, input)
		if err != nil {
			return "", err
		}
		k.CountUse(n, 1, c.by())
		return string(base64.StdEncoding.AppendEncode(appendPrefix(nil, n), sum)), nil
	}
	items, isBatch, err := c.data.batch("'' ")
	if err != nil {
		return nil, err
	}
	if !isBatch {
		text, err := one(c.data)
		if err != nil {
			return nil, err
		}
		return &mount.Response{Data: show(text)}, nil
	}
	all := make([]hmacBatchResult, len(items))
	for i, f := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		all[i].Reference, _ = f.text("reference")
		text, err := one(f)
		if err != nil && !itemsFault(err) {
			return nil, err
		}
		if err != nil {
			all[i].Error = itemText(err)
			continue
		}
		all[i].hmacResult = show(text)
	}
	return &mount.Response{Data: results[hmacBatchResult]{all}}, nil
}

// fullCMAC is the length of a whole CMAC in bytes; SP 800-38B asks for at least half of it where it
// is cut.
const (
	fullCMAC  = 16
	leastCMAC = 8
)

// cmacBy gives the CMAC, cut to the length that the request names in its path or body.
func (b *backend) cmacBy(ctx context.Context, c *call, k *keys.Key) (macFunc, error) {
	if !k.Type.CMAC() {
		return nil, fault.New(fault.Invalid, "key type %s does not support CMAC", k.Type)
	}
	length := fullCMAC
	f := c.data
	if c.segs[1] != "" {
		f = fields{"mac_length": c.segs[1]}
	}
	if f.given("mac_length") {
		var err error
		if length, err = f.number("mac_length"); err != nil {
			return nil, err
		}
	}
	if length < leastCMAC || length > fullCMAC {
		return nil, fault.New(fault.Invalid, "mac_length is %d; it can be from %d to %d bytes", length, leastCMAC, fullCMAC)
	}
	return func(n int, input []byte) ([]byte, error) {
		v, err := k.Version(ctx, n)
		if err != nil {
			return nil, err
		}
		m, err := k.CMACer(ctx, v)
		if err != nil {
			return nil, err
		}
		sum, err := m.CMAC(ctx, input)
		if err != nil {
			return nil, err
		}
		return sum[:length], nil
	}, nil
}

func (b *backend) cmac(ctx context.Context, c *call) (*mount.Response, error) {
	k, err := b.use(ctx, c, 0, nil)
	if err != nil {
		return nil, err
	}
	mac, err := b.cmacBy(ctx, c, k)
	if err != nil {
		return nil, err
	}
	return b.authenticate(ctx, c, k, mac, "missing input for CMAC",
		func(text string) hmacResult { return hmacResult{CMAC: text} })
}

func (b *backend) cmacVerifier(ctx context.Context, c *call, k *keys.Key) (verifier, error) {
	mac, err := b.cmacBy(ctx, c, k)
	if err != nil {
		return nil, err
	}
	return func(f fields) (bool, error) { return b.verifyMAC(c, k, aCMAC, f, "cmac", mac) }, nil
}
