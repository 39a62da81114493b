package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync/atomic"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// DeviceKey is a key on a token whose operations are used one by one: AES-GCM, RSA, ECDSA and HMAC,
// in the caller's own formats. [Key] is simpler where a secret is only to be wrapped. The first use
// finds the key, and the first use after each login finds it again. It is safe for concurrent use.
//
// Private keys decrypt and sign on the token. Encryption and verification with a public key are the
// caller's, in software: see [DeviceKey.Describe].
type DeviceKey struct {
	t     *Token
	label string
	id    []byte
	found atomic.Pointer[deviceFound]
}

// deviceFound is a key as one login session sees it.
type deviceFound struct {
	at     *loginSession
	key    object
	public crypto.PublicKey // nil for a secret key
}

// DeviceKeyInfo describes a key on a token.
type DeviceKeyInfo struct {
	URI        string           // see [Key.Describe]
	Type       KeyType          // its algorithm
	Bits       int              // of an AES or RSA key; 0 if the token does not report it
	Public     crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey; nil for a secret key
	Protection Protection
	Encrypt    bool // CKA_ENCRYPT of a secret key
	Decrypt    bool // CKA_DECRYPT
	Sign       bool // CKA_SIGN
}

// KeyType is the algorithm of a key.
type KeyType string

// The types of keys.
const (
	TypeAES  KeyType = "AES"
	TypeHMAC KeyType = "HMAC"
	TypeRSA  KeyType = "RSA"
	TypeEC   KeyType = "EC"
)

// DeviceKey returns the key with a label, an id (CKA_ID), or both. It does not touch the token.
func (t *Token) DeviceKey(label string, id []byte) (*DeviceKey, error) {
	if label == "" && len(id) == 0 {
		return nil, fmt.Errorf("%w: no key is selected: set its label or its id", ErrConfig)
	}
	return &DeviceKey{t: t, label: label, id: bytes.Clone(id)}, nil
}

func isEC(o object) bool { return o.class == ck.ClassPrivate && o.kind == ck.KeyEC }

var wantDevice = want{
	name: "an AES, HMAC, RSA or EC key",
	fits: func(o object) bool { return isAES(o) || isHMAC(o) || isRSA(o) || isEC(o) },
}

// Describe finds the key and describes it.
func (d *DeviceKey) Describe(ctx context.Context) (DeviceKeyInfo, error) {
	d.found.Store(nil)
	return deviceResult(ctx, d, func(c *call, f *deviceFound) (DeviceKeyInfo, error) {
		info := DeviceKeyInfo{URI: uri(c.at.slot, f.key), Public: f.public, Protection: protectionOf(f.key)}
		info.Encrypt, _ = f.key.raw.Bool(ck.AttrEncrypt)
		info.Decrypt, _ = f.key.raw.Bool(ck.AttrDecrypt)
		info.Sign, _ = f.key.raw.Bool(ck.AttrSign)
		switch {
		case isAES(f.key):
			info.Type = TypeAES
		case isHMAC(f.key):
			info.Type = TypeHMAC
		case isRSA(f.key):
			info.Type = TypeRSA
		default:
			info.Type = TypeEC
		}
		if n, ok := f.key.raw.Ulong(ck.AttrValueLen); ok {
			info.Bits = int(n) * 8
		}
		if p, err := publicOf(f.key); err == nil && info.Type == TypeRSA {
			info.Bits = p.N.BitLen()
		}
		return info, nil
	})
}

// deviceResult runs f with the key found. The result is read only if the work ended in time,
// because an abandoned call may write it later.
func deviceResult[T any](ctx context.Context, d *DeviceKey, f func(*call, *deviceFound) (T, error)) (T, error) {
	var out, none T
	err := d.t.do(ctx, func(c *call) error {
		fd, err := d.lookup(c)
		if err != nil {
			return err
		}
		out, err = f(c, fd)
		if err != nil && damagesSession(err) {
			d.found.CompareAndSwap(fd, nil) // the handle may be the cause
		}
		return err
	})
	if err != nil {
		return none, err
	}
	return out, nil
}

// lookup finds the key's objects once for each login session.
func (d *DeviceKey) lookup(c *call) (*deviceFound, error) {
	if f := d.found.Load(); f != nil && f.at == c.at {
		return f, nil
	}
	key, err := findKey(c.session, d.label, d.id, wantDevice)
	if err != nil {
		return nil, err
	}
	f := &deviceFound{at: c.at, key: key}
	if isRSA(key) || isEC(key) {
		if f.public, err = publicHalf(c.session, key); err != nil {
			return nil, err
		}
	}
	d.found.Store(f)
	return f, nil
}

// publicHalf reads the public half of a private key: from it, or from the public key object with
// its label and id.
func publicHalf(s ck.Session, key object) (crypto.PublicKey, error) {
	if p, err := anyPublic(key); err == nil {
		return p, nil
	}
	all, err := matches(s, key.label, key.id)
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		if o.class != ck.ClassPublic || o.kind != key.kind {
			continue
		}
		if p, err := anyPublic(o); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w: the token has no public key object for the private key with %s", ErrKeyUse,
		nameOf(key.label, key.id))
}

func anyPublic(o object) (crypto.PublicKey, error) {
	if o.kind == ck.KeyEC {
		return ecPublicOf(o)
	}
	return publicOf(o)
}

// curves maps the object identifier of CKA_EC_PARAMS to the curve.
var curves = []struct {
	oid   asn1.ObjectIdentifier
	curve elliptic.Curve
}{
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, elliptic.P256()},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 34}, elliptic.P384()},
	{asn1.ObjectIdentifier{1, 3, 132, 0, 35}, elliptic.P521()},
}

// ecPublicOf reads CKA_EC_PARAMS and CKA_EC_POINT. The point is a DER octet string; some tokens
// leave the wrapping out.
func ecPublicOf(o object) (*ecdsa.PublicKey, error) {
	var oid asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(o.raw.Attributes[ck.AttrECParams], &oid); err != nil || len(rest) > 0 {
		return nil, errors.New("the curve is missing or not named")
	}
	point := o.raw.Attributes[ck.AttrECPoint]
	for _, c := range curves {
		if !c.oid.Equal(oid) {
			continue
		}
		var inner []byte
		if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
			point = inner
		}
		return ecdsa.ParseUncompressedPublicKey(c.curve, point)
	}
	return nil, fmt.Errorf("the curve %s is not supported", oid)
}
