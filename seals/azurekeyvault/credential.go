package azurekeyvault

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/fresh"
)

// errResource is the cause where a vault requests tokens for another service than the configured
// one: the vault could use them there.
var errResource = errors.New("the vault requests an access token for another service")

// credential provides access tokens. It makes the SDK's credential at the first use, and again when
// the secret or certificate was replaced or a token was refused.
type credential struct {
	s       settings
	options azcore.ClientOptions
	secret  *fresh.Secret
	pass    *fresh.Secret

	mu    sync.Mutex
	now   azcore.TokenCredential
	stamp os.FileInfo // of the certificate's file when it was read
}

// GetToken implements azcore.TokenCredential.
func (c *credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != c.s.resource+"/.default" {
		return azcore.AccessToken{}, seals.Fail(seals.Misconfigured,
			fmt.Errorf("%w: %.200q, but resource is %s", errResource, o.Scopes, c.s.resource),
			"correct resource; if the vault is not yours, correct vault_name and endpoint")
	}
	cred, err := c.current()
	if err != nil {
		return azcore.AccessToken{}, err
	}
	token, err := cred.GetToken(ctx, o)
	var refused *azidentity.AuthenticationFailedError
	if !errors.As(err, &refused) || c.s.method != authSecret {
		return token, err
	}
	if _, changed, rerr := c.secret.Reread(); rerr != nil || !changed {
		return token, err
	}
	c.forget()
	if cred, err = c.current(); err != nil {
		return azcore.AccessToken{}, err
	}
	return cred.GetToken(ctx, o)
}

// forget drops the tokens that the SDK caches.
func (c *credential) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = nil
}

func (c *credential) current() (azcore.TokenCredential, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.s.method {
	case authSecret:
		secret, changed, err := c.secret.Get()
		if err != nil || c.now != nil && !changed {
			return c.now, err
		}
		c.now, err = azidentity.NewClientSecretCredential(c.s.tenant, c.s.client, secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: c.options, DisableInstanceDiscovery: c.s.ownLogin})
		return c.now, err
	case authCertificate:
		stamp, err := os.Stat(c.s.certPath)
		if err == nil && c.now != nil && os.SameFile(stamp, c.stamp) && stamp.ModTime().Equal(c.stamp.ModTime()) {
			return c.now, nil
		}
		return c.fromCertificate(stamp)
	}
	if c.now != nil {
		return c.now, nil
	}
	var err error
	if c.s.method == authWorkload {
		c.now, err = azidentity.NewWorkloadIdentityCredential(
			&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: c.options,
				DisableInstanceDiscovery: c.s.ownLogin, ClientID: c.s.client, TenantID: c.s.tenant,
				TokenFilePath: c.s.tokenFile})
	} else {
		c.now, err = azidentity.NewManagedIdentityCredential(
			&azidentity.ManagedIdentityCredentialOptions{ClientOptions: c.options, ID: c.s.identity()})
	}
	return c.now, err
}

// fromCertificate must be called with the lock held. Where the file cannot be read, it keeps the
// last credential.
func (c *credential) fromCertificate(stamp os.FileInfo) (azcore.TokenCredential, error) {
	certs, key, err := c.readCertificate()
	if err != nil {
		if c.now != nil {
			return c.now, nil
		}
		return nil, seals.Fail(seals.Denied, fmt.Errorf("the certificate %s: %w", c.s.certPath, err),
			"store the certificate with its key where cert_path points")
	}
	cred, err := azidentity.NewClientCertificateCredential(c.s.tenant, c.s.client, certs, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: c.options,
			DisableInstanceDiscovery: c.s.ownLogin})
	if err == nil {
		c.now, c.stamp = cred, stamp
	}
	return c.now, err
}

func (c *credential) readCertificate() ([]*x509.Certificate, crypto.PrivateKey, error) {
	raw, err := os.ReadFile(c.s.certPath)
	if err != nil {
		return nil, nil, err
	}
	defer clear(raw)
	pass, _, err := c.pass.Get()
	if err != nil {
		return nil, nil, err
	}
	return azidentity.ParseCertificates(raw, []byte(pass))
}

// identity returns the managed identity, nil for the machine's default.
func (o *settings) identity() azidentity.ManagedIDKind {
	switch {
	case o.managedBy == "resource_id" && o.managedID != "":
		return azidentity.ResourceID(o.managedID)
	case o.managedBy == "object_id" && o.managedID != "":
		return azidentity.ObjectID(o.managedID)
	case o.managedBy == "client_id" && o.managedID != "":
		return azidentity.ClientID(o.managedID)
	case o.client != "":
		return azidentity.ClientID(o.client)
	case o.managedID != "":
		return azidentity.ResourceID(o.managedID)
	}
	return nil
}

// newTransport makes the transport for the vault and the token service.
func newTransport(o settings) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = connections, connections
	if o.caCert == "" {
		return t, nil
	}
	raw, err := os.ReadFile(o.caCert)
	if err != nil {
		return nil, fmt.Errorf("tls_ca_cert: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(bytes.TrimSpace(raw)) {
		return nil, fmt.Errorf("tls_ca_cert: %s contains no certificate in PEM", o.caCert)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}
