package device

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/seals"
)

// handle is a version's key. It finds the key in its device at the first use, and again after a
// change of the configurations or a failure.
type handle struct {
	m    *Mount
	ref  reference
	spec keys.Spec
	now  atomic.Pointer[found]

	anySize bool // an AEAD key of any type will do
}

// found is a key as of one snapshot of the configurations, and of the seals.
type found struct {
	snap  *snapshot
	seals []seals.Seal // against which it was checked
	link  *link
	*opened
}

// permit checks a use that needs no device: with the public part.
func (h *handle) permit(ctx context.Context, u Usage) error {
	s, err := h.m.r.current(ctx)
	if err == nil {
		_, err = h.m.use(s, h.ref, u)
	}
	return err
}

// open checks a use and finds the key.
func (h *handle) open(ctx context.Context, u Usage) (*found, error) {
	s, err := h.m.r.current(ctx)
	if err != nil {
		return nil, err
	}
	e, err := h.m.use(s, h.ref, u)
	if err != nil {
		return nil, err
	}
	protected := h.m.r.hub.seals()
	if f := h.now.Load(); f != nil && f.snap == s && sameSeals(f.seals, protected) {
		return f, nil
	}
	l, err := h.m.r.connect(s, e)
	if err != nil {
		return nil, failed(h.ref.entry, err)
	}
	o, err := l.find(ctx, h.ref.ref)
	if err != nil {
		return nil, failed(h.ref.entry, err)
	}
	fits := o.facts.Spec.Type == h.spec.Type || h.anySize && o.facts.Spec.Type.AEAD()
	if o.facts.Identity != h.ref.identity || !fits {
		l.forget(h.ref.ref)
		return nil, failed(h.ref.entry, seals.Fail(seals.WrongKey, errWrongKey, "restore the key"))
	}
	if err := h.m.r.guard(ctx, e.Type, e.Label(), o.facts.Identity); err != nil {
		return nil, err
	}
	if err := h.m.unreserved(s, e, o.facts.Identity); err != nil {
		return nil, err
	}
	f := &found{s, protected, l, o}
	h.now.Store(f)
	return f, nil
}

// run does an operation with the key. A failure makes the next use find it anew; where the
// connection was closed by a change of the configurations, the operation is tried once more.
func run[T any](ctx context.Context, h *handle, u Usage, f func(key Key) (T, error)) (T, error) {
	var none T
	for again := false; ; again = true {
		k, err := h.open(ctx, u)
		if err != nil {
			return none, err
		}
		out, err := f(k.key)
		if err == nil {
			return out, nil
		}
		var ours *fault.Error
		if errors.As(err, &ours) {
			return none, err
		}
		h.now.CompareAndSwap(k, nil)
		k.link.forget(h.ref.ref)
		s, stale := h.m.r.current(ctx)
		if !again && stale == nil && s != k.snap {
			continue
		}
		h.m.r.noticed(h.ref.entry, err)
		return none, failed(h.ref.entry, err)
	}
}

var errCannot = fault.New(fault.Invalid, "the device does not support this operation with this key")

// Fingerprint implements [keys.Fingerprinter].
func (h *handle) Fingerprint() [8]byte {
	return keys.Fingerprint(h.ref.entry + "\x00" + h.ref.identity)
}

// cipherHandle encrypts in the device.
type cipherHandle struct{ *handle }

func (h *cipherHandle) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	return run(ctx, h.handle, Encrypt, func(k Key) ([]byte, error) {
		c, ok := k.(keys.Encrypter)
		if !ok {
			return nil, errCannot
		}
		return c.Encrypt(ctx, dst, plain, p)
	})
}

func (h *cipherHandle) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	return run(ctx, h.handle, Decrypt, func(k Key) ([]byte, error) {
		c, ok := k.(keys.Encrypter)
		if !ok {
			return nil, errCannot
		}
		return c.Decrypt(ctx, dst, blob, p)
	})
}

// macHandle authenticates in the device.
type macHandle struct{ *handle }

func (h *macHandle) HMAC(ctx context.Context, input []byte, hash crypto.Hash) ([]byte, error) {
	return run(ctx, h.handle, MAC, func(k Key) ([]byte, error) {
		m, ok := k.(HMACer)
		if !ok {
			return nil, errCannot
		}
		return m.MAC(ctx, input, hash)
	})
}

// pairHandle signs in the device, and verifies with the public part.
type pairHandle struct {
	*handle
	public keys.Signer
}

func (h *pairHandle) Sign(ctx context.Context, input []byte, p keys.SignParams) ([]byte, error) {
	digest, err := keys.Digest(input, p)
	if err != nil {
		return nil, err
	}
	var o crypto.SignerOpts = p.Hash
	if h.spec.Type.RSA() && !p.PKCS1 {
		o = &rsa.PSSOptions{SaltLength: p.Salt, Hash: p.Hash}
	}
	return run(ctx, h.handle, Sign, func(k Key) ([]byte, error) {
		s, ok := k.(DigestSigner)
		if !ok {
			return nil, errCannot
		}
		return s.SignDigest(ctx, digest, o)
	})
}

func (h *pairHandle) Verify(ctx context.Context, input, signature []byte, p keys.SignParams) (bool, error) {
	if err := h.permit(ctx, Verify); err != nil {
		return false, err
	}
	return h.public.Verify(ctx, input, signature, p)
}

func (h *pairHandle) Public(ctx context.Context, keyContext []byte) (crypto.PublicKey, error) {
	return h.public.Public(ctx, keyContext)
}

// rsaHandle encrypts with the public part, and decrypts in the device.
type rsaHandle struct {
	pairHandle
	encrypter keys.Encrypter
}

func (h *rsaHandle) Encrypt(ctx context.Context, dst, plain []byte, p keys.CipherParams) ([]byte, error) {
	if err := h.permit(ctx, Encrypt); err != nil {
		return nil, err
	}
	return h.encrypter.Encrypt(ctx, dst, plain, p)
}

func (h *rsaHandle) Decrypt(ctx context.Context, dst, blob []byte, p keys.CipherParams) ([]byte, error) {
	hash := crypto.SHA256
	if p.PKCS1 {
		hash = 0
	}
	out, err := run(ctx, h.handle, Decrypt, func(k Key) ([]byte, error) {
		d, ok := k.(BlockDecrypter)
		if !ok {
			return nil, errCannot
		}
		return d.DecryptRSA(ctx, blob, hash)
	})
	if err != nil {
		return nil, err
	}
	defer clear(out)
	return append(dst, out...), nil
}
