package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// bench is a mount of the method, with a clock that the test sets.
type bench struct {
	*testing.T
	backend mount.Backend
	now     time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	store := inmem.New()
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{T: t, now: start}
	backend, err := Factory(method.Options{Now: func() time.Time { return b.now }})(store, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	b.backend = backend
	return b
}

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (i issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// issue makes a certificate; a nil parent means self-signed.
func (b *bench) issue(parent *issued, change func(*x509.Certificate)) issued {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "app.example"},
		NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		b.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	return issued{cert, key}
}

func authority(c *x509.Certificate) {
	c.Subject.CommonName = "authority"
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	c.ExtKeyUsage = nil
}

func (b *bench) write(name string, data map[string]any) error {
	_, err := b.backend.Handle(b.Context(), &mount.Request{Operation: mount.Update, Path: "certs/" + name, Data: data})
	return err
}

func (b *bench) mustWrite(name string, data map[string]any) {
	b.Helper()
	if err := b.write(name, data); err != nil {
		b.Fatal(err)
	}
}

// login presents a chain, and returns the identity, nil where it is refused.
func (b *bench) login(data map[string]any, chain ...issued) *mount.Login {
	b.Helper()
	r := &mount.Request{Operation: mount.Update, Path: "login", Data: data}
	if len(chain) > 0 {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
		for _, c := range chain {
			r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, c.cert)
		}
	}
	resp, err := b.backend.Handle(b.Context(), r)
	if err != nil || resp == nil {
		return nil
	}
	return resp.Login
}

// TestLeafAndAuthority: a stored leaf admits itself alone; a stored CA admits what it signed for
// client authentication while that is valid, over intermediates that the client sends.
func TestLeafAndAuthority(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	leaf, other := b.issue(nil, nil), b.issue(nil, nil)
	b.mustWrite("leaf", map[string]any{"certificate": leaf.pem(), "token_policies": "reader"})
	if l := b.login(nil, leaf); l == nil || len(l.Policies) != 1 || l.Policies[0] != "reader" {
		t.Errorf("the stored leaf: %+v", l)
	}
	if b.login(nil, other) != nil {
		t.Error("another certificate of the same name is admitted")
	}
	if b.login(nil) != nil {
		t.Error("a connection without a certificate is admitted")
	}
	ca := b.issue(nil, authority)
	between := b.issue(&ca, authority)
	b.mustWrite("ca", map[string]any{"certificate": ca.pem()})
	direct, below := b.issue(&ca, nil), b.issue(&between, nil)
	if b.login(nil, direct) == nil || b.login(nil, below, between) == nil {
		t.Error("what the authority signed is refused")
	}
	if b.login(nil, below) != nil {
		t.Error("a chain with a missing intermediate is admitted")
	}
	server := b.issue(&ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	if b.login(nil, server) != nil {
		t.Error("a server's certificate is admitted")
	}
	forged := b.issue(nil, authority)
	if b.login(nil, b.issue(&forged, nil), forged) != nil {
		t.Error("an authority that only the client names is trusted")
	}
	b.now = start.Add(2 * time.Hour)
	if b.login(nil, direct) != nil {
		t.Error("an expired certificate is admitted")
	}
}

// TestConstraints: every list of an entry must match the certificate.
func TestConstraints(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ca := b.issue(nil, authority)
	client := b.issue(&ca, func(c *x509.Certificate) {
		c.DNSNames, c.EmailAddresses = []string{"app.internal"}, []string{"ops@example.org"}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/app"}}
		c.Subject.OrganizationalUnit = []string{"payments"}
	})
	for field, values := range map[string][2]string{
		"allowed_common_names":         {"app.*", "db.*"},
		"allowed_dns_sans":             {"*.internal", "*.external"},
		"allowed_email_sans":           {"*@example.org", "*@example.com"},
		"allowed_uri_sans":             {"spiffe://example.org/*", "spiffe://example.com/*"},
		"allowed_organizational_units": {"payments", "sales"},
		"allowed_names":                {"app.internal", "db.internal"},
	} {
		b.mustWrite("one", map[string]any{"certificate": ca.pem(), field: values[0]})
		if b.login(nil, client) == nil {
			t.Errorf("%s = %q refuses a certificate that matches", field, values[0])
		}
		b.mustWrite("one", map[string]any{"certificate": ca.pem(), field: values[1]})
		if b.login(nil, client) != nil {
			t.Errorf("%s = %q admits a certificate that does not match", field, values[1])
		}
		b.mustWrite("one", map[string]any{"certificate": ca.pem(), field: ""})
	}
	// The name of the entry narrows the choice.
	b.mustWrite("two", map[string]any{"certificate": ca.pem(), "token_policies": "second"})
	if l := b.login(map[string]any{"name": "two"}, client); l == nil || l.Policies[0] != "second" {
		t.Errorf("by name: %+v", l)
	}
	if b.login(map[string]any{"name": "three"}, client) != nil {
		t.Error("an entry that does not exist admits")
	}
}

// TestBadEntries: what is no certificate is refused when it is written, and nothing is stored.
// TestEmptyDisplayName: a display name that is given as empty text is the name of the certificate.
func TestEmptyDisplayName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	leaf := b.issue(nil, nil)
	b.mustWrite("leaf", map[string]any{"certificate": leaf.pem(), "display_name": "mine"})
	if l := b.login(nil, leaf); l == nil || !strings.Contains(l.DisplayName, "mine") {
		t.Errorf("a name of its own: %+v", l)
	}
	b.mustWrite("leaf", map[string]any{"certificate": leaf.pem(), "display_name": ""})
	if l := b.login(nil, leaf); l == nil || !strings.Contains(l.DisplayName, "leaf") {
		t.Errorf("an empty name: %+v", l)
	}
}

func TestBadEntries(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for name, data := range map[string]map[string]any{
		"nothing":       {},
		"no PEM":        {"certificate": "hello"},
		"a private key": {"certificate": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"},
		"broken":        {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
	} {
		if err := b.write("bad", data); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	resp, err := b.backend.Handle(b.Context(), &mount.Request{Operation: mount.Read, Path: "certs/bad"})
	if err != nil || resp != nil {
		t.Errorf("stored all the same: %+v, %v", resp, err)
	}
}
