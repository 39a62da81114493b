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

// Template describes a key for Generate and Import.
type Template struct {
	Kind  Kind
	Label string
	ID    []byte // nil: 16 random bytes
	Sign  bool   // an RSA key signs too; EC and HMAC keys always sign

	// SameLabel allows other keys with the label; the label with the id must still be new.
	SameLabel bool

	// Duplicate makes the key even if its name is in use. Lookups by the name are ambiguous
	// afterwards: it is for tests.
	Duplicate bool
}

// Generate makes a key that stays on the token (token, private, sensitive, not extractable), reads
// it back and checks it. It destroys a key that differs from the template, and one of two keys made
// at the same time.
func (t *Token) Generate(ctx context.Context, k Template) error {
	if err := k.complete(); err != nil {
		return err
	}
	return t.alter(ctx, func(c *call) error {
		maker, ok := c.session.(ck.KeyMaker)
		if !ok {
			return fmt.Errorf("%w: the library cannot make keys", ErrMechanism)
		}
		return k.make(c, maker, func() ([]uint, error) {
			mechanism, template, public := k.attributes()
			handle, err := maker.Generate(mechanism, template, public)
			return []uint{handle}, err
		})
	})
}

// complete checks a template and chooses an id.
func (k *Template) complete() error {
	if _, known := kindTable[k.Kind]; !known || k.Label == "" {
		return fmt.Errorf("%w: a new key needs a kind and a label", ErrConfig)
	}
	if k.ID == nil {
		k.ID = make([]byte, 16)
		_, _ = rand.Read(k.ID)
	}
	return nil
}

// make runs create, whose first handle is the secret or private key, and checks the result.
func (k Template) make(c *call, maker ck.KeyMaker, create func() ([]uint, error)) error {
	if n, err := k.count(c); err != nil {
		return err
	} else if n > 0 && !k.Duplicate {
		return fmt.Errorf("%w: %s", ErrKeyExists, nameOf(k.Label, k.taken()))
	}
	handles, err := create()
	if err != nil {
		return fmt.Errorf("making the %s: %w", k.Kind, err)
	}
	if err := k.verify(c, handles[0]); err != nil {
		for _, h := range handles {
			err = errors.Join(err, maker.Destroy(h))
		}
		return err
	}
	return nil
}

// taken returns the id that no other key with the label may have, nil where none may have the
// label.
func (k Template) taken() []byte {
	if k.SameLabel {
		return k.ID
	}
	return nil
}

// count returns how many keys of the kind have the name.
func (k Template) count(c *call) (int, error) {
	all, err := matches(c.session, k.Label, k.taken())
	if err != nil {
		return 0, err
	}
	n := 0
	for _, o := range all {
		if kindTable[k.Kind].want.fits(o) {
			n++
		}
	}
	return n, nil
}

// name is the attributes of every object of the key.
func (k Template) name() []ck.Attribute {
	return []ck.Attribute{ck.String(ck.AttrLabel, k.Label), {Type: ck.AttrID, Value: k.ID}, ck.Bool(ck.AttrToken, true)}
}

// kept is the attributes of a secret or private key.
func (k Template) kept() []ck.Attribute {
	list := append(k.name(), ck.Bool(ck.AttrPrivate, true), ck.Bool(ck.AttrSensitive, true),
		ck.Bool(ck.AttrExtractable, false))
	switch info := kindTable[k.Kind]; {
	case k.Kind == HMAC256:
		return append(list, ck.Ulong(ck.AttrClass, ck.ClassSecret), ck.Ulong(ck.AttrKeyType, ck.KeyGeneric),
			ck.Bool(ck.AttrSign, true), ck.Bool(ck.AttrVerify, true))
	case info.bytes != 0:
		return append(list, ck.Ulong(ck.AttrClass, ck.ClassSecret), ck.Ulong(ck.AttrKeyType, ck.KeyAES),
			ck.Bool(ck.AttrEncrypt, true), ck.Bool(ck.AttrDecrypt, true))
	case info.bits != 0:
		return append(list, ck.Ulong(ck.AttrClass, ck.ClassPrivate), ck.Ulong(ck.AttrKeyType, ck.KeyRSA),
			ck.Bool(ck.AttrDecrypt, true), ck.Bool(ck.AttrSign, k.Sign))
	}
	return append(list, ck.Ulong(ck.AttrClass, ck.ClassPrivate), ck.Ulong(ck.AttrKeyType, ck.KeyEC),
		ck.Bool(ck.AttrSign, true))
}

// attributes returns the templates of the secret or private key and of the public key.
func (k Template) attributes() (mechanism uint, template, public []ck.Attribute) {
	switch info := kindTable[k.Kind]; {
	case k.Kind == HMAC256:
		return ck.MechGenericKeyGen, append(k.kept(), ck.Ulong(ck.AttrValueLen, info.bytes)), nil
	case info.bytes != 0:
		return ck.MechAESKeyGen, append(k.kept(), ck.Ulong(ck.AttrValueLen, info.bytes)), nil
	case info.bits != 0:
		return ck.MechRSAKeyPairGen, k.kept(), append(k.name(), ck.Bool(ck.AttrEncrypt, true),
			ck.Bool(ck.AttrVerify, k.Sign),
			ck.Ulong(ck.AttrModulusBits, info.bits), ck.Attribute{Type: ck.AttrPublicExponent, Value: []byte{1, 0, 1}})
	default:
		return ck.MechECKeyPairGen, k.kept(), append(k.name(), ck.Bool(ck.AttrVerify, true),
			ck.Attribute{Type: ck.AttrECParams, Value: curveParams(info.curve)})
	}
}

// verify reads the new key back.
func (k Template) verify(c *call, handle uint) error {
	all, err := matches(c.session, k.Label, k.ID)
	if err != nil {
		return err
	}
	info := kindTable[k.Kind]
	fit := slices.DeleteFunc(all, func(o object) bool { return !info.want.fits(o) })
	at := slices.IndexFunc(fit, func(o object) bool { return o.handle == handle })
	switch {
	case at < 0:
		return fmt.Errorf("%w: a lookup does not find it", ErrKeyAttributes)
	case len(fit) > 1 && !k.Duplicate:
		return fmt.Errorf("%w: another caller made one at the same time", ErrKeyExists)
	case fit[at].label != k.Label || !bytes.Equal(fit[at].id, k.ID):
		return fmt.Errorf("%w: label %q, id %x", ErrKeyAttributes, fit[at].label, fit[at].id)
	}
	return k.verifyAttributes(fit[at])
}

func (k Template) verifyAttributes(made object) error {
	info := kindTable[k.Kind]
	must := map[uint]bool{ck.AttrToken: true, ck.AttrPrivate: true, ck.AttrSensitive: true, ck.AttrExtractable: false}
	for _, a := range info.want.uses {
		must[a] = true
	}
	if k.Sign {
		must[ck.AttrSign] = true
	}
	for attr, value := range must {
		if got, known := made.raw.Bool(attr); !known || got != value {
			return fmt.Errorf("%w: %s is not %t", ErrKeyAttributes, attrNames[attr], value)
		}
	}
	if n, known := made.raw.Ulong(ck.AttrValueLen); info.bytes != 0 && known && n != info.bytes {
		return fmt.Errorf("%w: it has %d bytes", ErrKeyAttributes, n)
	}
	if p, err := publicOf(made); info.bits != 0 && err == nil && uint(p.N.BitLen()) != info.bits {
		return fmt.Errorf("%w: it has %d bits", ErrKeyAttributes, p.N.BitLen())
	}
	return nil
}
