package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"fmt"
	"math/big"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// MaxInput bounds the input of one operation of a [DeviceKey].
const MaxInput = 1 << 20

// EncryptGCM encrypts with an AES key and AES-GCM. It returns the IV, which the token may have
// chosen, and the ciphertext with its tag.
func (d *DeviceKey) EncryptGCM(ctx context.Context, plain, aad []byte) (iv, ciphertext []byte, err error) {
	if err := bounded(plain, aad); err != nil {
		return nil, nil, err
	}
	plain, aad = bytes.Clone(plain), bytes.Clone(aad)
	sealed, err := deviceResult(ctx, d, func(c *call, f *deviceFound) (*Sealed, error) {
		if !isAES(f.key) {
			return nil, fmt.Errorf("%w: AES-GCM needs an AES key, this is %s", ErrKeyType, describe(f.key))
		}
		return sealGCM(c, &found{key: f.key}, plain, aad)
	})
	if err != nil {
		return nil, nil, err
	}
	return sealed.IV, sealed.Ciphertext, nil
}

// DecryptGCM decrypts what EncryptGCM returned for the same aad. If authentication fails, it proves
// that the key works and returns ErrCorrupt.
func (d *DeviceKey) DecryptGCM(ctx context.Context, iv, ciphertext, aad []byte) ([]byte, error) {
	if err := bounded(ciphertext, aad); err != nil {
		return nil, err
	}
	if len(iv) < gcmNonce || len(iv) > 16 || len(ciphertext) < 16 {
		return nil, fmt.Errorf("%w: an IV of %d bytes and a ciphertext of %d", ErrFormat, len(iv), len(ciphertext))
	}
	iv, ciphertext, aad = bytes.Clone(iv), bytes.Clone(ciphertext), bytes.Clone(aad)
	open := func(c *call, f *deviceFound, iv, ciphertext, aad []byte) ([]byte, error) {
		return c.session.Crypt(ck.Call{Operation: ck.Decrypt, Mechanism: ck.MechAESGCM, Key: f.key.handle,
			Input: ciphertext, Size: len(ciphertext) + slack, IV: bytes.Clone(iv), AAD: aad})
	}
	return d.judged(ctx, func(c *call, f *deviceFound) ([]byte, error) {
		if !isAES(f.key) {
			return nil, fmt.Errorf("%w: AES-GCM needs an AES key, this is %s", ErrKeyType, describe(f.key))
		}
		return open(c, f, iv, ciphertext, aad)
	}, func(c *call, f *deviceFound) error {
		s, err := sealGCM(c, &found{key: f.key}, make([]byte, 32), nil)
		if err == nil {
			_, err = open(c, f, s.IV, s.Ciphertext, nil)
		}
		return err
	})
}

// DecryptRSA decrypts one block with an RSA key: OAEP with a hash, whose mask function has the same
// hash and whose label is empty; or PKCS #1 v1.5 if the hash is 0. The error does not say why the
// padding is wrong.
func (d *DeviceKey) DecryptRSA(ctx context.Context, block []byte, hash crypto.Hash) ([]byte, error) {
	mechanism, known := hashMechanisms[hash]
	if hash != 0 && !known {
		return nil, fmt.Errorf("%w: OAEP with %v", ErrMechanism, hash)
	}
	if err := bounded(block, nil); err != nil {
		return nil, err
	}
	block = bytes.Clone(block)
	open := func(c *call, f *deviceFound, block []byte) ([]byte, error) {
		if hash != 0 {
			return c.session.Crypt(oaep(ck.Decrypt, f.key.handle, mechanism, block, f.public.(*rsa.PublicKey)))
		}
		return c.session.Crypt(ck.Call{Operation: ck.Decrypt, Mechanism: ck.MechRSAPKCS, Key: f.key.handle,
			Input: block,
			Size:  len(block) + slack})
	}
	return d.judged(ctx, func(c *call, f *deviceFound) ([]byte, error) {
		p, ok := f.public.(*rsa.PublicKey)
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: RSA needs an RSA key, this is %s", ErrKeyType, describe(f.key))
		case len(block) != p.Size():
			return nil, fmt.Errorf("%w: a block of %d bytes, for a key of %d", ErrFormat, len(block), p.Size())
		}
		return open(c, f, block)
	}, func(c *call, f *deviceFound) error {
		var own []byte
		var err error
		if hash != 0 {
			own, err = rsa.EncryptOAEP(hash.New(), rand.Reader, f.public.(*rsa.PublicKey), make([]byte, 16), nil)
		} else {
			//lint:ignore SA1019 the round trip uses the padding that the caller asked for
			own, err = rsa.EncryptPKCS1v15(rand.Reader, f.public.(*rsa.PublicKey), make([]byte, 16))
		}
		if err == nil {
			_, err = open(c, f, own)
		}
		return err
	})
}

// judged runs a decryption. Tokens report wrong data and a broken device by the same values: the
// data are wrong if a retry in a new session fails too and the key works.
func (d *DeviceKey) judged(ctx context.Context, open func(*call, *deviceFound) ([]byte, error),
	works func(*call, *deviceFound) error) ([]byte, error) {
	failed := false
	return deviceResult(ctx, d, func(c *call, f *deviceFound) ([]byte, error) {
		out, err := open(c, f)
		switch {
		case err == nil || kindOf(err) != kindDevice:
			return out, err
		case !failed:
			failed = true
			return nil, err
		case works(c, f) != nil:
			return nil, err
		}
		return nil, fmt.Errorf("%w: the token answers %w, and a round trip with the key succeeds", ErrCorrupt, err)
	})
}

// SignDigest signs a digest with an RSA or EC key, as crypto.Signer does: opts is *rsa.PSSOptions,
// or the hash for PKCS #1 v1.5. An ECDSA signature is ASN.1.
func (d *DeviceKey) SignDigest(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash := opts.HashFunc()
	if hash != 0 && len(digest) != hash.Size() {
		return nil, fmt.Errorf("%w: a digest of %d bytes, not %d", ErrFormat, len(digest), hash.Size())
	}
	if len(digest) == 0 || len(digest) > 64 {
		return nil, fmt.Errorf("%w: a digest of %d bytes", ErrFormat, len(digest))
	}
	digest = bytes.Clone(digest)
	return deviceResult(ctx, d, func(c *call, f *deviceFound) ([]byte, error) {
		switch p := f.public.(type) {
		case *rsa.PublicKey:
			return signRSA(c, f, p, digest, opts)
		case *ecdsa.PublicKey:
			return signEC(c, f, p, digest)
		}
		return nil, fmt.Errorf("%w: a signature needs an RSA or EC key, this is %s", ErrKeyType, describe(f.key))
	})
}

func signRSA(c *call, f *deviceFound, p *rsa.PublicKey, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash := opts.HashFunc()
	request := ck.Call{Operation: ck.Sign, Key: f.key.handle, Size: p.Size() + slack}
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		mechanism, known := hashMechanisms[hash]
		if !known {
			return nil, fmt.Errorf("%w: PSS with %v", ErrMechanism, hash)
		}
		salt := pss.SaltLength
		switch salt {
		case rsa.PSSSaltLengthEqualsHash:
			salt = hash.Size()
		case rsa.PSSSaltLengthAuto:
			salt = (p.N.BitLen()-1+7)/8 - 2 - hash.Size()
		}
		if salt < 0 {
			return nil, fmt.Errorf("%w: a salt of %d bytes", ErrFormat, salt)
		}
		request.Mechanism, request.Hash, request.MGF = ck.MechRSAPSS, mechanism, oaepHashes[mechanism].mgf
		request.Salt, request.Input = uint(salt), digest
		return c.session.Crypt(request)
	}
	prefix, known := digestInfo[hash]
	if !known {
		return nil, fmt.Errorf("%w: PKCS #1 v1.5 with %v", ErrMechanism, hash)
	}
	request.Mechanism, request.Input = ck.MechRSAPKCS, append(bytes.Clone(prefix), digest...)
	return c.session.Crypt(request)
}

func signEC(c *call, f *deviceFound, p *ecdsa.PublicKey, digest []byte) ([]byte, error) {
	size := (p.Curve.Params().BitSize + 7) / 8
	if len(digest) > size {
		digest = digest[:size] // some tokens do not truncate (FIPS 186-5, 6.4.1)
	}
	raw, err := c.session.Crypt(ck.Call{Operation: ck.Sign, Mechanism: ck.MechECDSA, Key: f.key.handle, Input: digest,
		Size: 2*size + slack})
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 || len(raw)%2 != 0 || len(raw) > 2*size {
		return nil, fmt.Errorf("%w: an ECDSA signature of %d bytes", ck.FunctionFailed, len(raw))
	}
	half := len(raw) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
}

// MAC computes an HMAC with a hash: SHA-256, SHA-384 or SHA-512.
func (d *DeviceKey) MAC(ctx context.Context, input []byte, hash crypto.Hash) ([]byte, error) {
	mechanism, known := map[crypto.Hash]uint{
		crypto.SHA256: ck.MechSHA256HMAC, crypto.SHA384: ck.MechSHA384HMAC, crypto.SHA512: ck.MechSHA512HMAC,
	}[hash]
	if !known {
		return nil, fmt.Errorf("%w: HMAC with %v", ErrMechanism, hash)
	}
	if err := bounded(input, nil); err != nil {
		return nil, err
	}
	input = bytes.Clone(input)
	return deviceResult(ctx, d, func(c *call, f *deviceFound) ([]byte, error) {
		if !isHMAC(f.key) {
			return nil, fmt.Errorf("%w: HMAC needs an HMAC key, this is %s", ErrKeyType, describe(f.key))
		}
		return c.session.Crypt(ck.Call{Operation: ck.Sign, Mechanism: mechanism, Key: f.key.handle, Input: input,
			Size: macSize[mechanism] + slack})
	})
}

func bounded(input, aad []byte) error {
	if len(input) == 0 || len(input) > MaxInput || len(aad) > MaxInput {
		return fmt.Errorf("%w: %d bytes with %d bytes of additional data; the limits are 1 to %d and 0 to %d",
			ErrTooLarge, len(input), len(aad), MaxInput, MaxInput)
	}
	return nil
}

// hashMechanisms maps a hash to the mechanism that names it in OAEP and PSS parameters.
var hashMechanisms = map[crypto.Hash]uint{
	crypto.SHA1: ck.MechSHA1, crypto.SHA224: ck.MechSHA224, crypto.SHA256: ck.MechSHA256, crypto.SHA384: ck.MechSHA384,
	crypto.SHA512: ck.MechSHA512,
}

// digestInfo is the DER in front of a digest (RFC 8017, section 9.2, note 1).
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA224: {0x30, 0x2d, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4, 5, 0, 4, 0x1c},
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0, 4, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3, 5, 0, 4, 0x40},
}
