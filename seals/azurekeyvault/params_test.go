package azurekeyvault

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

func config(env map[string]string, params ...string) seals.Config {
	c := seals.Config{Name: "t", Type: "azurekeyvault", Params: map[string]string{"vault_name": "hc-vault",
		"key_name": "k"}}
	for i := 0; i < len(params); i += 2 {
		c.Params[params[i]] = params[i+1]
	}
	c.Getenv = func(name string) string { return env[name] }
	return c
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  seals.Config
		want func(settings) bool
	}{
		"the machine's identity": {config(nil), func(s settings) bool {
			return s.method == authManaged && s.id() == "https://hc-vault.vault.azure.net/keys/k" &&
				s.resource == "https://vault.azure.net" && !s.ownDomain && !s.ownLogin
		}},
		"a stanza of Vault's": {config(nil, "tenant_id", "t", "client_id", "c", "client_secret", "s", "environment",
			"AzureUSGovernmentCloud"), func(s settings) bool {
			return s.method == authSecret && s.vaultURL == "https://hc-vault.vault.usgovcloudapi.net" &&
				s.tenant == "t" && s.client == "c" && s.secret == "s"
		}},
		"variables win": {config(map[string]string{"AZURE_TENANT_ID": "T", "AZURE_CLIENT_ID": "C",
			"AZURE_CLIENT_SECRET": "S", "VAULT_AZUREKEYVAULT_VAULT_NAME": "v2",
			"AZUREKEYVAULT_WRAPPER_KEY_NAME": "k2", "AZURE_AD_RESOURCE": "managedhsm.azure.net"}, "tenant_id", "t",
			"client_secret", "s"), func(s settings) bool {
			return s.tenant == "T" && s.client == "C" && s.secret == "S" &&
				s.id() == "https://v2.managedhsm.azure.net/keys/k2" && s.resource == "https://managedhsm.azure.net"
		}},
		"ours win over Azure's": {config(map[string]string{"AZURE_TENANT_ID": "T",
			"SEALGATE_AZUREKEYVAULT_SEAL_TENANT_ID": "ours"}), func(s settings) bool {
			return s.tenant == "ours"
		}},
		"workload identity": {config(map[string]string{"AZURE_TENANT_ID": "T", "AZURE_CLIENT_ID": "C",
			"AZURE_FEDERATED_TOKEN_FILE": "/f"}), func(s settings) bool {
			return s.method == authWorkload && s.tokenFile == "/f"
		}},
		"certificate": {config(map[string]string{"VAULT_AZUREKEYVAULT_CERTIFICATE_PATH": "/c",
			"VAULT_AZUREKEYVAULT_CERTIFICATE_PASSWORD": "p"},
			"tenant_id", "t", "client_id", "c"), func(s settings) bool {
			return s.method == authCertificate && s.certPath == "/c" && s.certPass == "p"
		}},
		"identity by kind": {config(map[string]string{"VAULT_AZUREKEYVAULT_MANAGED_IDENTITY_KIND": "object_id",
			"VAULT_AZUREKEYVAULT_RESOURCE_ID": "o"}), func(s settings) bool {
			return s.method == authManaged && s.identity().String() == "o"
		}},
		"a private address": {config(nil, "endpoint", "https://hsm.corp.example/", "authority_host",
			"https://login.corp.example"), func(s settings) bool {
			return s.ownDomain && s.ownLogin && s.id() == "https://hsm.corp.example/keys/k" &&
				s.cloud.ActiveDirectoryAuthorityHost == "https://login.corp.example/"
		}},
	} {
		if s, err := parse(c.cfg); err != nil || !c.want(s) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestBadParameters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		params []string
		want   string
	}{
		"no vault":            {[]string{"vault_name", ""}, "vault_name"},
		"a vault that is not": {[]string{"vault_name", "evil.example/x"}, "vault_name"},
		"no key":              {[]string{"key_name", "a/b"}, "key_name"},
		"a cloud":             {[]string{"environment", "moon"}, "AzurePublicCloud"},
		"a resource":          {[]string{"resource", "http://x"}, "domain of the vaults"},
		"an endpoint":         {[]string{"endpoint", "http://v.vault.azure.net"}, "endpoint"},
		"an authority":        {[]string{"authority_host", "http://login"}, "authority_host"},
		"a method":            {[]string{"auth_method", "magic"}, "auth_method"},
		"half a secret":       {[]string{"client_secret", "hunter2"}, "requires tenant_id"},
		"half a certificate":  {[]string{"cert_path", "/c", "tenant_id", "t"}, "requires client_id"},
		"an identity":         {[]string{"managed_id_kind", "name"}, "managed_id_kind"},
		"misspelt":            {[]string{"vaultname", "x"}, `did you mean "vault_name"`},
		"an authority's file": {[]string{"tls_ca_cert", "/nowhere"}, "/nowhere"},
		"no authority":        {[]string{"tls_ca_cert", "params_test.go"}, "no certificate"},
		"time":                {[]string{"timeout", "soon"}, "timeout"},
	} {
		_, err := New(config(nil, c.params...))
		if seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want class misconfigured and %q", name, err, c.want)
		}
	}
}
