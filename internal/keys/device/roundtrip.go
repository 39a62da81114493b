package device

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/seals"
)

var errRoundTrip = errors.New("the device gave something else back than it was given")

// suits are the usages that a type of key can have.
func suits(t keys.Type) []Usage {
	switch {
	case t.AEAD():
		return []Usage{Encrypt, Decrypt}
	case t.RSA():
		return []Usage{Encrypt, Decrypt, Sign, Verify}
	case t.Asymmetric():
		return []Usage{Sign, Verify}
	case t == keys.HMAC:
		return []Usage{MAC}
	}
	return nil
}

// roundTrip proves each usage of an entry that needs the device.
func roundTrip(ctx context.Context, e *Entry, o *opened) error {
	possible := suits(o.facts.Spec.Type)
	useful := false
	for _, u := range possible {
		useful = useful || slices.Contains(e.Usages, u)
	}
	if !useful {
		return fault.New(fault.Invalid, "a key of type %s serves none of the usages %v: set usages to %s", o.facts.Spec.Type,
			e.Usages, join(possible))
	}
	var err error
	switch t := o.facts.Spec.Type; {
	case t.AEAD():
		err = tryCipher(ctx, o)
	case t == keys.HMAC:
		err = tryMAC(ctx, o)
	default:
		if slices.Contains(e.Usages, Decrypt) && t.RSA() {
			err = tryBlock(ctx, o)
		}
		if slices.Contains(e.Usages, Sign) {
			err = errors.Join(err, trySignature(ctx, o))
		}
	}
	return err
}

func join(all []Usage) string {
	var names []string
	for _, u := range all {
		names = append(names, string(u))
	}
	return strings.Join(names, ",")
}

func unable(what string) error {
	return seals.Fail(seals.Misconfigured, errors.New("the connection cannot "+what+" with this key"), "use another key")
}

func proof() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return b
}

func same(a, b []byte) error {
	if !bytes.Equal(a, b) {
		return seals.Fail(seals.Corrupt, errRoundTrip, "check the device")
	}
	return nil
}

func tryCipher(ctx context.Context, o *opened) error {
	c, ok := o.key.(keys.Encrypter)
	if !ok {
		return unable("encrypt")
	}
	plain, aad := proof(), keys.CipherParams{AAD: []byte("sealgate round trip")}
	blob, err := c.Encrypt(ctx, nil, plain, aad)
	if err != nil {
		return err
	}
	back, err := c.Decrypt(ctx, nil, blob, aad)
	if err != nil {
		return err
	}
	return same(plain, back)
}

// tryBlock proves one of the paddings: not every token has OAEP with SHA-256, and a decryption with
// a padding that it lacks is refused when it is asked for.
func tryBlock(ctx context.Context, o *opened) error {
	d, ok := o.key.(BlockDecrypter)
	if !ok {
		return unable("decrypt")
	}
	public, err := keys.OpenPublic(o.facts.Spec, o.facts.Public)
	if err != nil {
		return err
	}
	for _, h := range []crypto.Hash{crypto.SHA256, 0} {
		plain := proof()
		var block, back []byte
		block, err = public.(keys.Encrypter).Encrypt(ctx, nil, plain, keys.CipherParams{PKCS1: h == 0})
		if err != nil {
			return err
		}
		if back, err = d.DecryptRSA(ctx, block, h); err == nil {
			return same(plain, back)
		}
	}
	return err
}

func trySignature(ctx context.Context, o *opened) error {
	s, ok := o.key.(DigestSigner)
	if !ok {
		return unable("sign")
	}
	public, err := keys.OpenPublic(o.facts.Spec, o.facts.Public)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(proof())
	sig, err := s.SignDigest(ctx, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	p := keys.SignParams{Hash: crypto.SHA256, Prehashed: true, PKCS1: true}
	if ok, err := public.(keys.Signer).Verify(ctx, digest[:], sig, p); err != nil || !ok {
		return errors.Join(err, same([]byte{1}, nil))
	}
	return nil
}

func tryMAC(ctx context.Context, o *opened) error {
	m, ok := o.key.(HMACer)
	if !ok {
		return unable("authenticate")
	}
	input := proof()
	one, err := m.MAC(ctx, input, crypto.SHA256)
	if err != nil {
		return err
	}
	two, err := m.MAC(ctx, input, crypto.SHA256)
	if err != nil {
		return err
	}
	if len(one) != sha256.Size {
		return same([]byte{1}, nil)
	}
	return same(one, two)
}
