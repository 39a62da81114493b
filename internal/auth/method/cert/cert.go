// Package cert is the auth method for TLS client certificates.
//
// It guarantees that only the certificate of the connection itself is used, whose private key the
// client proved to have during the handshake. It is compared with the stored certificates: one that
// is not a CA must be identical; a CA must have signed it, over intermediates that the client sent,
// for client authentication, and be valid now. All lists of the matching entry must match the
// certificate's names.
//
// Revocation is checked by lists (crls/, uploaded or fetched again from a URL) and, for entries
// with ocsp_enabled, by OCSP for the client's certificate, stapled or asked for. Both refuse in
// doubt: a list that has expired or that another key signed refuses the certificates of its issuer,
// and so does an OCSP server that does not answer, unless the entry has ocsp_fail_open.
//
// It does not bind tokens to certificates: disable_binding is kept and returned, and changes
// nothing. Tokens of a certificate that is revoked later live on; revoke them by prefix. Behind a
// proxy that terminates TLS there is a certificate only if the listener takes it from the proxy,
// and no stapled answer.
//
// Stays compatible: the records at "config" and below "cert/" and "crls/".
package cert

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

const certPrefix = "cert/"

// entry is a record: see [method.Marshal].
type entry struct {
	Certificate string       `json:"certificate"` // PEM; one or more
	DisplayName string       `json:"display_name,omitempty"`
	Names       []string     `json:"allowed_names,omitempty"` // of any kind of name
	CommonNames []string     `json:"allowed_common_names,omitempty"`
	DNS         []string     `json:"allowed_dns_sans,omitempty"`
	Emails      []string     `json:"allowed_email_sans,omitempty"`
	URIs        []string     `json:"allowed_uri_sans,omitempty"`
	Units       []string     `json:"allowed_organizational_units,omitempty"`
	Extensions  []string     `json:"required_extensions,omitempty"`         // "1.2.3.4:value"
	Metadata    []string     `json:"allowed_metadata_extensions,omitempty"` // "1.2.3.4"
	OCSP        ocspSettings `json:"ocsp,omitzero"`
	method.TokenParams
}

// lists returns the fields that are lists of texts.
func (e *entry) lists() map[string]*[]string {
	return map[string]*[]string{
		"allowed_names": &e.Names, "allowed_common_names": &e.CommonNames, "allowed_dns_sans": &e.DNS,
		"allowed_email_sans": &e.Emails,
		"allowed_uri_sans":   &e.URIs, "allowed_organizational_units": &e.Units, "required_extensions": &e.Extensions,
		"allowed_metadata_extensions": &e.Metadata,
	}
}

// New is the [mount.Factory] of the type "cert".
func New(store mount.Storage, m mount.Entry) (mount.Backend, error) {
	return Factory(method.Options{})(store, m)
}

// Factory returns the [mount.Factory] of the type "cert" with a given clock.
func Factory(o method.Options) mount.Factory {
	o = o.WithDefaults()
	return func(store mount.Storage, _ mount.Entry) (mount.Backend, error) {
		return &backend{store: store, now: o.Now, web: newWeb()}, nil
	}
}

type backend struct {
	store   mount.Storage
	now     func() time.Time
	web     *web
	writing sync.Mutex

	mu      sync.Mutex
	parsed  map[string]*revocations // by name; compared with the stored bytes at each use
	answers map[[sha256.Size]byte]*ocsp.Response
}

// Open implements [mount.UnauthenticatedPaths].
func (d *backend) Open(_ mount.Operation, path string) bool { return path == "login" }

// FoldedName implements [mount.NameFolder].
func (d *backend) FoldedName(path string) (start, end int) {
	return method.NameAfter(path, "certs/", "crls/")
}

// Exists implements [mount.ExistenceChecker].
func (d *backend) Exists(ctx context.Context, path string) (bool, error) {
	if exists, known, err := method.Exists[crl](ctx, d.store, path, "crls/", crlPrefix); known {
		return exists, err
	}
	exists, known, err := method.Exists[entry](ctx, d.store, path, "certs/", certPrefix)
	return exists || !known, err
}

// Handle implements [mount.Backend].
func (d *backend) Handle(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	first, rest, _ := strings.Cut(strings.TrimSuffix(r.Path, "/"), "/")
	switch {
	case r.Path == "login":
		if !method.IsWrite(r.Operation) {
			return nil, method.ErrUnsupported
		}
		return d.login(ctx, r)
	case first == "certs" && rest == "":
		if r.Operation != mount.List {
			return nil, method.ErrUnsupported
		}
		return method.Keys(ctx, d.store, certPrefix)
	case first == "certs":
		return d.entry(ctx, r, rest)
	case r.Path == "config":
		return d.config(ctx, r)
	case first == "crls" && rest == "":
		if r.Operation != mount.List {
			return nil, method.ErrUnsupported
		}
		return method.Keys(ctx, d.store, crlPrefix)
	case first == "crls":
		return d.crl(ctx, r, rest)
	}
	return nil, method.ErrNoPath
}

// entries are the records of trusted certificates.
var entries = method.Record[entry]{
	What: "certificate name", Prefix: certPrefix, New: func(name string) *entry { return &entry{DisplayName: name} },
	Show: (*entry).show, Read: (*entry).read,
}

func (d *backend) entry(ctx context.Context, r *mount.Request, name string) (*mount.Response, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if r.Data["display_name"] == "" { // as hvac sends it; Vault takes the certificate's name then
		named := *r
		named.Data = maps.Clone(r.Data)
		named.Data["display_name"] = name
		r = &named
	}
	return entries.Handle(ctx, d.store, r, name)
}

func (e *entry) show() map[string]any {
	data := map[string]any{"certificate": e.Certificate, "display_name": e.DisplayName}
	for name, list := range e.lists() {
		data[name] = method.NotNil(*list)
	}
	e.OCSP.show(data)
	return e.Show(data)
}

func (e *entry) read(f field.Map) error {
	if err := field.First(f.Text("certificate", &e.Certificate), f.Text("display_name", &e.DisplayName),
		e.Read(f), e.OCSP.read(f)); err != nil {
		return err
	}
	for name, list := range e.lists() {
		if err := f.Limits(name, list); err != nil {
			return err
		}
	}
	certs, err := parse(e.Certificate)
	if err != nil {
		return err
	}
	for _, c := range certs {
		if !c.IsCA && len(c.ExtKeyUsage) > 0 && !slices.ContainsFunc(c.ExtKeyUsage, func(u x509.ExtKeyUsage) bool {
			return u == x509.ExtKeyUsageClientAuth || u == x509.ExtKeyUsageAny
		}) {
			return method.Invalid("the certificate is not for client authentication, so no login with it could succeed; use " +
				"one with that extended key usage")
		}
	}
	for _, x := range e.Extensions {
		if oid, _, ok := strings.Cut(x, ":"); !ok || oid == "" {
			return method.Invalid(`required_extensions: use an object identifier, a colon and a value, such as "1.2.3.4:ops*"`)
		}
	}
	return nil
}

// parse parses PEM certificates.
func parse(text string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := []byte(strings.TrimSpace(text)); len(rest) > 0; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errPEM
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errPEM
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errPEM
	}
	return out, nil
}

var errPEM = method.Invalid("failed to parse certificate: give one or more X.509 certificates in PEM")

var (
	errNone    = method.Invalid("client certificate must be supplied: connect with one")
	errNoMatch = method.Invalid("%s", noMatch)
)

const noMatch = "invalid certificate or no client certificate supplied"

// login finds the first entry, in order of names, that matches the connection's certificate.
func (d *backend) login(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, errNone
	}
	var only string
	if err := field.Map(r.Data).Text("name", &only); err != nil {
		return nil, err
	}
	names := []string{strings.ToLower(only)}
	if only == "" {
		var err error
		if names, err = d.store.List(ctx, certPrefix, "", 0); err != nil {
			return nil, err
		}
	}
	chain := r.TLS.PeerCertificates
	var revoked error
	for _, name := range names {
		e, err := method.Load[entry](ctx, d.store, certPrefix+name)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		chains := e.trusts(chain, d.now())
		if len(chains) == 0 || !e.names(chain[0]) {
			continue
		}
		if revoked = d.unrevoked(ctx, e, chains, r.TLS); revoked != nil {
			continue
		}
		if !method.Within(e.BoundCIDRs, r.Remote) {
			return nil, method.ErrOutside
		}
		return e.Login(e.DisplayName, e.meta(name, chain[0])), nil
	}
	if revoked != nil {
		return nil, fault.Wrap(revoked, fault.Invalid, noMatch)
	}
	return nil, errNoMatch
}

// meta returns the token's metadata about the certificate.
func (e *entry) meta(name string, c *x509.Certificate) map[string]string {
	meta := map[string]string{
		"cert_name": name, "common_name": c.Subject.CommonName, "serial_number": c.SerialNumber.String(),
		"subject_key_id": colons(c.SubjectKeyId), "authority_key_id": colons(c.AuthorityKeyId),
	}
	for _, oid := range e.Metadata {
		if v, ok := extension(c, oid); ok {
			meta[strings.ReplaceAll(oid, ".", "-")] = v
		}
	}
	return meta
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(parts, ":")
}
