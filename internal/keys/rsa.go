package keys

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/secret"
)

// rsaHandle encrypts and signs by PKCS #1 (RFC 8017).
type rsaHandle struct {
	macKey
	private *rsa.PrivateKey
	public  *rsa.PublicKey
}

func openRSA(s Spec, private, public []byte, mac macKey) (*rsaHandle, error) {
	signer, pub, err := parsed[*rsa.PublicKey](private, public)
	if err != nil {
		return nil, err
	}
	if pub.N.BitLen() != s.Type.traits().bits {
		return nil, fmt.Errorf("%w: a modulus of %d bits as %s", ErrRecord, pub.N.BitLen(), s.Type)
	}
	h := &rsaHandle{macKey: mac, public: pub}
	h.private, _ = signer.(*rsa.PrivateKey)
	return h, nil
}

func (h *rsaHandle) Encrypt(_ context.Context, dst, plain []byte, p CipherParams) ([]byte, error) {
	var out []byte
	var err error
	if p.PKCS1 {
		//lint:ignore SA1019 a caller asks for it by padding_scheme
		out, err = rsa.EncryptPKCS1v15(rand.Reader, h.public, plain)
	} else {
		out, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, h.public, plain, nil)
	}
	if err != nil {
		return nil, Errors("failed to RSA encrypt the plaintext: %s", err)
	}
	return append(dst, out...), nil
}

// Decrypt has one error for whatever is wrong with a block.
func (h *rsaHandle) Decrypt(_ context.Context, dst, blob []byte, p CipherParams) ([]byte, error) {
	if h.private == nil {
		return nil, Errors("requested version for decryption does not contain a private part")
	}
	var out []byte
	var err error
	if p.PKCS1 {
		//lint:ignore SA1019 a caller asks for it by padding_scheme
		out, err = rsa.DecryptPKCS1v15(nil, h.private, blob)
	} else {
		out, err = rsa.DecryptOAEP(sha256.New(), nil, h.private, blob, nil)
	}
	if err != nil {
		return nil, Errors("failed to RSA decrypt the ciphertext: %s", rsa.ErrDecryption)
	}
	defer clear(out)
	return append(dst, out...), nil
}

// checkSalt refuses a salt that has no room in the block.
func (h *rsaHandle) checkSalt(p SignParams) error {
	block := (h.public.N.BitLen() - 1 + 7) / 8
	if p.Salt < rsa.PSSSaltLengthEqualsHash || p.Salt > block-2-p.Hash.Size() {
		return Errors("requested salt length %d is invalid", p.Salt)
	}
	return nil
}

func (h *rsaHandle) Sign(_ context.Context, input []byte, p SignParams) ([]byte, error) {
	if h.private == nil {
		return nil, errNoPrivate
	}
	sum := digest(input, p)
	if p.Hash != 0 && len(sum) != p.Hash.Size() {
		if p.PKCS1 {
			return nil, Errors("crypto/rsa: input must be hashed message")
		}
		return nil, Errors("crypto/rsa: input must be hashed with given hash")
	}
	var out []byte
	var err error
	if p.PKCS1 {
		out, err = rsa.SignPKCS1v15(rand.Reader, h.private, p.Hash, sum)
	} else {
		if err := h.checkSalt(p); err != nil {
			return nil, err
		}
		out, err = rsa.SignPSS(rand.Reader, h.private, p.Hash, sum, &rsa.PSSOptions{SaltLength: p.Salt})
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the RSA key cannot sign this input with this hash and padding")
	}
	return out, nil
}

func (h *rsaHandle) Verify(_ context.Context, input, signature []byte, p SignParams) (bool, error) {
	sum := digest(input, p)
	if p.PKCS1 {
		return rsa.VerifyPKCS1v15(h.public, p.Hash, sum, signature) == nil, nil
	}
	if err := h.checkSalt(p); err != nil {
		return false, err
	}
	return rsa.VerifyPSS(h.public, p.Hash, sum, signature, &rsa.PSSOptions{SaltLength: p.Salt}) == nil, nil
}

func (h *rsaHandle) Public(context.Context, []byte) (crypto.PublicKey, error) { return h.public, nil }

func (h *rsaHandle) Export() (*secret.Bytes, error) {
	if h.private == nil {
		return nil, nil
	}
	return exportPKCS8(h.private)
}
