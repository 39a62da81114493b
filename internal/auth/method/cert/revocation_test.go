package cert

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
)

// crlAuthority is a CA that may sign revocation lists, too.
func crlAuthority(c *x509.Certificate) {
	authority(c)
	c.KeyUsage |= x509.KeyUsageCRLSign
	c.NotAfter = start.Add(100 * time.Hour)
}

// crl makes a list of a CA, with some serial numbers.
func (b *bench) crl(ca issued, number int64, change func(*x509.RevocationList), revoked ...issued) string {
	b.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: b.now, NextUpdate: b.now.Add(time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.cert.SerialNumber, RevocationTime: b.now})
	}
	if change != nil {
		change(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.cert, ca.key)
	if err != nil {
		b.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func (b *bench) do(op mount.Operation, path string, data map[string]any) (*mount.Response, error) {
	return b.backend.Handle(b.Context(), &mount.Request{Operation: op, Path: path, Data: data})
}

func (b *bench) mustDo(op mount.Operation, path string, data map[string]any) *mount.Response {
	b.Helper()
	a, err := b.do(op, path, data)
	if err != nil {
		b.Fatalf("%s: %v", path, err)
	}
	return a
}

// refusal is the cause of a refused login, "" if it is admitted.
func (b *bench) refusal(staple []byte, chain ...issued) string {
	b.Helper()
	r := &mount.Request{Operation: mount.Update, Path: "login", TLS: &tls.ConnectionState{OCSPResponse: staple}}
	for _, c := range chain {
		r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, c.cert)
	}
	a, err := b.backend.Handle(b.Context(), r)
	if err == nil {
		if a == nil || a.Login == nil {
			b.Fatal("neither a login nor an error")
		}
		return ""
	}
	if err.Error() != noMatch {
		b.Errorf("the client gets %q", err)
	}
	text := err.Error()
	var f *fault.Error
	for e := err; e != nil; {
		f, _ = e.(*fault.Error)
		if f == nil || f.Cause == nil {
			break
		}
		e = f.Cause
		text = e.Error()
	}
	return text
}

func (b *bench) refusedFor(want string, staple []byte, chain ...issued) {
	b.Helper()
	if got := b.refusal(staple, chain...); !strings.Contains(got, want) || (want == "") != (got == "") {
		b.Errorf("refused for %q, want %q", got, want)
	}
}

func TestUploadedCRL(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ca, other := b.issue(nil, crlAuthority), b.issue(nil, func(c *x509.Certificate) {
		crlAuthority(c)
		c.Subject.CommonName = "other"
	})
	between := b.issue(&ca, func(c *x509.Certificate) {
		crlAuthority(c)
		c.Subject.CommonName = "between"
	})
	leaf, below := b.issue(&ca, nil), b.issue(&between, nil)
	twin := b.issue(&other, func(c *x509.Certificate) { c.SerialNumber = leaf.cert.SerialNumber })
	b.mustWrite("ca", map[string]any{"certificate": ca.pem() + other.pem()})
	b.mustDo(mount.Update, "crls/Main", map[string]any{"crl": b.crl(ca, 1, nil)})
	b.refusedFor("", nil, leaf)
	b.mustDo(mount.Update, "crls/main", map[string]any{"crl": b.crl(ca, 2, nil, leaf)})
	b.refusedFor("is revoked", nil, leaf)
	b.refusedFor("", nil, twin) // the same number of another CA
	b.refusedFor("", nil, below, between)
	data := b.mustDo(mount.Read, "crls/MAIN", nil).Data.(map[string]any)
	if data["serials"].(map[string]any)[leaf.cert.SerialNumber.String()] == nil {
		t.Errorf("%v", data)
	}
	b.mustDo(mount.Update, "crls/main", map[string]any{"crl": b.crl(ca, 3, nil, between)})
	b.refusedFor("is revoked", nil, below, between)
	b.refusedFor("", nil, leaf)
	b.mustDo(mount.Update, "crls/between", map[string]any{"crl": b.crl(between, 1, nil, below)})
	b.mustDo(mount.Delete, "crls/main", nil)
	b.refusedFor("is revoked", nil, below, between)
	b.mustDo(mount.Delete, "crls/between", nil)
	b.refusedFor("", nil, below, between)
	if _, err := b.do(mount.Delete, "crls/between", nil); err == nil || err.Error() != "no such CRL between" {
		t.Errorf("deleting twice: %v", err)
	}
	// A stored leaf is checked, too.
	b.mustDo(mount.Delete, "certs/ca", nil)
	b.mustWrite("leaf", map[string]any{"certificate": leaf.pem()})
	b.mustDo(mount.Update, "crls/main", map[string]any{"crl": b.crl(ca, 4, nil, leaf)})
	b.refusedFor("is revoked", nil, leaf)
}

// TestCRLFailsClosed: a list that cannot be relied on refuses, and one that is incomplete is not
// taken.
func TestCRLFailsClosed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ca, forger := b.issue(nil, crlAuthority), b.issue(nil, crlAuthority)
	leaf := b.issue(&ca, func(c *x509.Certificate) { c.NotAfter = start.Add(5 * time.Hour) })
	b.mustWrite("ca", map[string]any{"certificate": ca.pem()})
	b.mustDo(mount.Update, "crls/a", map[string]any{"crl": b.crl(ca, 1, nil)})
	b.now = start.Add(2 * time.Hour)
	b.refusedFor("has expired", nil, leaf)
	b.now = start
	forger.cert.SubjectKeyId = ca.cert.SubjectKeyId // so that only the signature tells
	b.mustDo(mount.Update, "crls/a", map[string]any{"crl": b.crl(forger, 1, nil)})
	b.refusedFor("not signed by", nil, leaf)
	for what, data := range map[string]map[string]any{
		"must be provided":     {},
		"empty CRL url":        {"url": ""},
		"invalid CRL url":      {"url": "file:///etc/passwd"},
		"failed to parse CRL":  {"crl": "x"},
		"critical extension":   {"crl": b.crl(ca, 2, func(l *x509.RevocationList) { l.ExtraExtensions = delta() })},
		"begin with http":      {"url": "http://user:pw@127.0.0.1/"},
		"could not be fetched": {"url": "http://169.254.169.254/latest/meta-data"},
	} {
		if _, err := b.do(mount.Update, "crls/b", data); err == nil || !strings.Contains(err.Error(), what) ||
			strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// delta marks a list as one of changes (RFC 5280, section 5.2.4).
func delta() []pkix.Extension {
	return []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}}
}

// TestFetchedCRL: a list is fetched again in time, and only the same issuer's next list replaces
// it.
func TestFetchedCRL(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ca, other := b.issue(nil, crlAuthority), b.issue(nil, func(c *x509.Certificate) {
		crlAuthority(c)
		c.Subject.CommonName = "other"
	})
	leaf := b.issue(&ca, func(c *x509.Certificate) { c.NotAfter = start.Add(50 * time.Hour) })
	var mu sync.Mutex
	body, code := b.crl(ca, 5, nil), 200
	set := func(to string, status int) {
		mu.Lock()
		defer mu.Unlock()
		body, code = to, status
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if code == http.StatusFound {
			w.Header().Set("Location", "http://169.254.169.254/")
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}))
	defer srv.Close()
	b.mustWrite("ca", map[string]any{"certificate": ca.pem()})
	b.mustDo(mount.Update, "crls/web", map[string]any{"url": srv.URL})
	tick := func(want string) {
		t.Helper()
		err := b.backend.(mount.Ticker).Tick(b.Context())
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	b.refusedFor("", nil, leaf)
	set("", 500)
	tick("") // not due yet
	b.now = b.now.Add(31 * time.Minute)
	tick("cannot be fetched again")
	b.refusedFor("", nil, leaf) // the kept list is still current
	set("", http.StatusFound)
	tick("cannot be fetched again")
	set("garbage", 200)
	tick("is not a CRL")
	set(b.crl(other, 9, nil), 200)
	tick("another issuer")
	set(b.crl(ca, 4, nil), 200)
	tick("older list")
	b.now = b.now.Add(31 * time.Minute)
	b.refusedFor("has expired", nil, leaf)
	set(b.crl(ca, 6, nil, leaf), 200)
	tick("")
	b.refusedFor("is revoked", nil, leaf)
}

// responder answers OCSP requests as the test says.
type responder struct {
	*httptest.Server
	mu     sync.Mutex
	asked  int
	status int // of HTTP; 0: 200
	answer func(*ocsp.Request) []byte
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		raw, _ := io.ReadAll(q.Body)
		request, err := ocsp.ParseRequest(raw)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.asked++
		if err != nil || q.Header.Get("Content-Type") != "application/ocsp-request" || r.status != 0 {
			w.WriteHeader(max(r.status, 400))
			return
		}
		_, _ = w.Write(r.answer(request))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *responder) set(answer func(*ocsp.Request) []byte, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer, r.status = answer, status
}

// sign makes an answer about a certificate; a nil change says that it is good.
func (b *bench) sign(issuer, signer issued, c issued, change func(*ocsp.Response)) []byte {
	b.Helper()
	a := ocsp.Response{Status: ocsp.Good, SerialNumber: c.cert.SerialNumber, ThisUpdate: b.now,
		NextUpdate: b.now.Add(time.Hour), IssuerHash: crypto.SHA256}
	if signer.cert != issuer.cert {
		a.Certificate = signer.cert
	}
	if change != nil {
		change(&a)
	}
	raw, err := ocsp.CreateResponse(issuer.cert, signer.cert, a, signer.key)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

func TestOCSP(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ca, other := b.issue(nil, crlAuthority), b.issue(nil, crlAuthority)
	srv, second := newResponder(t), newResponder(t)
	leaf := b.issue(&ca, func(c *x509.Certificate) {
		c.OCSPServer, c.NotAfter = []string{srv.URL}, start.Add(5*time.Hour)
	})
	neighbour := b.issue(&ca, nil)
	delegate := func(parent issued, change func(*x509.Certificate)) issued {
		return b.issue(&parent, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
			if change != nil {
				change(c)
			}
		})
	}
	revoked := func(a *ocsp.Response) { a.Status, a.RevokedAt = ocsp.Revoked, b.now }
	signed := func(issuer, signer, about issued, change func(*ocsp.Response)) func(*ocsp.Request) []byte {
		raw := b.sign(issuer, signer, about, change)
		return func(*ocsp.Request) []byte { return raw }
	}
	expired := delegate(ca, func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Minute) })
	for what, tc := range map[string]struct {
		answer func(*ocsp.Request) []byte
		status int
		want   string
	}{
		"good":          {signed(ca, ca, leaf, nil), 0, ""},
		"by a delegate": {signed(ca, delegate(ca, nil), leaf, nil), 0, ""},
		"revoked":       {signed(ca, ca, leaf, revoked), 0, "is revoked"},
		"unknown": {signed(ca, ca, leaf, func(a *ocsp.Response) { a.Status = ocsp.Unknown }), 0,
			"does not know"},
		"status 500":                {nil, 500, "status 500"},
		"garbage":                   {func(*ocsp.Request) []byte { return []byte("x") }, 0, "is not one for"},
		"of another certificate":    {signed(ca, ca, neighbour, nil), 0, "is not one for"},
		"by a client of the CA":     {signed(ca, neighbour, leaf, nil), 0, "not for signing OCSP"},
		"by the certificate itself": {signed(ca, leaf, leaf, nil), 0, "not for signing OCSP"},
		"by an expired delegate":    {signed(ca, expired, leaf, nil), 0, "not for signing OCSP"},
		"by a foreign delegate":     {signed(ca, delegate(other, nil), leaf, nil), 0, "is not one for"},
		"by another CA":             {signed(other, other, leaf, nil), 0, "is not one for"},
		"about another issuer":      {signed(other, delegate(ca, nil), leaf, nil), 0, "of another issuer"},
		"old": {signed(ca, ca, leaf, func(a *ocsp.Response) { a.NextUpdate = b.now.Add(-time.Hour) }), 0,
			"not current"},
		"of the future": {signed(ca, ca, leaf, func(a *ocsp.Response) { a.ThisUpdate = b.now.Add(time.Hour) }), 0,
			"not current"},
		"old without an end": {signed(ca, ca, leaf, func(a *ocsp.Response) {
			a.ThisUpdate, a.NextUpdate = b.now.Add(-2*time.Hour), time.Time{}
		}), 0, "not current"},
	} {
		b.mustWrite("ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true})
		srv.set(tc.answer, tc.status)
		b.backend.(*backend).answers = nil
		if got := b.refusal(nil, leaf); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
			t.Errorf("%s: refused for %q, want %q", what, got, tc.want)
		}
	}
	b.backend.(*backend).answers = nil
	b.refusedFor("name no OCSP server", nil, neighbour)
	b.ocspSwitches(ca, leaf, neighbour, srv, second)
}

// ocspSwitches tests the fields of an entry, the cache and stapled answers.
func (b *bench) ocspSwitches(ca, leaf, neighbour issued, srv, second *responder) {
	b.Helper()
	answer := func(change func(*ocsp.Response)) func(*ocsp.Request) []byte {
		raw := b.sign(ca, ca, leaf, change)
		return func(*ocsp.Request) []byte { return raw }
	}
	revoked := func(a *ocsp.Response) { a.Status, a.RevokedAt = ocsp.Revoked, b.now }
	entry := func(more ...any) {
		b.Helper()
		data := map[string]any{"certificate": ca.pem(), "ocsp_enabled": true, "ocsp_fail_open": false,
			"ocsp_query_all_servers": false, "ocsp_servers_override": ""}
		for i := 0; i < len(more); i += 2 {
			data[more[i].(string)] = more[i+1]
		}
		b.mustWrite("ca", data)
		b.backend.(*backend).answers = nil
	}
	both := srv.URL + "," + second.URL
	srv.set(nil, 500)
	entry("ocsp_fail_open", true)
	b.refusedFor("", nil, leaf)
	srv.set(answer(revoked), 0)
	b.refusedFor("is revoked", nil, leaf) // an answer counts, whatever fails open
	srv.set(nil, 500)
	second.set(answer(nil), 0)
	entry("ocsp_servers_override", both)
	b.refusedFor("", nil, leaf)
	entry("ocsp_servers_override", both, "ocsp_query_all_servers", true)
	b.refusedFor("status 500", nil, leaf)
	srv.set(answer(nil), 0)
	b.refusedFor("", nil, leaf)
	second.set(answer(revoked), 0)
	b.refusedFor("is revoked", nil, leaf)

	entry()
	b.refusedFor("", nil, leaf)
	asked := srv.asked
	b.refusedFor("", nil, leaf)
	if srv.asked != asked {
		b.Error("a current answer is not kept")
	}
	b.now = b.now.Add(61 * time.Minute) // the kept answer is no longer current
	srv.set(nil, 500)
	b.refusedFor("status 500", nil, leaf)
	b.now = start
	entry()
	b.refusedFor("status 500", nil, leaf)
	b.refusedFor("", b.sign(ca, ca, leaf, nil), leaf)
	b.refusedFor("is revoked", b.sign(ca, ca, leaf, revoked), leaf)
	b.refusedFor("status 500", []byte("garbage"), leaf)
	b.refusedFor("status 500", b.sign(ca, neighbour, leaf, nil), leaf) // signed by another client
	b.refusedFor("status 500", b.sign(ca, ca, neighbour, nil), leaf)   // about another certificate

	// A stored leaf needs its issuer.
	b.mustDo(mount.Delete, "certs/ca", nil)
	b.mustWrite("leaf", map[string]any{"certificate": leaf.pem(), "ocsp_enabled": true})
	srv.set(answer(nil), 0)
	b.refusedFor("needs the issuer", nil, leaf)
	b.refusedFor("", nil, leaf, ca)
}

// TestOCSPAuthority: a responder outside the issuer counts if the entry names its CA.
func TestOCSPAuthority(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ca, elsewhere := b.issue(nil, crlAuthority), b.issue(nil, crlAuthority)
	srv := newResponder(t)
	leaf := b.issue(&ca, func(c *x509.Certificate) { c.OCSPServer = []string{srv.URL} })
	by := b.issue(&elsewhere, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
	})
	raw := b.sign(ca, by, leaf, nil)
	srv.set(func(*ocsp.Request) []byte { return raw }, 0)
	b.mustWrite("ca", map[string]any{"certificate": ca.pem(), "ocsp_enabled": true})
	b.refusedFor("is not one for", nil, leaf)
	b.mustWrite("ca", map[string]any{"certificate": ca.pem(), "ocsp_ca_certificates": elsewhere.pem()})
	b.refusedFor("", nil, leaf)
	for _, bad := range []map[string]any{{"ocsp_ca_certificates": "x"}, {"ocsp_servers_override": "ldap://x"}} {
		bad["certificate"] = ca.pem()
		if err := b.write("ca", bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

func TestFetchable(t *testing.T) {
	t.Parallel()
	w := newWeb()
	for _, at := range []string{"http://169.254.169.254/", "http://[fe80::1]/", "http://0.0.0.0:1/", "http://[::]:1/",
		"http://[::ffff:169.254.169.254]/", "http://224.0.0.1/"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := w.get(ctx, at)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "not one to fetch from") {
			t.Errorf("%s: %v", at, err)
		}
	}
}
