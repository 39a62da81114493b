package hsm

import (
	"crypto/elliptic"
	"encoding/asn1"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Kind is a kind of key that Generate and Import make.
type Kind uint8

// The kinds of keys.
const (
	AES256  Kind = iota + 1 // encrypts and decrypts
	HMAC256                 // 32 bytes that sign and verify
	RSA3072                 // a key pair that decrypts; with Template.Sign it signs
	AES128
	RSA2048
	RSA4096
	ECP256 // a key pair that signs
	ECP384
	ECP521
)

// kindInfo is the content of a kind's templates.
type kindInfo struct {
	name  string
	want  want
	bytes uint           // of a secret key
	bits  uint           // of an RSA modulus
	curve elliptic.Curve // of an EC key
}

var wantEC = want{"an EC private key", isEC, []uint{ck.AttrSign}}

var kindTable = map[Kind]kindInfo{
	AES256:  {name: "AES-256 key", want: wantAES, bytes: 32},
	AES128:  {name: "AES-128 key", want: wantAES, bytes: 16},
	HMAC256: {name: "HMAC key", want: wantHMAC, bytes: 32},
	RSA2048: {name: "RSA-2048 key pair", want: wantRSA, bits: 2048},
	RSA3072: {name: "RSA-3072 key pair", want: wantRSA, bits: 3072},
	RSA4096: {name: "RSA-4096 key pair", want: wantRSA, bits: 4096},
	ECP256:  {name: "EC P-256 key pair", want: wantEC, curve: elliptic.P256()},
	ECP384:  {name: "EC P-384 key pair", want: wantEC, curve: elliptic.P384()},
	ECP521:  {name: "EC P-521 key pair", want: wantEC, curve: elliptic.P521()},
}

// String describes the kind.
func (k Kind) String() string {
	if info, known := kindTable[k]; known {
		return info.name
	}
	return "key"
}

// curveParams is CKA_EC_PARAMS: the curve's object identifier.
func curveParams(c elliptic.Curve) []byte {
	for _, known := range curves {
		if known.curve == c {
			der, err := asn1.Marshal(known.oid)
			if err == nil {
				return der
			}
		}
	}
	return nil
}
