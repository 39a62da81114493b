package hsm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Import stores a key on the token where the token allows it (C_CreateObject), with the attributes
// of [Token.Generate], reads it back and checks it. key is the bytes of an AES or HMAC key, or PKCS
// #8 of an RSA or EC key. A token that refuses imports returns ErrMechanism or ErrKeyUse.
func (t *Token) Import(ctx context.Context, k Template, key *Secret) error {
	if err := k.complete(); err != nil {
		return err
	}
	k.ID = bytes.Clone(k.ID) // wipe clears it
	objects, err := k.objects(key)
	if err != nil {
		return err
	}
	err = t.alter(ctx, func(c *call) error {
		maker, ok1 := c.session.(ck.KeyMaker)
		creator, ok2 := c.session.(ck.Creator)
		if !ok1 || !ok2 {
			return fmt.Errorf("%w: the library cannot import keys", ErrMechanism)
		}
		return k.make(c, maker, func() (handles []uint, err error) {
			for _, template := range objects {
				h, err := creator.Create(template)
				if err != nil {
					for _, h := range handles {
						_ = maker.Destroy(h) // the error of the import is the one that matters
					}
					return nil, err
				}
				handles = append(handles, h)
			}
			return handles, nil
		})
	})
	if !errors.Is(err, ErrDeadline) && ctx.Err() == nil {
		wipe(objects) // otherwise the library may still read them
	}
	return err
}

// wipe clears the values of all attributes.
func wipe(objects [][]ck.Attribute) {
	for _, list := range objects {
		for _, a := range list {
			clear(a.Value)
		}
	}
}

// objects returns the templates of the objects to create, the secret or private key first.
func (k Template) objects(key *Secret) ([][]ck.Attribute, error) {
	info := kindTable[k.Kind]
	if info.bytes != 0 {
		if uint(key.Len()) != info.bytes {
			return nil, fmt.Errorf("%w: an %s has %d bytes, not %d", ErrConfig, k.Kind, info.bytes, key.Len())
		}
		return [][]ck.Attribute{append(k.kept(), ck.Attribute{Type: ck.AttrValue, Value: key.Clone().Expose()})}, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key.Expose())
	if err != nil {
		return nil, fmt.Errorf("%w: the key is not PKCS #8", ErrConfig) // the parser's error may quote the key
	}
	switch private := parsed.(type) {
	case *rsa.PrivateKey:
		if uint(private.N.BitLen()) == info.bits && len(private.Primes) == 2 {
			return k.rsaObjects(private), nil
		}
	case *ecdsa.PrivateKey:
		if info.curve != nil && private.Curve == info.curve {
			return k.ecObjects(private)
		}
	}
	return nil, fmt.Errorf("%w: the key is not an %s", ErrConfig, k.Kind)
}

func number(t uint, n *big.Int) ck.Attribute { return ck.Attribute{Type: t, Value: n.Bytes()} }

func (k Template) rsaObjects(private *rsa.PrivateKey) [][]ck.Attribute {
	private.Precompute()
	e := number(ck.AttrPublicExponent, big.NewInt(int64(private.E)))
	return [][]ck.Attribute{
		append(k.kept(), number(ck.AttrModulus, private.N), e, number(ck.AttrPrivateExponent, private.D),
			number(ck.AttrPrime1, private.Primes[0]), number(ck.AttrPrime2, private.Primes[1]),
			number(ck.AttrExponent1, private.Precomputed.Dp), number(ck.AttrExponent2, private.Precomputed.Dq),
			number(ck.AttrCoefficient, private.Precomputed.Qinv)),
		append(k.name(), ck.Ulong(ck.AttrClass, ck.ClassPublic), ck.Ulong(ck.AttrKeyType, ck.KeyRSA),
			ck.Bool(ck.AttrEncrypt, true), ck.Bool(ck.AttrVerify, k.Sign), number(ck.AttrModulus, private.N), e),
	}
}

func (k Template) ecObjects(private *ecdsa.PrivateKey) ([][]ck.Attribute, error) {
	scalar, err := private.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: the key is not valid", ErrConfig)
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: the key is not valid", ErrConfig)
	}
	point, err := asn1.Marshal(public)
	if err != nil {
		return nil, err
	}
	params := ck.Attribute{Type: ck.AttrECParams, Value: curveParams(elliptic.Curve(private.Curve))}
	return [][]ck.Attribute{
		append(k.kept(), params, ck.Attribute{Type: ck.AttrValue, Value: scalar}),
		append(k.name(), ck.Ulong(ck.AttrClass, ck.ClassPublic), ck.Ulong(ck.AttrKeyType, ck.KeyEC),
			ck.Bool(ck.AttrVerify, true), params, ck.Attribute{Type: ck.AttrECPoint, Value: point}),
	}, nil
}
