package azurekeyvault

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// prefixes of the environment variables, strongest first. A variable (prefix + name in capitals)
// takes precedence over the stanza.
var prefixes = []string{"SEALGATE_AZUREKEYVAULT_SEAL_", "AZUREKEYVAULT_WRAPPER_", "VAULT_AZUREKEYVAULT_"}

// Values of auth_method.
const (
	authSecret      = "client_secret"
	authCertificate = "client_certificate"
	authWorkload    = "workload_identity"
	authManaged     = "managed_identity"
)

// settings is a parsed stanza.
type settings struct {
	vaultURL  string
	resource  string // of the access tokens, such as https://vault.azure.net
	ownDomain bool   // the configured address of the vault is outside the resource's domain
	key       string
	method    string
	tenant    string
	client    string
	secret    string // as written: the secret, env:// or file://
	certPath  string
	certPass  string // as written
	tokenFile string // of a workload identity
	managedID string
	managedBy string // kind of managedID
	cloud     cloud.Configuration
	ownLogin  bool // the authority is not one of Microsoft's public ones
	caCert    string
	timeout   time.Duration
}

// clouds maps the values of environment to the domains of their vaults.
var clouds = map[string]struct {
	config cloud.Configuration
	domain string
}{
	"AZUREPUBLICCLOUD":       {cloud.AzurePublic, "vault.azure.net"},
	"AZURECLOUD":             {cloud.AzurePublic, "vault.azure.net"},
	"AZURECHINACLOUD":        {cloud.AzureChina, "vault.azure.cn"},
	"AZUREUSGOVERNMENT":      {cloud.AzureGovernment, "vault.usgovcloudapi.net"},
	"AZUREUSGOVERNMENTCLOUD": {cloud.AzureGovernment, "vault.usgovcloudapi.net"},
}

// parse reads every parameter. Azure's own variables (AZURE_TENANT_ID, ...) take precedence over
// the stanza, too.
func parse(cfg seals.Config) (settings, error) {
	p := seals.NewParams(cfg, prefixes...)
	azure := func(variable, name string, aliases ...string) string {
		v := p.Get(name, aliases...)
		if cfg.Getenv == nil {
			return v
		}
		return cmp.Or(cfg.Getenv("SEALGATE_AZUREKEYVAULT_SEAL_"+strings.ToUpper(name)), cfg.Getenv(variable), v)
	}
	o := settings{
		key:       p.Get("key_name"),
		method:    p.Get("auth_method"),
		tenant:    azure("AZURE_TENANT_ID", "tenant_id"),
		client:    azure("AZURE_CLIENT_ID", "client_id"),
		secret:    azure("AZURE_CLIENT_SECRET", "client_secret"),
		certPath:  p.CheckFile("cert_path", azure("AZURE_CLIENT_CERTIFICATE_PATH", "cert_path", "certificate_path")),
		certPass:  azure("AZURE_CLIENT_CERTIFICATE_PASSWORD", "cert_password", "certificate_password"),
		tokenFile: p.CheckFile("federated_token_file", azure("AZURE_FEDERATED_TOKEN_FILE", "federated_token_file")),
		managedBy: p.Get("managed_id_kind", "managed_identity_kind"),
		managedID: p.Get("resource_id"),
		caCert:    p.File("tls_ca_cert"),
	}
	p.Get("key_not_required") // accepted for Vault's sake; New never looks up the key
	var terr error
	o.timeout, terr = remote.Timeout(p.Get("timeout"))
	err := errors.Join(o.readCloud(azure("AZURE_ENVIRONMENT", "environment"),
		azure("AZURE_AUTHORITY_HOST", "authority_host")),
		o.readVault(p.Get("vault_name"), azure("AZURE_AD_RESOURCE", "resource"), p.Get("endpoint")), terr)
	if cerr := p.Check(); cerr != nil {
		return settings{}, cerr
	}
	if err = errors.Join(err, o.chooseMethod()); err != nil {
		return settings{}, err
	}
	return o, nil
}

func (o *settings) readCloud(environment, authority string) error {
	c, ok := clouds[cmp.Or(strings.ToUpper(environment), "AZUREPUBLICCLOUD")]
	if !ok {
		return fmt.Errorf("environment = %q: it must be AzurePublicCloud, AzureChinaCloud or AzureUSGovernmentCloud",
			environment)
	}
	o.cloud, o.resource = c.config, "https://"+c.domain
	if authority == "" {
		return nil
	}
	u, err := url.Parse(authority)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("authority_host = %q: it must be a URL such as https://login.microsoftonline.com",
			seals.ShowURL(authority))
	}
	o.cloud.ActiveDirectoryAuthorityHost = "https://" + u.Host + "/"
	o.ownLogin = !slices.ContainsFunc([]cloud.Configuration{cloud.AzurePublic, cloud.AzureChina,
		cloud.AzureGovernment}, func(c cloud.Configuration) bool {
		return c.ActiveDirectoryAuthorityHost == o.cloud.ActiveDirectoryAuthorityHost
	})
	return nil
}

var (
	vaultName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9-]{1,126}$`)
	keyName   = regexp.MustCompile(`^[a-zA-Z0-9-]{1,127}$`)
	domain    = regexp.MustCompile(`^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+$`)
)

func (o *settings) readVault(name, resource, endpoint string) error {
	switch {
	case !keyName.MatchString(o.key):
		return fmt.Errorf("key_name = %q: it must be the name of a key: letters, digits and dashes", o.key)
	case resource != "" && !domain.MatchString(strings.TrimPrefix(resource, "https://")):
		return fmt.Errorf("resource = %q: it must be the domain of the vaults, such as vault.azure.net or "+
			"managedhsm.azure.net", resource)
	case endpoint == "" && !vaultName.MatchString(name):
		return fmt.Errorf("vault_name = %q: it must be the name of a vault: letters, digits and dashes", name)
	}
	if resource != "" {
		o.resource = "https://" + strings.TrimPrefix(resource, "https://")
	}
	own := strings.TrimPrefix(o.resource, "https://")
	if endpoint == "" {
		o.vaultURL = "https://" + name + "." + own
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" {
		return fmt.Errorf("endpoint = %q: it must be the vault's URL, such as https://name.vault.azure.net",
			seals.ShowURL(endpoint))
	}
	o.vaultURL, o.ownDomain = "https://"+u.Host, !strings.HasSuffix(u.Host, "."+own)
	return nil
}

// chooseMethod selects the first method for which the stanza is complete, where it does not name
// one: secret, certificate, workload identity, else managed identity.
func (o *settings) chooseMethod() error {
	if o.method == "" {
		switch {
		case o.secret != "":
			o.method = authSecret
		case o.certPath != "":
			o.method = authCertificate
		case o.tokenFile != "" && o.tenant != "" && o.client != "":
			o.method = authWorkload
		default:
			o.method = authManaged
		}
	}
	need := map[string][]string{
		authSecret:      {"tenant_id", o.tenant, "client_id", o.client, "client_secret", o.secret},
		authCertificate: {"tenant_id", o.tenant, "client_id", o.client, "cert_path", o.certPath},
		authWorkload: {"tenant_id", o.tenant, "client_id", o.client,
			"federated_token_file (or AZURE_FEDERATED_TOKEN_FILE)", o.tokenFile},
		authManaged: {},
	}[o.method]
	if need == nil {
		return fmt.Errorf("auth_method = %q: it must be %s, %s, %s or %s", o.method, authSecret, authCertificate,
			authWorkload, authManaged)
	}
	for i := 0; i < len(need); i += 2 {
		if need[i+1] == "" {
			return fmt.Errorf("auth_method %s requires %s", o.method, need[i])
		}
	}
	switch o.managedBy {
	case "", "client_id", "object_id", "resource_id":
		return nil
	}
	return fmt.Errorf("managed_id_kind = %q: it must be client_id, object_id or resource_id", o.managedBy)
}

// id returns the canonical name of the key, without a version.
func (o *settings) id() string { return o.vaultURL + "/keys/" + o.key }
