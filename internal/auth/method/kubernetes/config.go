package kubernetes

import (
	"context"
	"crypto/x509"
	"net"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/auth/method/jwt"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// settings is the record at "config": see [method.Marshal].
type settings struct {
	Host         string   `json:"kubernetes_host"`
	CA           string   `json:"kubernetes_ca_cert,omitempty"` // PEM; "": the pod's
	Reviewer     string   `json:"token_reviewer_jwt,omitempty"` // sent only to the API server
	Keys         []string `json:"pem_keys,omitempty"`           // PEM; none: the review alone judges signatures
	Issuer       string   `json:"issuer,omitempty"`
	CheckIssuer  bool     `json:"check_issuer,omitempty"` // disable_iss_validation=false
	DisableLocal bool     `json:"disable_local_ca_jwt,omitempty"`
}

// defaultIssuer is checked where the configuration names no issuer and demands one.
const defaultIssuer = "kubernetes/serviceaccount"

func (d *backend) config(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	switch {
	case r.Operation == mount.Read:
		c, err := method.Load[settings](ctx, d.store, configKey)
		if c == nil {
			return nil, err
		}
		return &mount.Response{Data: map[string]any{
			"kubernetes_host": c.Host, "kubernetes_ca_cert": c.CA, "pem_keys": method.NotNil(c.Keys), "issuer": c.Issuer,
			"disable_iss_validation": !c.CheckIssuer, "disable_local_ca_jwt": c.DisableLocal,
			"token_reviewer_jwt_set": c.Reviewer != "",
		}}, nil
	case !method.IsWrite(r.Operation):
		return nil, method.ErrUnsupported
	}
	c := &settings{}
	if err := c.read(r.Data); err != nil {
		return nil, err
	}
	if c.CA == "" {
		if _, err := d.podCA(); err != nil {
			return nil, method.Invalid("kubernetes_ca_cert is not set, and the CA certificate of this server's pod cannot be " +
				"read: give the certificate of the authority that signed the API server's")
		}
	}
	return nil, method.Save(ctx, d.store, configKey, c)
}

// read reads a whole configuration from a request: fields that are not given are unset.
func (c *settings) read(f field.Map) error {
	unchecked := true
	errKeys := method.Invalid("data does not contain any valid public keys")
	err := field.First(
		f.Text("kubernetes_host", &c.Host), f.Text("kubernetes_ca_cert", &c.CA), f.Text("token_reviewer_jwt", &c.Reviewer),
		f.Text("issuer", &c.Issuer), f.Flag("disable_iss_validation", &unchecked),
		f.Flag("disable_local_ca_jwt", &c.DisableLocal),
	)
	if err != nil {
		return err
	}
	c.CheckIssuer = !unchecked
	if c.Host == "" {
		return method.Invalid("no host provided")
	}
	if c.DisableLocal && c.CA == "" {
		return method.Invalid("kubernetes_ca_cert must be given when disable_local_ca_jwt is true")
	}
	if c.Host, err = apiServer(c.Host); err != nil {
		return err
	}
	if c.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CA)) {
		return method.Invalid("kubernetes_ca_cert is not a PEM certificate")
	}
	if jwt.PEMKeys(f, "pem_keys", &c.Keys) != nil {
		return errKeys
	}
	for _, key := range c.Keys {
		if _, err := jwt.PublicKey(key); err != nil {
			return errKeys
		}
	}
	if c.Reviewer != "" {
		if _, err := jose.ParseSignedCompact(c.Reviewer, algorithms); err != nil {
			return method.Invalid("token_reviewer_jwt is not a signed JWT in compact form: give the token of a service " +
				"account")
		}
	}
	return nil
}

// apiServer returns the URL of an API server without a trailing slash. A host without a scheme is
// one with TLS; tokens are sent without TLS only to this machine, where `kubectl proxy` listens.
func apiServer(host string) (string, error) {
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	u, err := url.Parse(host)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", method.Invalid("kubernetes_host must be a host, a host with a port, or the URL of the API server")
	case u.Scheme == "http" && isLoopback(u.Hostname()), u.Scheme == "https":
		return strings.TrimRight(host, "/"), nil
	}
	return "", method.Invalid("kubernetes_host must begin with https://, because tokens are sent to it")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
