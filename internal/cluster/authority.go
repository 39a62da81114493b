package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"
)

// Lifetimes of certificates. A node renews its own long before it ends. An authority is replaced
// with the leadership, long before ten years.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 24 * time.Hour
	leafRenew     = 12 * time.Hour // remaining lifetime at which a certificate is renewed
	clockSkew     = 24 * time.Hour // between the clocks of nodes
)

// domain is the suffix of the names in certificates. They are never resolved.
const domain = ".node.sealgate.internal"

// ErrAuthority is returned for bytes that do not encode an authority.
var ErrAuthority = errors.New("cluster: not a certificate authority")

// Authority issues the certificates of one leadership: ECDSA on P-256.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	now  func() time.Time
}

// NewAuthority makes an authority. A nil now means time.Now.
func NewAuthority(now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cluster: making a key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	at := now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Sealgate cluster"},
		NotBefore: at.Add(-clockSkew), NotAfter: at.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cluster: making a certificate authority: %w", err)
	}
	return newAuthority(der, key, now)
}

func newAuthority(der []byte, key *ecdsa.PrivateKey, now func() time.Time) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuthority, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) || !cert.IsCA {
		return nil, fmt.Errorf("%w: the key is not the certificate's", ErrAuthority)
	}
	a := &Authority{cert: cert, key: key, pool: x509.NewCertPool(), now: now}
	a.pool.AddCert(cert)
	return a, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

// Marshal returns the certificate and the key (PKCS #8), both in DER. The key is a secret.
func (a *Authority) Marshal() (cert, key []byte, err error) {
	key, err = x509.MarshalPKCS8PrivateKey(a.key)
	return a.cert.Raw, key, err
}

// maxDER bounds what is parsed.
const maxDER = 4096

// ParseAuthority is the inverse of [Authority.Marshal].
func ParseAuthority(cert, key []byte, now func() time.Time) (*Authority, error) {
	if len(cert) > maxDER || len(key) > maxDER {
		return nil, ErrAuthority
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, ErrAuthority // the cause could contain bytes of the key
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || k.Curve != elliptic.P256() {
		return nil, ErrAuthority
	}
	if now == nil {
		now = time.Now
	}
	return newAuthority(cert, k, now)
}

// issue makes a certificate for a node.
func (a *Authority) issue(id string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	at := a.now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id}, DNSNames: []string{id + domain},
		NotBefore: at.Add(-clockSkew), NotAfter: at.Add(leafLife), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("cluster: issuing a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// Identity is a node under one leadership: its certificate, and the authority that it trusts.
type Identity struct {
	authority *Authority
	id        string

	mu   sync.Mutex
	leaf *tls.Certificate
}

// Identity returns the identity of the node with an id of letters, digits and dashes.
func (a *Authority) Identity(id string) *Identity { return &Identity{authority: a, id: id} }

// certificate returns the node's certificate, and renews it in time.
func (i *Identity) certificate() (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.leaf != nil && i.authority.now().Add(leafRenew).Before(i.leaf.Leaf.NotAfter) {
		return i.leaf, nil
	}
	leaf, err := i.authority.issue(i.id)
	if err != nil {
		return nil, err
	}
	i.leaf = leaf
	return leaf, nil
}

// base is the configuration of both sides.
func (i *Identity) base() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, SessionTicketsDisabled: true, Time: i.authority.now,
	}
}

// server is the configuration of the side that answers.
func (i *Identity) server() *tls.Config {
	c := i.base()
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, i.authority.pool
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.certificate() }
	return c
}

// client is the configuration of the side that asks. It accepts only the node with the id peer.
func (i *Identity) client(peer string) *tls.Config {
	c := i.base()
	c.RootCAs, c.ServerName = i.authority.pool, peer+domain
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return i.certificate() }
	return c
}
