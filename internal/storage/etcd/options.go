package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
)

// Errors of this package.
var (
	// ErrConfig is returned by Open for invalid options.
	ErrConfig = errors.New("etcd: configuration")
	// ErrDenied is returned if etcd refuses the user, the password or the permission.
	ErrDenied = errors.New("etcd: refused")
	// ErrFormat is returned by Open for data of an unsupported format.
	ErrFormat = errors.New("etcd: unknown storage format")
)

const (
	maxPath           = 256 // a prefix of each key of a transaction
	minLeaseTTL       = 300 * time.Millisecond
	minRequestTimeout = 50 * time.Millisecond
)

// complete validates the options and fills in defaults.
func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock()
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = DefaultRequestTimeout
	}
	if o.LeaseTTL == 0 {
		o.LeaseTTL = DefaultLeaseTTL
	}
	if o.OutageTimeout == 0 {
		o.OutageTimeout = DefaultOutageTimeout
	}
	o.LeaseTTL = o.LeaseTTL.Truncate(time.Millisecond)
	switch {
	case o.RequestTimeout < minRequestTimeout:
		return fmt.Errorf("%w: request_timeout must be at least %s", ErrConfig, minRequestTimeout)
	case o.LeaseTTL < minLeaseTTL || o.LeaseTTL > maxTTL:
		return fmt.Errorf("%w: lease_ttl must be from %s to %s", ErrConfig, minLeaseTTL, maxTTL)
	case (o.Username == "") != (o.Password == ""):
		return fmt.Errorf("%w: set both username and password, or neither (ETCD_USERNAME, ETCD_PASSWORD)", ErrConfig)
	case (o.CertFile == "") != (o.KeyFile == ""):
		return fmt.Errorf("%w: set both tls_cert_file and tls_key_file, or neither", ErrConfig)
	}
	o.Path = "/" + strings.Trim(o.Path, "/") + "/"
	if o.Path == "//" {
		o.Path = DefaultPath
	}
	if err := storage.CheckPrefix(o.Path[1:]); err != nil || len(o.Path) > maxPath {
		return fmt.Errorf("%w: path must be names separated by slashes, of at most %d bytes", ErrConfig, maxPath)
	}
	return o.checkEndpoints()
}

// checkEndpoints refuses mixed schemes: the client library uses the first endpoint's for all, which
// would silently drop TLS.
func (o *Options) checkEndpoints() error {
	if len(o.Endpoints) == 0 {
		return fmt.Errorf("%w: address is missing: set it to the URLs of etcd, such as https://10.0.0.1:2379, separated by "+
			"commas", ErrConfig)
	}
	scheme := ""
	for _, e := range o.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" ||
			!slices.Contains([]string{"http", "https"}, u.Scheme) {
			return fmt.Errorf("%w: address must be URLs such as https://10.0.0.1:2379, without user or path", ErrConfig)
		}
		if scheme != "" && scheme != u.Scheme {
			return fmt.Errorf("%w: address mixes http and https: use https for all", ErrConfig)
		}
		scheme = u.Scheme
	}
	if scheme == "http" && (o.CAFile != "" || o.CertFile != "" || o.ServerName != "") {
		return fmt.Errorf("%w: TLS is configured, but address says http: use https", ErrConfig)
	}
	return nil
}

func (o *Options) secure() bool { return strings.HasPrefix(o.Endpoints[0], "https:") }

// tlsConfig returns nil for http. It reads the client certificate for each connection, to use a
// renewed one.
func (o *Options) tlsConfig() (*tls.Config, error) {
	if !o.secure() {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%w: tls_ca_file: %w", ErrConfig, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: tls_ca_file %s contains no PEM certificate", ErrConfig, o.CAFile)
		}
	}
	if o.CertFile != "" {
		read := func() (*tls.Certificate, error) {
			pair, err := secret.KeyPair(o.CertFile, o.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("%w: tls_cert_file and tls_key_file: %w", ErrConfig, err)
			}
			return &pair, nil
		}
		if _, err := read(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return read() }
	}
	return c, nil
}
