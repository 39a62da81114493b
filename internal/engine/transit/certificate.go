package transit

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io"
	"slices"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
)

// handleSigner lets package x509 sign with a key's version, wherever that is.
type handleSigner struct {
	ctx    context.Context //nolint:containedctx // lives as long as one call of x509
	signer keys.Signer
	public crypto.PublicKey
}

func (s handleSigner) Public() crypto.PublicKey { return s.public }

func (s handleSigner) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	p := keys.SignParams{Hash: o.HashFunc(), Prehashed: o.HashFunc() != 0, PKCS1: true}
	if pss, ok := o.(*rsa.PSSOptions); ok {
		p.PKCS1, p.Salt = false, pss.SaltLength
	}
	return s.signer.Sign(s.ctx, digest, p)
}

// signingKey finds a key that can have certificates.
func (b *backend) signingKey(ctx context.Context, c *call) (*keys.Key, error) {
	k, err := b.use(ctx, c, 0, fault.New(fault.Invalid, "key with provided name '%s' not found", c.segs[0]))
	switch {
	case err != nil:
		return nil, err
	case !k.Type.Signs():
		return nil, fault.New(fault.Invalid, "key type '%s' does not support signing", k.Type)
	case k.Derived:
		return nil, fault.New(fault.Invalid, "operation not supported on keys with derivation enabled")
	case k.Type == keys.MLDSA:
		return nil, fault.New(fault.Invalid, "certificates for keys of type %s are not supported", k.Type)
	}
	return k, nil
}

// csr signs a certificate request: the given one with the key in the place of its own, or an empty
// one.
func csr(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	k, err := b.signingKey(ctx, c)
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{}
	text, err := c.data.text("csr")
	if err != nil {
		return nil, err
	}
	if text != "" {
		if template, err = readCSR(text); err != nil {
			return nil, err
		}
	}
	n, err := c.data.number("version")
	if err != nil {
		return nil, err
	}
	if n == 0 {
		n = k.Latest
	}
	v, err := k.Version(ctx, n)
	if errors.Is(err, keys.ErrNoVersion) {
		return nil, fault.New(fault.Invalid, "could not create the csr: no such key version")
	}
	if err != nil {
		return nil, err
	}
	signer, err := k.Signer(ctx, v)
	if err != nil {
		return nil, err
	}
	public, err := signer.Public(ctx, nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, handleSigner{ctx, signer, public})
	if err != nil {
		var ours *fault.Error
		if errors.As(err, &ours) {
			return nil, ours
		}
		return nil, fault.Wrap(err, fault.Invalid, "could not create the csr: its contents cannot be signed with this key")
	}
	k.CountUse(n, 1, c.by())
	return &mount.Response{Data: map[string]any{"csr": pemText("CERTIFICATE REQUEST", der), "name": k.Name,
		"type": k.Type.String()}}, nil
}

func readCSR(text string) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fault.New(fault.Invalid, "could not decode PEM CSR")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "could not parse CSR: it is not PKCS #10")
	}
	return &x509.CertificateRequest{
		RawSubject: r.RawSubject, DNSNames: r.DNSNames, EmailAddresses: r.EmailAddresses,
		IPAddresses: r.IPAddresses, URIs: r.URIs,
		ExtraExtensions: slices.DeleteFunc(r.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSAN) }),
	}, nil
}

// oidSAN is of the extension that package x509 writes from the names.
var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// setCertificate stores certificates with a version: the leaf's key must be the version's.
func setCertificate(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	k, err := b.signingKey(ctx, c)
	if err != nil {
		return nil, err
	}
	text, err := c.data.text("certificate_chain")
	if err != nil {
		return nil, err
	}
	chain, err := readChain(text)
	if err != nil {
		return nil, err
	}
	n, err := c.data.number("version")
	if err != nil {
		return nil, err
	}
	_, err = b.keys.Change(ctx, k.Name, func(ctx context.Context, ch *keys.Change) error {
		if n == 0 {
			n = ch.Latest
		}
		v, err := ch.Key().Version(ctx, n)
		if errors.Is(err, keys.ErrNoVersion) {
			return fault.New(fault.Invalid, "failed to persist certificate chain: no such key version")
		}
		if err != nil {
			return err
		}
		if err := checkLeaf(ch.Key(), v, chain[0]); err != nil {
			return err
		}
		ch.Replace(v.With(func(v *keys.Version) {
			v.Chain = nil
			for _, cert := range chain {
				v.Chain = append(v.Chain, cert.Raw)
			}
		}))
		return nil
	})
	return nil, err
}

const maxChain = 20

func readChain(text string) (chain []*x509.Certificate, err error) {
	rest := []byte(text)
	for len(rest) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(chain) == 0 || len(slices.DeleteFunc(slices.Clone(rest), isSpace)) > 0 {
				return nil, fault.New(fault.Invalid, "could not decode a PEM block in the certificate chain")
			}
			break
		}
		if len(chain) == maxChain {
			return nil, fault.New(fault.Invalid, "the certificate chain has more than %d certificates", maxChain)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.New(fault.Invalid, "could not parse a certificate in the certificate chain")
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fault.New(fault.Invalid, "provided certificate chain did not contain any valid PEM encoded certificate")
	}
	return chain, nil
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\r' || b == '\t' }

func checkLeaf(k *keys.Key, v *keys.Version, leaf *x509.Certificate) error {
	if leaf.BasicConstraintsValid && leaf.IsCA {
		return fault.New(fault.Invalid,
			"failed to persist certificate chain: certificate in the first element is not a valid leaf certificate")
	}
	same := map[x509.PublicKeyAlgorithm]bool{x509.RSA: k.Type.RSA(), x509.ECDSA: k.Type.ECDSA(),
		x509.Ed25519: k.Type == keys.Ed25519}
	if !same[leaf.PublicKeyAlgorithm] {
		return fault.New(fault.Invalid, "failed to persist certificate chain: could not validate key match between "+
			"leaf certificate key "+
			"and key entry in transit: provided leaf certificate public key algorithm '%s' does not match the "+
			"transit key type '%s'",
			leaf.PublicKeyAlgorithm, k.Type)
	}
	der, err := x509.MarshalPKIXPublicKey(leaf.PublicKey)
	if err != nil || string(der) != string(v.Material.Public) {
		return keys.Errors("failed to persist certificate chain: leaf certificate public key does not match the " +
			"selected key version")
	}
	return nil
}
