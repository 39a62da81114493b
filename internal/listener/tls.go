package listener

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/secret"
)

// reloadable is a TLS configuration whose files can be read again while connections are accepted.
type reloadable struct {
	from config.Listener
	now  atomic.Pointer[tls.Config]
}

func newReloadable(c config.Listener) (*reloadable, error) {
	r := &reloadable{from: c}
	return r, r.reload()
}

// config returns the configuration of a server: each connection uses what is in force.
func (r *reloadable) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.now.Load(), nil },
	}
}

func (r *reloadable) reload() error {
	next, err := loadTLS(r.from)
	if err != nil {
		return err
	}
	r.now.Store(next)
	return nil
}

func loadTLS(c config.Listener) (*tls.Config, error) {
	if c.TLSCertFile == "" || c.TLSKeyFile == "" {
		return nil,
			errors.New("tls_cert_file and tls_key_file are missing: give both, or switch TLS off with tls_disable = true")
	}
	pair, err := secret.KeyPair(c.TLSCertFile, c.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls_cert_file %s with tls_key_file %s: %w", c.TLSCertFile, c.TLSKeyFile, err)
	}
	t := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   cmp.Or(c.TLSMinVersion, tls.VersionTLS12),
		MaxVersion:   cmp.Or(c.TLSMaxVersion, tls.VersionTLS13),
		CipherSuites: c.TLSCipherSuites,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if t.MinVersion > t.MaxVersion {
		return nil, errors.New("tls_min_version is above tls_max_version")
	}
	return t, clientCerts(t, c)
}

// clientCerts sets what is asked of clients. Without a CA their certificates are requested and not
// verified: auth methods verify them, and clients may present self-signed or expired ones.
func clientCerts(t *tls.Config, c config.Listener) error {
	switch {
	case c.TLSDisableClient && c.TLSRequireClient:
		return errors.New("tls_disable_client_certs and tls_require_and_verify_client_cert contradict each other")
	case c.TLSRequireClient && c.TLSClientCAFile == "":
		return errors.New("tls_require_and_verify_client_cert needs tls_client_ca_file: without it no " +
			"certificate could be verified")
	case c.TLSDisableClient:
		t.ClientAuth = tls.NoClientCert
		return nil
	case c.TLSClientCAFile == "":
		t.ClientAuth = tls.RequestClientCert
		return nil
	}
	pem, err := os.ReadFile(c.TLSClientCAFile)
	if err != nil {
		return fmt.Errorf("tls_client_ca_file: %w", err)
	}
	t.ClientCAs = x509.NewCertPool()
	if !t.ClientCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tls_client_ca_file %s holds no certificate in PEM", c.TLSClientCAFile)
	}
	t.ClientAuth = tls.VerifyClientCertIfGiven
	if c.TLSRequireClient {
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return nil
}
