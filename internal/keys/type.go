package keys

import (
	"crypto/elliptic"
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/fips"
)

// Type is the algorithm and size of a key. The numbers are those of the records.
type Type uint8

// The types.
const (
	AES256GCM         Type = 1
	AES128GCM         Type = 2
	ChaCha20Poly1305  Type = 3
	XChaCha20Poly1305 Type = 4
	ECDSAP256         Type = 5
	ECDSAP384         Type = 6
	ECDSAP521         Type = 7
	Ed25519           Type = 8
	RSA2048           Type = 9
	RSA3072           Type = 10
	RSA4096           Type = 11
	HMAC              Type = 12
	AES128CMAC        Type = 13
	AES192CMAC        Type = 14
	AES256CMAC        Type = 15
	MLDSA             Type = 16
)

// family groups the types that one implementation serves.
type family uint8

const (
	aeadFamily family = iota + 1
	ecdsaFamily
	ed25519Family
	rsaFamily
	hmacFamily
	cmacFamily
	mldsaFamily
)

type traits struct {
	name   string
	family family
	size   int            // bytes of a symmetric key
	bits   int            // of an RSA modulus
	curve  elliptic.Curve // of ECDSA
}

var allTraits = map[Type]traits{
	AES256GCM:         {name: "aes256-gcm96", family: aeadFamily, size: 32},
	AES128GCM:         {name: "aes128-gcm96", family: aeadFamily, size: 16},
	ChaCha20Poly1305:  {name: "chacha20-poly1305", family: aeadFamily, size: 32},
	XChaCha20Poly1305: {name: "xchacha20-poly1305", family: aeadFamily, size: 32},
	ECDSAP256:         {name: "ecdsa-p256", family: ecdsaFamily, curve: elliptic.P256()},
	ECDSAP384:         {name: "ecdsa-p384", family: ecdsaFamily, curve: elliptic.P384()},
	ECDSAP521:         {name: "ecdsa-p521", family: ecdsaFamily, curve: elliptic.P521()},
	Ed25519:           {name: "ed25519", family: ed25519Family},
	RSA2048:           {name: "rsa-2048", family: rsaFamily, bits: 2048},
	RSA3072:           {name: "rsa-3072", family: rsaFamily, bits: 3072},
	RSA4096:           {name: "rsa-4096", family: rsaFamily, bits: 4096},
	HMAC:              {name: "hmac", family: hmacFamily},
	AES128CMAC:        {name: "aes128-cmac", family: cmacFamily, size: 16},
	AES192CMAC:        {name: "aes192-cmac", family: cmacFamily, size: 24},
	AES256CMAC:        {name: "aes256-cmac", family: cmacFamily, size: 32},
	MLDSA:             {name: "ml-dsa", family: mldsaFamily},
}

var typesByName = func() map[string]Type {
	m := map[string]Type{}
	for t, tr := range allTraits {
		m[tr.name] = t
	}
	return m
}()

// ParseType finds a type by its name in the API.
func ParseType(name string) (Type, error) {
	if t, ok := typesByName[name]; ok {
		return t, nil
	}
	return 0, fault.New(fault.Invalid, "unknown key type %s", name)
}

// String is the type's name in the API.
func (t Type) String() string {
	if tr, ok := allTraits[t]; ok {
		return tr.name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

func (t Type) traits() traits { return allTraits[t] }

// AEAD reports whether ciphertexts of the type can bind additional data.
func (t Type) AEAD() bool { return t.traits().family == aeadFamily }

// Encrypts reports whether keys of the type encrypt and decrypt.
func (t Type) Encrypts() bool { return t.AEAD() || t.RSA() }

// Signs reports whether keys of the type sign.
func (t Type) Signs() bool { return t.Asymmetric() }

// approved refuses types that FIPS 140-3 does not allow, where it is required. What was encrypted
// by such a key is still decrypted, so that it can be moved to another key.
func (t Type) approved() error {
	switch t {
	case ChaCha20Poly1305, XChaCha20Poly1305:
		return fips.Refuse("the key type "+t.String(), AES256GCM.String())
	case MLDSA:
		return fips.Refuse("this program's implementation of the key type "+t.String(), ECDSAP384.String())
	case AES128CMAC, AES192CMAC, AES256CMAC:
		return fips.Refuse("this program's implementation of the key type "+t.String(), HMAC.String())
	}
	return nil
}

// RSA reports whether it is one of the RSA types.
func (t Type) RSA() bool { return t.traits().family == rsaFamily }

// ECDSA reports whether it is one of the ECDSA types.
func (t Type) ECDSA() bool { return t.traits().family == ecdsaFamily }

// CMAC reports whether it is one of the AES-CMAC types.
func (t Type) CMAC() bool { return t.traits().family == cmacFamily }

// Symmetric reports whether the key is a string of bytes.
func (t Type) Symmetric() bool {
	f := t.traits().family
	return f == aeadFamily || f == hmacFamily || f == cmacFamily
}

// Asymmetric reports whether the key has a public part.
func (t Type) Asymmetric() bool { return t.traits().family != 0 && !t.Symmetric() }

// Derives reports whether a key of the type can be derived for each context.
func (t Type) Derives() bool { return t.AEAD() || t == Ed25519 }

// Agrees reports whether keys of the type take part in ECDH.
func (t Type) Agrees() bool { return t.ECDSA() }

// Limits of the size of an HMAC key, in bytes.
const (
	minHMACKey = 32
	maxHMACKey = 512
)

// Spec describes a version of a key to the provider that makes or opens it.
type Spec struct {
	Type         Type
	Derived      bool
	Convergent   bool
	KeySize      int // bytes, of HMAC
	ParameterSet int // of ML-DSA: 44, 65, 87
}

// Check refuses combinations that no provider can serve. The texts are OpenBao's.
func (s Spec) Check() error {
	tr, ok := allTraits[s.Type]
	switch {
	case !ok:
		return fault.New(fault.Invalid, "unknown key type %s", s.Type)
	case s.Convergent && !s.Derived:
		return fault.New(fault.Invalid, "convergent encryption requires derivation to be enabled")
	case s.Derived && !s.Type.Derives():
		return Errors("key derivation and convergent encryption not supported for keys of type %s", s.Type)
	case s.Convergent && !s.Type.AEAD():
		return Errors("convergent encryption not supported for keys of type %s", s.Type)
	case s.KeySize != 0 && tr.family != hmacFamily:
		return fault.New(fault.Invalid, "key_size is not valid for algorithm %s", s.Type)
	case tr.family == hmacFamily && s.KeySize == 0:
		return Errors("invalid key size for HMAC key, must be between %d and %d bytes", minHMACKey, maxHMACKey)
	case tr.family == hmacFamily && (s.KeySize < minHMACKey || s.KeySize > maxHMACKey):
		return fault.New(fault.Invalid, "invalid key_size %d", s.KeySize)
	case tr.family == mldsaFamily && s.ParameterSet != 44 && s.ParameterSet != 65 && s.ParameterSet != 87:
		return fault.New(fault.Invalid, "invalid parameter_set %d for ml-dsa: give 44, 65 or 87", s.ParameterSet)
	case tr.family != mldsaFamily && s.ParameterSet != 0:
		return fault.New(fault.Invalid, "parameter_set is not valid for algorithm %s", s.Type)
	}
	return nil
}

// materialSize is the length of a symmetric key.
func (s Spec) materialSize() int {
	if s.Type == HMAC {
		return s.KeySize
	}
	return s.Type.traits().size
}

// Errors is a caller's mistake in the form that OpenBao gives to errors from below its handlers.
func Errors(format string, args ...any) error {
	return fault.New(fault.Invalid, "1 error occurred:\n\t* %s\n\n", fmt.Sprintf(format, args...))
}
