package cert

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
)

// ocspSettings are the OCSP fields of an entry.
type ocspSettings struct {
	Enabled  bool     `json:"ocsp_enabled,omitempty"`
	CAs      string   `json:"ocsp_ca_certificates,omitempty"`  // PEM; of responders that the issuer did not name
	Servers  []string `json:"ocsp_servers_override,omitempty"` // in place of those that the certificate names
	FailOpen bool     `json:"ocsp_fail_open,omitempty"`        // no answer does not refuse
	QueryAll bool     `json:"ocsp_query_all_servers,omitempty"`
}

func (o *ocspSettings) read(f field.Map) error {
	err := field.First(
		f.Flag("ocsp_enabled", &o.Enabled), f.Text("ocsp_ca_certificates", &o.CAs),
		f.Names("ocsp_servers_override", &o.Servers), f.Flag("ocsp_fail_open", &o.FailOpen),
		f.Flag("ocsp_query_all_servers", &o.QueryAll),
	)
	if err != nil {
		return err
	}
	if o.CAs != "" {
		if _, err := parse(o.CAs); err != nil {
			return method.Invalid("ocsp_ca_certificates: give X.509 certificates in PEM")
		}
	}
	for _, s := range o.Servers {
		if err := checkURL(s); err != nil {
			return method.Invalid("ocsp_servers_override: %v", err)
		}
	}
	return nil
}

func (o *ocspSettings) show(data map[string]any) {
	data["ocsp_enabled"], data["ocsp_ca_certificates"], data["ocsp_fail_open"] = o.Enabled, o.CAs, o.FailOpen
	data["ocsp_servers_override"], data["ocsp_query_all_servers"] = method.NotNil(o.Servers), o.QueryAll
}

// Freshness of answers.
const (
	ocspSkew    = time.Minute
	ocspNoLimit = time.Hour // age of an answer that does not say when the next one comes
	maxServers  = 8
	maxCached   = 1000
)

// askOCSP returns nil if the certificate is good. A stapled answer is used like that of a server;
// one that is not usable is ignored.
func (d *backend) askOCSP(ctx context.Context, o *ocspSettings, c, issuer *x509.Certificate, staple []byte) error {
	if len(staple) > 0 && !o.QueryAll {
		if answer, err := o.verify(staple, c, issuer, d.now()); err == nil && answer.Status != ocsp.Unknown {
			return judgeOCSP(answer)
		}
	}
	key := sha256.Sum256(slices.Concat(issuer.Raw, c.Raw, []byte(o.CAs)))
	if answer := d.cached(key); answer != nil && !o.QueryAll {
		return judgeOCSP(answer)
	}
	servers := o.Servers
	if len(servers) == 0 {
		servers = c.OCSPServer
	}
	request, err := ocsp.CreateRequest(c, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1}) // an identifier: RFC 5019
	if err != nil {
		return err
	}
	last := errors.New("the certificate and its entry name no OCSP server: set ocsp_servers_override")
	good, failed := 0, 0
	for _, at := range servers[:min(len(servers), maxServers)] {
		var answer *ocsp.Response
		if answer, err = d.askServer(ctx, o, at, request, c, issuer); err != nil {
			last = err
			failed++
			continue
		}
		if err := judgeOCSP(answer); err != nil {
			return err
		}
		good++
		if !o.QueryAll {
			d.keep(key, answer)
			return nil
		}
	}
	if good > 0 && failed == 0 || o.FailOpen {
		return nil
	}
	return last
}

func (d *backend) askServer(ctx context.Context, o *ocspSettings, at string, request []byte,
	c, issuer *x509.Certificate) (*ocsp.Response, error) {
	if err := checkURL(at); err != nil {
		return nil, fmt.Errorf("the OCSP server's URL: %w", err)
	}
	raw, err := d.web.post(ctx, at, "application/ocsp-request", request)
	if err != nil {
		return nil, fmt.Errorf("the OCSP server does not answer: %w", err)
	}
	answer, err := o.verify(raw, c, issuer, d.now())
	if err == nil && answer.Status == ocsp.Unknown {
		err = errors.New("the OCSP server does not know the certificate")
	}
	return answer, err
}

func judgeOCSP(answer *ocsp.Response) error {
	if answer.Status != ocsp.Good {
		return errRevoked
	}
	return nil
}

// verify returns an answer about the certificate that is current, and that the issuer signed, or a
// responder that the issuer or one of the entry's OCSP CAs named for this purpose. The library
// leaves the purpose to the caller: without that, every client of the issuer could sign answers.
func (o *ocspSettings) verify(raw []byte, c, issuer *x509.Certificate, now time.Time) (*ocsp.Response, error) {
	answer, err := ocsp.ParseResponseForCert(raw, c, issuer)
	signer := issuer
	if err != nil && o.CAs != "" {
		answer, signer, err = o.verifyByCA(raw, c)
	}
	if err != nil {
		return nil, errors.New("the OCSP answer is not one for this certificate, signed for its issuer")
	}
	if by := answer.Certificate; by != nil && !by.Equal(signer) {
		if !slices.Contains(by.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) || now.Before(by.NotBefore) ||
			now.After(by.NotAfter) || by.CheckSignatureFrom(signer) != nil {
			return nil, errors.New("the OCSP answer is signed by a certificate that is not for signing OCSP answers now")
		}
	}
	if !sameIssuer(raw, c, issuer) {
		return nil, errors.New("the OCSP answer is about a certificate of another issuer")
	}
	end := answer.NextUpdate
	if end.IsZero() {
		end = answer.ThisUpdate.Add(ocspNoLimit)
	}
	if answer.ThisUpdate.After(now.Add(ocspSkew)) || now.After(end.Add(ocspSkew)) {
		return nil, errors.New("the OCSP answer is not current")
	}
	return answer, nil
}

// verifyByCA verifies an answer by the entry's OCSP CAs.
func (o *ocspSettings) verifyByCA(raw []byte, c *x509.Certificate) (*ocsp.Response, *x509.Certificate, error) {
	authorities, err := parse(o.CAs)
	if err != nil {
		return nil, nil, err
	}
	for _, ca := range authorities {
		if answer, err := ocsp.ParseResponseForCert(raw, c, ca); err == nil {
			return answer, ca, nil
		}
	}
	return nil, nil, errors.New("no CA fits")
}

// sameIssuer reports whether the answer names the certificate by its issuer's name and key, and not
// only by its number (RFC 6960, section 4.1.1). The library compares the number alone, which two
// CAs whose answers one responder signs may both have used.
func sameIssuer(raw []byte, c, issuer *x509.Certificate) bool {
	answer, err := ocsp.ParseResponseForCert(raw, c, nil)
	if err != nil {
		return false
	}
	var key struct {
		Algorithm asn1.RawValue
		Bits      asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &key); err != nil {
		return false
	}
	ids, err := certIDs(answer.TBSResponseData)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(ids, func(id certID) bool {
		if id.Serial == nil || id.Serial.Cmp(c.SerialNumber) != 0 {
			return false
		}
		h := id.hash()
		if !h.Available() {
			return false
		}
		sum := func(b []byte) []byte {
			w := h.New()
			w.Write(b)
			return w.Sum(nil)
		}
		return bytes.Equal(sum(issuer.RawSubject), id.NameHash) && bytes.Equal(sum(key.Bits.RightAlign()), id.KeyHash)
	})
}

// cached returns an answer that was verified and is still current.
func (d *backend) cached(key [sha256.Size]byte) *ocsp.Response {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.answers[key]
	if a == nil || d.now().After(a.NextUpdate) || d.now().After(a.ThisUpdate.Add(refreshAfter)) {
		return nil
	}
	return a
}

// keep remembers an answer that says how long it holds, for an hour at most.
func (d *backend) keep(key [sha256.Size]byte, a *ocsp.Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.answers) >= maxCached || d.answers == nil {
		d.answers = map[[sha256.Size]byte]*ocsp.Response{}
	}
	if !a.NextUpdate.IsZero() {
		d.answers[key] = a
	}
}
