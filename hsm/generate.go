package hsm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Kind is a kind of key that Generate makes.
type Kind uint8

// The kinds of keys.
const (
	AES256  Kind = iota + 1 // encrypts and decrypts
	HMAC256                 // 32 bytes that sign and verify
	RSA3072                 // a key pair that decrypts and encrypts
)

// String describes the kind.
func (k Kind) String() string {
	return [...]string{"key", "AES-256 key", "HMAC key", "RSA-3072 key pair"}[min(k, RSA3072)]
}

// Template describes a key for Generate.
type Template struct {
	Kind  Kind
	Label string
	ID    []byte // nil: 16 random bytes

	// Duplicate makes the key even if its name is in use. Lookups by the name are ambiguous
	// afterwards: it is for tests.
	Duplicate bool
}

// Generate makes a key that stays on the token (token, private, sensitive, not extractable), reads
// it back and checks it. It destroys a key that differs from the template, and one of two keys made
// at the same time.
func (t *Token) Generate(ctx context.Context, k Template) error {
	if k.Label == "" || k.Kind < AES256 || k.Kind > RSA3072 {
		return fmt.Errorf("%w: a new key needs a kind and a label", ErrConfig)
	}
	if k.ID == nil {
		k.ID = make([]byte, 16)
		_, _ = rand.Read(k.ID)
	}
	return t.alter(ctx, func(c *call) error { return k.make(c) })
}

func (k Template) make(c *call) error {
	maker, ok := c.session.(ck.KeyMaker)
	if !ok {
		return fmt.Errorf("%w: the library cannot make keys", ErrMechanism)
	}
	if n, err := k.count(c); err != nil {
		return err
	} else if n > 0 && !k.Duplicate {
		return fmt.Errorf("%w: %s", ErrKeyExists, nameOf(k.Label, nil))
	}
	mechanism, template, public := k.attributes()
	handle, err := maker.Generate(mechanism, template, public)
	if err != nil {
		return fmt.Errorf("generating the %s: %w", k.Kind, err)
	}
	if err := k.verify(c, handle); err != nil {
		return errors.Join(err, maker.Destroy(handle))
	}
	return nil
}

// count returns how many keys of the kind have the label.
func (k Template) count(c *call) (int, error) {
	all, err := matches(c.session, k.Label, nil)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, o := range all {
		if k.want().fits(o) {
			n++
		}
	}
	return n, nil
}

func (k Template) want() want {
	return map[Kind]want{AES256: wantAES, HMAC256: wantHMAC, RSA3072: wantRSA}[k.Kind]
}

// attributes returns the templates of the secret or private key and of the public key.
func (k Template) attributes() (mechanism uint, template, public []ck.Attribute) {
	name := []ck.Attribute{ck.String(ck.AttrLabel, k.Label), {Type: ck.AttrID, Value: k.ID},
		ck.Bool(ck.AttrToken, true)}
	template = append(slices.Clone(name),
		ck.Bool(ck.AttrPrivate, true), ck.Bool(ck.AttrSensitive, true), ck.Bool(ck.AttrExtractable, false))
	switch k.Kind {
	case AES256:
		return ck.MechAESKeyGen, append(template, ck.Ulong(ck.AttrClass, ck.ClassSecret),
			ck.Ulong(ck.AttrKeyType, ck.KeyAES),
			ck.Ulong(ck.AttrValueLen, 32), ck.Bool(ck.AttrEncrypt, true), ck.Bool(ck.AttrDecrypt, true)), nil
	case HMAC256:
		return ck.MechGenericKeyGen, append(template, ck.Ulong(ck.AttrClass, ck.ClassSecret),
			ck.Ulong(ck.AttrKeyType, ck.KeyGeneric),
			ck.Ulong(ck.AttrValueLen, 32), ck.Bool(ck.AttrSign, true), ck.Bool(ck.AttrVerify, true)), nil
	}
	public = append(slices.Clone(name), ck.Bool(ck.AttrEncrypt, true), ck.Ulong(ck.AttrModulusBits, 3072),
		ck.Attribute{Type: ck.AttrPublicExponent, Value: []byte{1, 0, 1}})
	return ck.MechRSAKeyPairGen, append(template, ck.Bool(ck.AttrDecrypt, true)), public
}

// verify reads the new key back.
func (k Template) verify(c *call, handle uint) error {
	all, err := matches(c.session, k.Label, k.ID)
	if err != nil {
		return err
	}
	twins := 0
	var made *object
	for i, o := range all {
		if !k.want().fits(o) {
			continue
		}
		twins++
		if o.handle == handle {
			made = &all[i]
		}
	}
	switch {
	case made == nil:
		return fmt.Errorf("%w: a lookup does not find it", ErrKeyAttributes)
	case twins > 1 && !k.Duplicate:
		return fmt.Errorf("%w: another caller made one at the same time", ErrKeyExists)
	case made.label != k.Label || !bytes.Equal(made.id, k.ID):
		return fmt.Errorf("%w: label %q, id %x", ErrKeyAttributes, made.label, made.id)
	}
	must := map[uint]bool{ck.AttrToken: true, ck.AttrPrivate: true, ck.AttrSensitive: true, ck.AttrExtractable: false}
	switch k.Kind {
	case AES256:
		must[ck.AttrEncrypt], must[ck.AttrDecrypt] = true, true
	case HMAC256:
		must[ck.AttrSign] = true
	case RSA3072:
		must[ck.AttrDecrypt] = true
	}
	for attr, value := range must {
		if got, known := made.raw.Bool(attr); !known || got != value {
			return fmt.Errorf("%w: %s is not %t", ErrKeyAttributes, attrNames[attr], value)
		}
	}
	if n, known := made.raw.Ulong(ck.AttrValueLen); k.Kind != RSA3072 && known && n != 32 {
		return fmt.Errorf("%w: it has %d bytes", ErrKeyAttributes, n)
	}
	return nil
}
