package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

// settings is the record at "config": see [method.Marshal].
type settings struct {
	PublicKeys   []string `json:"jwt_validation_pubkeys,omitempty"` // PEM
	JWKS         string   `json:"jwks_url,omitempty"`
	JWKSCA       string   `json:"jwks_ca_pem,omitempty"`
	Discovery    string   `json:"oidc_discovery_url,omitempty"`
	DiscoveryCA  string   `json:"oidc_discovery_ca_pem,omitempty"`
	Issuer       string   `json:"bound_issuer,omitempty"`
	Algorithms   []string `json:"jwt_supported_algs,omitempty"`
	DefaultRole  string   `json:"default_role,omitempty"`
	ClientID     string   `json:"oidc_client_id,omitempty"`
	ClientSecret string   `json:"oidc_client_secret,omitempty"` // sent only to the provider
	ResponseMode string   `json:"oidc_response_mode,omitempty"`
	skipFetching bool
}

// asymmetric lists the accepted algorithms: with a shared secret every verifier could forge tokens.
var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

func (c *settings) algorithms() []jose.SignatureAlgorithm {
	if len(c.Algorithms) == 0 {
		return asymmetric
	}
	out := make([]jose.SignatureAlgorithm, len(c.Algorithms))
	for i, a := range c.Algorithms {
		out[i] = jose.SignatureAlgorithm(a)
	}
	return out
}

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
			"jwt_validation_pubkeys": method.NotNil(c.PublicKeys), "jwks_url": c.JWKS, "jwks_ca_pem": c.JWKSCA,
			"oidc_discovery_url":    c.Discovery,
			"oidc_discovery_ca_pem": c.DiscoveryCA, "bound_issuer": c.Issuer, "jwt_supported_algs": method.NotNil(c.Algorithms),
			"default_role": c.DefaultRole, "oidc_client_id": c.ClientID, "oidc_response_mode": c.ResponseMode,
			"oidc_response_types": []string{},
		}}, nil
	case !method.IsWrite(r.Operation):
		return nil, method.ErrUnsupported
	}
	c := &settings{}
	if err := c.read(r.Data); err != nil {
		return nil, err
	}
	if source := c.source(); source != "" && !c.skipFetching {
		if err := newFetcher(source, c).test(ctx); err != nil {
			return nil, method.Invalid("cannot fetch the keys: %v; correct the URL or its CA, or set skip_jwks_validation=true",
				err)
		}
	}
	return nil, method.Save(ctx, d.store, configKey, c)
}

// read reads a whole configuration from a request: fields that are not given are unset.
func (c *settings) read(f field.Map) error {
	var responses []string
	err := field.First(
		PEMKeys(f, "jwt_validation_pubkeys", &c.PublicKeys), f.Text("jwks_url", &c.JWKS), f.Text("jwks_ca_pem", &c.JWKSCA),
		f.Text("oidc_discovery_url", &c.Discovery), f.Text("oidc_discovery_ca_pem", &c.DiscoveryCA),
		f.Text("bound_issuer", &c.Issuer),
		f.Names("jwt_supported_algs", &c.Algorithms), f.Text("default_role", &c.DefaultRole),
		f.Flag("skip_jwks_validation", &c.skipFetching),
		f.Text("oidc_client_id", &c.ClientID), f.Text("oidc_client_secret", &c.ClientSecret),
		f.Text("oidc_response_mode", &c.ResponseMode),
		f.Names("oidc_response_types", &responses),
	)
	if err != nil {
		return err
	}
	sources := 0
	for _, given := range []bool{len(c.PublicKeys) > 0, c.JWKS != "", c.Discovery != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return method.Invalid("exactly one of 'jwt_validation_pubkeys', 'jwks_url' or 'oidc_discovery_url' must be set")
	}
	if err := c.checkBrowser(responses); err != nil {
		return err
	}
	for i, a := range c.Algorithms {
		if !slices.Contains(asymmetric, jose.SignatureAlgorithm(a)) {
			return method.Invalid("jwt_supported_algs: %q is not supported; use one of %v", a, asymmetric)
		}
		c.Algorithms[i] = a
	}
	if _, err := c.publicKeys(); err != nil {
		return err
	}
	if source := c.source(); source != "" {
		u, err := url.Parse(source)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return method.Invalid("the URL of the keys must begin with https://")
		}
	}
	for _, ca := range []string{c.JWKSCA, c.DiscoveryCA} {
		if ca != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(ca)) {
			return method.Invalid("the CA for the URL of the keys is not a PEM certificate")
		}
	}
	return nil
}

// checkBrowser validates the settings for login by browser.
func (c *settings) checkBrowser(responses []string) error {
	switch {
	case c.ClientSecret != "" && c.ClientID == "":
		return method.Invalid("both 'oidc_client_id' and 'oidc_client_secret' must be set for OIDC")
	case c.ClientID != "" && c.Discovery == "":
		return method.Invalid("'oidc_discovery_url' must be set for OIDC")
	case !slices.Contains([]string{"", "query", "form_post"}, c.ResponseMode):
		return method.Invalid("invalid 'oidc_response_mode': give query or form_post")
	case len(responses) > 0 && !slices.Equal(responses, []string{"code"}):
		return method.Invalid("'oidc_response_types' must be code: with the others tokens pass through the browser")
	}
	return nil
}

// source returns the URL of the keys; "" if they are in the configuration.
func (c *settings) source() string {
	if c.Discovery != "" {
		return strings.TrimSuffix(c.Discovery, "/") + "/.well-known/openid-configuration"
	}
	return c.JWKS
}

// publicKeys parses the keys of the configuration.
func (c *settings) publicKeys() ([]crypto.PublicKey, error) {
	out := make([]crypto.PublicKey, 0, len(c.PublicKeys))
	for i, text := range c.PublicKeys {
		key, err := PublicKey(text)
		if err != nil {
			return nil, method.Invalid("jwt_validation_pubkeys: entry %d is not an RSA, ECDSA or Ed25519 public key in PEM", i+1)
		}
		out = append(out, key)
	}
	return out, nil
}

// PublicKey parses one RSA, ECDSA or Ed25519 public key, or the one of a certificate, in PEM.
func PublicKey(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(strings.TrimSpace(text)))
	if block == nil || len(rest) > 0 {
		return nil, x509.ErrUnsupportedAlgorithm
	}
	var key any
	var err error
	switch block.Type {
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	switch key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return key, nil
	}
	return nil, x509.ErrUnsupportedAlgorithm
}

// PEMKeys reads PEM keys: a list, or one text with one or more.
func PEMKeys(f field.Map, name string, into *[]string) error {
	text, ok := f[name].(string)
	if !ok {
		return f.Names(name, into)
	}
	*into = nil
	for rest := []byte(strings.ReplaceAll(text, "-----,-----",
		"-----\n-----")); len(strings.TrimSpace(string(rest))) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return method.Invalid("%s is not in PEM", name)
		}
		*into = append(*into, string(pem.EncodeToMemory(block)))
	}
	return nil
}
