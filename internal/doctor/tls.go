package doctor

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/secret"
)

// expiring is how long before its expiry a certificate gets a warning.
const expiring = 30 * 24 * time.Hour

// tls checks the TLS files of a listener and returns its certificate, nil if it has none.
func (e *exam) tls(l config.Listener) (leaf []byte) {
	if l.TLSDisable {
		return nil
	}
	on := e.on("tls", l.TLSCertFile, l.Pos)
	pair, err := secret.KeyPair(l.TLSCertFile, l.TLSKeyFile)
	if err != nil {
		on.fail("provide the certificate, then those of its issuers, in PEM, and the private key of the first",
			"with %s: %v", l.TLSKeyFile, err)
		return nil
	}
	chain := make([]*x509.Certificate, 0, len(pair.Certificate))
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			on.fail("replace it", "a certificate in it is invalid: %v", err)
			return nil
		}
		chain = append(chain, c)
	}
	before := len(e.report.Findings)
	for _, c := range chain {
		e.validity(on, c)
	}
	e.chain(on, chain)
	e.names(on, chain[0], l)
	weakKey(on, chain[0])
	e.clientCA(l)
	if len(e.report.Findings) == before {
		on.ok("the certificate matches its key; valid until %s", chain[0].NotAfter.UTC().Format(time.DateOnly))
	}
	return pair.Certificate[0]
}

func (e *exam) validity(on topic, c *x509.Certificate) {
	now := e.Now()
	switch {
	case now.After(c.NotAfter):
		on.fail("renew it", "the certificate of %s expired on %s", subject(c), c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		on.fail("check this machine's clock", "the certificate of %s is valid from %s, which is in the future",
			subject(c), c.NotBefore.UTC().Format(time.RFC3339))
	case c.NotAfter.Sub(now) < expiring:
		on.warn("renew it", "the certificate of %s expires on %s", subject(c), c.NotAfter.UTC().Format(time.RFC3339))
	}
}

func subject(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return "serial number " + c.SerialNumber.String()
}

// chain checks that the certificates in the file form a chain, and whether this machine trusts the
// last issuer.
func (e *exam) chain(on topic, chain []*x509.Certificate) {
	for i := range len(chain) - 1 {
		if err := chain[i].CheckSignatureFrom(chain[i+1]); err != nil {
			on.fail("put the certificate first, then its issuer, then the issuer's issuer, up to one that clients trust",
				"%s was not issued by %s, which follows it in the file", subject(chain[i]), subject(chain[i+1]))
			return
		}
	}
	last := chain[len(chain)-1]
	selfIssued := string(last.RawIssuer) == string(last.RawSubject)
	if len(chain) == 1 && !selfIssued {
		_, err := last.Verify(x509.VerifyOptions{CurrentTime: e.Now(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			on.ok("issued by %q, which this machine does not trust: clients need that certificate (SEALGATE_CACERT)",
				last.Issuer.CommonName)
		}
	}
}

// names compares the names in the certificate with the server's addresses.
func (e *exam) names(on topic, c *x509.Certificate, l config.Listener) {
	if len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs)+len(c.EmailAddresses) == 0 {
		on.fail("issue it with its names and addresses as subject alternative names", "it has no subject alternative name: "+
			"clients ignore the common name")
		return
	}
	if u, err := url.Parse(e.cfg.APIAddr); err == nil && u.Hostname() != "" && u.Scheme == "https" {
		if err := c.VerifyHostname(u.Hostname()); err != nil {
			on.warn("issue it for that name too, or correct api_addr", "it is not valid for %s, the host of api_addr",
				u.Hostname())
		}
	}
	if host, _, err := net.SplitHostPort(l.Address); err == nil && e.cfg.APIAddr == "" {
		if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() && !ip.IsLoopback() && c.VerifyHostname(host) != nil {
			on.warn("issue it for that address too, or set api_addr to one of its names",
				"it is not valid for %s, the listener's address", host)
		}
	}
}

func weakKey(on topic, c *x509.Certificate) {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			on.fail("issue it with RSA-2048 or more, or P-256", "its RSA key has %d bits", k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			on.fail("issue it with P-256", "its key is on a curve of %d bits", k.Curve.Params().BitSize)
		}
	}
}

// clientCA checks the CA certificates for client certificates.
func (e *exam) clientCA(l config.Listener) {
	if l.TLSClientCAFile == "" {
		return
	}
	on := e.on("tls", l.TLSClientCAFile, l.Pos)
	raw, err := os.ReadFile(l.TLSClientCAFile)
	if err != nil {
		on.fail("correct tls_client_ca_file", "it cannot be read: %v", err)
		return
	}
	n := 0
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			on.fail("remove or replace it", "a certificate in it is invalid: %v", err)
			return
		}
		n++
		e.validity(on, c)
	}
	if n == 0 {
		on.fail("add the CA certificates in PEM", "it has no certificate")
	}
}
