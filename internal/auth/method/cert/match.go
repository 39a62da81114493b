package cert

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
)

// trusts returns the chains by which the entry trusts the connection's client certificate, the
// first of the chain; the client sent the others as intermediates.
func (e *entry) trusts(chain []*x509.Certificate, now time.Time) [][]*x509.Certificate {
	known, err := parse(e.Certificate)
	if err != nil {
		return nil
	}
	leaf := chain[0]
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	authorities := false
	for _, c := range known {
		if !c.IsCA {
			if c.Equal(leaf) {
				return [][]*x509.Certificate{withIssuer(leaf, slices.Concat(chain[1:], known))}
			}
			continue
		}
		roots.AddCert(c)
		authorities = true
	}
	if !authorities {
		return nil
	}
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil
	}
	return chains
}

// withIssuer returns a stored leaf, and the certificate that signed it, if it is among the others.
func withIssuer(leaf *x509.Certificate, others []*x509.Certificate) []*x509.Certificate {
	for _, c := range others {
		if !c.Equal(leaf) && leaf.CheckSignatureFrom(c) == nil {
			return []*x509.Certificate{leaf, c}
		}
	}
	return []*x509.Certificate{leaf}
}

// names reports whether the certificate matches all lists of the entry. An empty list matches any.
func (e *entry) names(c *x509.Certificate) bool {
	uris := make([]string, len(c.URIs))
	for i, u := range c.URIs {
		uris[i] = u.String()
	}
	common := []string{c.Subject.CommonName}
	return agree(e.Names, slices.Concat(common, c.DNSNames, c.EmailAddresses)) && agree(e.CommonNames, common) &&
		agree(e.DNS, c.DNSNames) &&
		agree(e.Emails, c.EmailAddresses) && agree(e.URIs, uris) && agree(e.Units, c.Subject.OrganizationalUnit) &&
		e.extended(c)
}

func agree(allowed, have []string) bool {
	return len(allowed) == 0 || slices.ContainsFunc(have, func(name string) bool {
		return slices.ContainsFunc(allowed, func(pattern string) bool { return method.Glob(pattern, name) })
	})
}

// extended reports whether the certificate has all required extensions.
func (e *entry) extended(c *x509.Certificate) bool {
	for _, want := range e.Extensions {
		oid, pattern, _ := strings.Cut(want, ":")
		if v, ok := extension(c, oid); !ok || !method.Glob(pattern, v) {
			return false
		}
	}
	return true
}

// extension returns the value of a text extension.
func extension(c *x509.Certificate, oid string) (string, bool) {
	for _, x := range c.Extensions {
		if x.Id.String() != oid {
			continue
		}
		var v string
		if rest, err := asn1.Unmarshal(x.Value, &v); err == nil && len(rest) == 0 {
			return v, true
		}
	}
	return "", false
}
