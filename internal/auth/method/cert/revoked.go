package cert

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// errRevoked is for the log; the client gets the answer of a certificate that matches nothing.
var errRevoked = errors.New("the certificate is revoked")

// unrevoked returns nil if one of the verified chains has no revoked certificate. A chain is a
// client's certificate, intermediates, and a CA of the entry last; the CA itself is not checked: to
// distrust it, remove it from the entry. A stored leaf is a chain of its own, with the issuer after
// it if the client sent it.
func (d *backend) unrevoked(ctx context.Context, e *entry, chains [][]*x509.Certificate, t *tls.ConnectionState) error {
	lists, err := d.lists(ctx)
	if err != nil {
		return err
	}
	var last error
	for _, chain := range chains {
		if last = d.chainUnrevoked(ctx, e, chain, lists, t); last == nil {
			return nil
		}
	}
	return last
}

func (d *backend) chainUnrevoked(ctx context.Context, e *entry, chain []*x509.Certificate, lists []*revocations,
	t *tls.ConnectionState) error {
	for i, c := range chain {
		var issuer *x509.Certificate
		switch {
		case i+1 < len(chain):
			issuer = chain[i+1]
		case i > 0 || c.IsCA:
			continue
		}
		for _, list := range lists {
			if err := list.judge(c, issuer, d.now()); err != nil {
				return err
			}
		}
	}
	if !e.OCSP.Enabled {
		return nil
	}
	if len(chain) < 2 {
		return errors.New("OCSP needs the issuer of the certificate: let the client send it, or store the CA in the entry")
	}
	return d.askOCSP(ctx, &e.OCSP, chain[0], chain[1], t.OCSPResponse)
}

// judge returns an error if the list revokes the certificate, or is of its issuer and cannot be
// relied on: it has expired, or another key signed it. Without the issuer the names decide.
func (r *revocations) judge(c, issuer *x509.Certificate, now time.Time) error {
	if !bytes.Equal(r.list.RawIssuer, c.RawIssuer) {
		return nil
	}
	if a, b := r.list.AuthorityKeyId, c.AuthorityKeyId; len(a) > 0 && len(b) > 0 && !bytes.Equal(a, b) {
		return nil // of another CA with the same name, or of another key of this one
	}
	switch {
	case r.serials[string(c.SerialNumber.Bytes())]:
		return errRevoked
	case issuer != nil && r.list.CheckSignatureFrom(issuer) != nil:
		return fmt.Errorf("the CRL of %q is not signed by the certificate's issuer: upload the right one, or delete it",
			r.list.Issuer)
	case !r.list.NextUpdate.IsZero() && now.After(r.list.NextUpdate):
		return fmt.Errorf("the CRL of %q has expired: upload a new one, check its URL, or delete it", r.list.Issuer)
	}
	return nil
}
