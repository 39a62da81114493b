package hsm

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Bounds of a plaintext: the package encrypts keys, not documents.
const (
	MaxPlaintext = 16 << 10
	maxAAD       = 16 << 10
	slack        = 64 // what a token may add to a ciphertext: tag, padding, its own vector, a trailer
	gcmNonce     = 12
	dataKey      = 32
)

// Sealed is a ciphertext. The mechanism decides which fields are set:
//
//	CKM_AES_GCM        IV (as the token used it) | Ciphertext (with the tag)
//	CKM_AES_CBC_PAD    IV | Ciphertext
//	                   | MAC = HMAC(macContext | length of AAD, 8 bytes | AAD | IV | Ciphertext)
//	                   Hash is the HMAC's mechanism
//	CKM_RSA_PKCS_OAEP  WrappedKey = OAEP(32-byte data key), Hash is OAEP's | IV
//	                   | Ciphertext = AES-256-GCM by the data key, additional data
//	                     envelopeContext | AAD
//	                   | MAC, if the key has an HMAC key: HMAC(envelopeMACContext | length of AAD |
//	                     AAD | Hash | length of WrappedKey | WrappedKey | IV | Ciphertext), numbers
//	                     of 8 bytes, by the mechanism that the length of the MAC implies
type Sealed struct {
	Key        string // the key's URI, as in [KeyInfo]; Decrypt ignores it
	MACKey     string // URI of the MAC's key
	Mechanism  uint
	Hash       uint
	IV         []byte
	Ciphertext []byte
	MAC        []byte
	WrappedKey []byte
}

// Domain separation of what is authenticated outside the token's own AES-GCM.
const (
	macContext      = "sealgate/hsm/cbc-hmac/v1\x00"
	envelopeContext = "sealgate/hsm/oaep-envelope/v1\x00"

	envelopeMACContext = "sealgate/hsm/oaep-hmac/v1\x00"
)

// Encrypt encrypts 1 to MaxPlaintext bytes and binds aad to the ciphertext.
func (k *Key) Encrypt(ctx context.Context, plain, aad []byte) (*Sealed, error) {
	if len(plain) == 0 || len(plain) > MaxPlaintext || len(aad) > maxAAD {
		return nil, fmt.Errorf("%w: %d bytes with %d bytes of additional data; the limits are 1 to %d and 0 to %d",
			ErrTooLarge, len(plain), len(aad), MaxPlaintext, maxAAD)
	}
	in := bytes.Clone(plain) // a call that hangs may still read it after its caller has left
	aad = bytes.Clone(aad)
	return result(k, ctx, false, func(c *call, f *found, s scheme) (*Sealed, error) {
		return k.seal(c, f, s, in, aad)
	}, func() { clear(in) })
}

// Decrypt returns the plaintext of a ciphertext that Encrypt returned for the same aad. If
// authentication fails, it proves that the key works and returns ErrCorrupt.
func (k *Key) Decrypt(ctx context.Context, sealed *Sealed, aad []byte) ([]byte, error) {
	if err := sealed.check(); err != nil {
		return nil, err
	}
	if len(aad) > maxAAD {
		return nil, fmt.Errorf("%w: %d bytes of additional data; the limit is %d", ErrTooLarge, len(aad), maxAAD)
	}
	in := &Sealed{
		Mechanism: sealed.Mechanism, Hash: sealed.Hash, IV: bytes.Clone(sealed.IV),
		Ciphertext: bytes.Clone(sealed.Ciphertext),
		MAC:        bytes.Clone(sealed.MAC), WrappedKey: bytes.Clone(sealed.WrappedKey),
	}
	aad = bytes.Clone(aad)
	failed := false
	legacy := in.Mechanism == ck.MechRSAOAEP && in.Hash == ck.MechSHA1
	return result(k, ctx, legacy, func(c *call, f *found, s scheme) ([]byte, error) {
		plain, err := k.open(c, f, in, aad)
		if err == nil || kindOf(err) != kindDevice {
			if err != nil && kindOf(err) == kindMechanism && s.mechanism == in.Mechanism {
				err = fmt.Errorf("%w: the token supports the mechanism, but refuses the ciphertext's vector: %w",
					ErrCorrupt, err)
			}
			return plain, err
		}
		// SoftHSM answers a wrong tag with CKR_GENERAL_ERROR, like a broken device. The data are
		// damaged if a retry in a new session fails too and a round trip succeeds.
		if !failed {
			failed = true
			return nil, err
		}
		if k.roundTrip(c, f, s) != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: the token answers %w, and a round trip with the key succeeds", ErrCorrupt, err)
	}, func() {})
}

// result returns a value from a session worker. It is read only if the work ended in time, because
// an abandoned call may write it later.
func result[T any](k *Key, ctx context.Context, legacy bool, f func(*call, *found, scheme) (T, error),
	done func()) (T, error) {
	var out, none T
	err := k.use(ctx, legacy, func(c *call, fd *found, s scheme) (err error) {
		out, err = f(c, fd, s)
		return err
	})
	if !errors.Is(err, ErrDeadline) && ctx.Err() == nil {
		done() // otherwise the library may still read it
	}
	if err != nil {
		return none, err
	}
	return out, nil
}

func (k *Key) seal(c *call, f *found, s scheme, plain, aad []byte) (*Sealed, error) {
	switch s.mechanism {
	case ck.MechAESGCM:
		return sealGCM(c, f, plain, aad)
	case ck.MechAESCBCPad:
		return sealCBC(c, f, s, plain, aad)
	}
	return k.sealEnvelope(c, f, s, plain, aad)
}

func sealGCM(c *call, f *found, plain, aad []byte) (*Sealed, error) {
	iv := make([]byte, gcmNonce)
	if !c.at.quirk.ownIV {
		_, _ = rand.Read(iv)
	}
	ct, err := c.session.Crypt(ck.Call{
		Operation: ck.Encrypt, Mechanism: ck.MechAESGCM, Key: f.key.handle, Input: plain, Size: len(plain) +
			slack, IV: iv, AAD: aad,
	})
	if err != nil {
		return nil, err
	}
	return &Sealed{Key: f.uri, Mechanism: ck.MechAESGCM, IV: iv, Ciphertext: ct}, nil
}

func sealCBC(c *call, f *found, s scheme, plain, aad []byte) (*Sealed, error) {
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv)
	ct, err := c.session.Crypt(ck.Call{
		Operation: ck.Encrypt, Mechanism: ck.MechAESCBCPad, Key: f.key.handle, Input: plain, Size: len(plain) +
			slack, IV: iv,
	})
	if err != nil {
		return nil, err
	}
	mac, err := sign(c, f, s.mac, iv, ct, aad)
	if err != nil {
		return nil, err
	}
	return &Sealed{Key: f.uri, MACKey: f.macURI, Mechanism: ck.MechAESCBCPad, Hash: s.mac, IV: iv, Ciphertext: ct,
		MAC: mac}, nil
}

// sign computes the MAC of encrypt-then-MAC. The length in front of the additional data makes the
// input unambiguous.
func sign(c *call, f *found, mechanism uint, iv, ct, aad []byte) ([]byte, error) {
	in := make([]byte, 0, len(macContext)+8+len(aad)+len(iv)+len(ct))
	in = append(in, macContext...)
	in = binary.BigEndian.AppendUint64(in, uint64(len(aad)))
	in = append(in, aad...)
	in = append(in, iv...)
	in = append(in, ct...)
	return mac(c, f, mechanism, in)
}

func mac(c *call, f *found, mechanism uint, in []byte) ([]byte, error) {
	return c.session.Crypt(ck.Call{Operation: ck.Sign, Mechanism: mechanism, Key: f.hmac.handle, Input: in,
		Size: macSize[mechanism] + slack})
}

// signEnvelope computes the MAC of an envelope: anybody can encrypt to the public key.
func signEnvelope(c *call, f *found, mechanism uint, s *Sealed, aad []byte) ([]byte, error) {
	in := []byte(envelopeMACContext)
	in = binary.BigEndian.AppendUint64(in, uint64(len(aad)))
	in = append(in, aad...)
	in = binary.BigEndian.AppendUint64(in, uint64(s.Hash))
	in = binary.BigEndian.AppendUint64(in, uint64(len(s.WrappedKey)))
	in = append(in, s.WrappedKey...)
	in = append(in, s.IV...) // its length is fixed
	in = append(in, s.Ciphertext...)
	return mac(c, f, mechanism, in)
}

func (k *Key) sealEnvelope(c *call, f *found, s scheme, plain, aad []byte) (*Sealed, error) {
	dek := make([]byte, dataKey)
	defer clear(dek)
	_, _ = rand.Read(dek)
	var wrapped []byte
	var err error
	if k.spec.OAEPOnToken {
		wrapped, err = c.session.Crypt(oaep(ck.Encrypt, f.pubKey, s.hash, dek, f.public))
	} else {
		wrapped, err = rsa.EncryptOAEP(oaepHashes[s.hash].hash.New(), rand.Reader, f.public, dek, nil)
	}
	if err != nil {
		return nil, err
	}
	gcm, err := softwareGCM(dek)
	if err != nil {
		return nil, err
	}
	iv := make([]byte, gcmNonce)
	_, _ = rand.Read(iv)
	ct := gcm.Seal(nil, iv, plain, append([]byte(envelopeContext), aad...))
	out := &Sealed{Key: f.uri, Mechanism: ck.MechRSAOAEP, Hash: s.hash, IV: iv, Ciphertext: ct, WrappedKey: wrapped}
	if f.hmac.handle != 0 {
		out.MACKey = f.macURI
		out.MAC, err = signEnvelope(c, f, k.spec.HMACMechanism, out, aad)
	}
	return out, err
}

func oaep(op ck.Operation, key, hash uint, in []byte, public *rsa.PublicKey) ck.Call {
	return ck.Call{
		Operation: op, Mechanism: ck.MechRSAOAEP, Key: key, Input: in, Size: public.Size() +
			slack, Hash: hash, MGF: oaepHashes[hash].mgf,
	}
}

func softwareGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// open decrypts a ciphertext that passed check.
func (k *Key) open(c *call, f *found, s *Sealed, aad []byte) ([]byte, error) {
	switch rsaKey := f.key.kind == ck.KeyRSA; {
	case rsaKey != (s.Mechanism == ck.MechRSAOAEP):
		return nil, fmt.Errorf("%w: the ciphertext was made with %s, the key is %s", ErrKeyType,
			MechanismName(s.Mechanism), describe(f.key))
	case rsaKey:
		if err := k.verifyEnvelope(c, f, s, aad); err != nil {
			return nil, err
		}
		return openEnvelope(c, f, s, aad)
	case s.Mechanism == ck.MechAESCBCPad:
		return openCBC(c, f, s, aad)
	}
	return c.session.Crypt(ck.Call{
		Operation: ck.Decrypt, Mechanism: ck.MechAESGCM, Key: f.key.handle, Input: s.Ciphertext,
		Size: len(s.Ciphertext) + slack,
		IV:   bytes.Clone(s.IV), AAD: aad,
	})
}

func openCBC(c *call, f *found, s *Sealed, aad []byte) ([]byte, error) {
	if f.hmac.handle == 0 {
		return nil, fmt.Errorf("%w: the ciphertext was made with CKM_AES_CBC_PAD and an HMAC, whose key is not "+
			"configured", ErrKeyType)
	}
	mac, err := sign(c, f, s.Hash, s.IV, s.Ciphertext, aad)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(mac, s.MAC) {
		return nil, fmt.Errorf("%w: the HMAC does not match", ErrCorrupt)
	}
	return c.session.Crypt(ck.Call{
		Operation: ck.Decrypt, Mechanism: ck.MechAESCBCPad, Key: f.key.handle, Input: s.Ciphertext,
		Size: len(s.Ciphertext) + slack, IV: s.IV,
	})
}

// verifyEnvelope checks who made an envelope, before it is decrypted.
func (k *Key) verifyEnvelope(c *call, f *found, s *Sealed, aad []byte) error {
	switch {
	case f.hmac.handle == 0 && len(s.MAC) > 0:
		return fmt.Errorf("%w: the ciphertext was made with CKM_RSA_PKCS_OAEP and an HMAC, whose key is not configured",
			ErrKeyType)
	case f.hmac.handle == 0, len(s.MAC) == 0 && k.spec.AllowNoMAC:
		return nil
	case len(s.MAC) == 0:
		return fmt.Errorf("%w: anybody who knows the public key can have made it", ErrNoMAC)
	}
	var mechanism uint
	for m, size := range macSize {
		if size == len(s.MAC) {
			mechanism = m
		}
	}
	want, err := signEnvelope(c, f, mechanism, s, aad)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, s.MAC) {
		return fmt.Errorf("%w: the HMAC of the envelope does not match", ErrCorrupt)
	}
	return nil
}

func openEnvelope(c *call, f *found, s *Sealed, aad []byte) ([]byte, error) {
	if len(s.WrappedKey) != f.public.Size() {
		return nil, fmt.Errorf("%w: the wrapped key has %d bytes, the RSA modulus %d", ErrCorrupt, len(s.WrappedKey),
			f.public.Size())
	}
	dek, err := c.session.Crypt(oaep(ck.Decrypt, f.key.handle, s.Hash, s.WrappedKey, f.public))
	if err != nil {
		return nil, err
	}
	defer clear(dek)
	if len(dek) != dataKey {
		return nil, fmt.Errorf("%w: the data key has %d bytes, not 32", ErrCorrupt, len(dek))
	}
	gcm, err := softwareGCM(dek)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, s.IV, s.Ciphertext, append([]byte(envelopeContext), aad...))
	if err != nil {
		return nil, fmt.Errorf("%w: AES-GCM of the envelope", ErrCorrupt)
	}
	return plain, nil
}

// check bounds every length before anything is decrypted.
func (s *Sealed) check() error {
	if s == nil {
		return fmt.Errorf("%w: the ciphertext is nil", ErrFormat)
	}
	var problem error
	bound := func(name string, n, low, high int) {
		if n < low || n > high {
			problem = errors.Join(problem, fmt.Errorf("%w: %s has %d bytes", ErrFormat, name, n))
		}
	}
	most := MaxPlaintext + slack
	switch s.Mechanism {
	case ck.MechAESGCM:
		bound("the IV", len(s.IV), gcmNonce, 16)
		bound("the ciphertext", len(s.Ciphertext), 17, most)
		bound("the MAC", len(s.MAC), 0, 0)
		bound("the wrapped key", len(s.WrappedKey), 0, 0)
	case ck.MechAESCBCPad:
		size, known := macSize[s.Hash]
		if !known {
			return fmt.Errorf("%w: unknown HMAC 0x%x", ErrFormat, s.Hash)
		}
		bound("the IV", len(s.IV), aes.BlockSize, aes.BlockSize)
		bound("the ciphertext", len(s.Ciphertext), aes.BlockSize, most)
		bound("the MAC", len(s.MAC), size, size)
		bound("the wrapped key", len(s.WrappedKey), 0, 0)
	case ck.MechRSAOAEP:
		if _, known := oaepHashes[s.Hash]; !known {
			return fmt.Errorf("%w: unknown OAEP hash 0x%x", ErrFormat, s.Hash)
		}
		bound("the IV", len(s.IV), gcmNonce, gcmNonce)
		bound("the ciphertext", len(s.Ciphertext), 17, most)
		if n := len(s.MAC); n != 0 && n != 32 && n != 48 && n != 64 {
			bound("the MAC", n, 0, 0)
		}
		bound("the wrapped key", len(s.WrappedKey), 256, 2048)
	default:
		return fmt.Errorf("%w: unknown mechanism 0x%x", ErrFormat, s.Mechanism)
	}
	return problem
}
