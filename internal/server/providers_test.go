package server

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/config"
)

// TestEveryParameterOfAStanza checks that each documented parameter of a provider is a known key of
// the configuration, and that the provider accepts it.
func TestEveryParameterOfAStanza(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for kind, params := range map[string]map[string]string{
		"transit": {"address": "https://v.example:8200", "token": "t", "mount_path": "transit/", "key_name": "k",
			"namespace": "ns/", "disable_renewal": "true",
			"key_id_prefix": "p", "tls_ca_cert": "", "tls_ca_path": "", "tls_client_cert": "", "tls_client_key": "",
			"tls_server_name": "v", "tls_skip_verify": "false",
			"timeout": "4s"},
		"azurekeyvault": {"vault_name": "vault", "key_name": "k", "environment": "AzurePublicCloud",
			"resource": "vault.azure.net", "auth_method": "client_secret",
			"endpoint": "https://vault.vault.azure.net", "tenant_id": "t", "client_id": "c", "client_secret": "s",
			"cert_path": "", "cert_password": "",
			"federated_token_file": "", "managed_id_kind": "client_id", "resource_id": "r",
			"authority_host": "https://login.microsoftonline.com",
			"tls_ca_cert":    "", "timeout": "4s", "key_not_required": "false"},
		"ocikms": {"key_id": "ocid1.key.x", "crypto_endpoint": "https://c.example",
			"management_endpoint": "https://m.example", "auth_type_api_key": "true",
			"timeout": "4s"},
		"alicloudkms": {"kms_key_id": "alias/seal", "region": "eu-central-1", "domain": "kms.example", "access_key": "a",
			"secret_key": "s", "access_secret": "s",
			"timeout": "4s"},
	} {
		var text strings.Builder
		fmt.Fprintf(&text, "storage \"inmem\" {}\nlistener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  tls_disable = "+
			"true\n}\nseal %q \"one\" {\n", kind)
		for _, name := range slices.Sorted(maps.Keys(params)) {
			fmt.Fprintf(&text, "  %s = %q\n", name, params[name])
		}
		text.WriteString("}\n")
		file := filepath.Join(dir, kind+".hcl")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		nothing := func(string) string { return "" }
		c, err := config.Load([]string{file}, nothing)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		set, err := sealMaker{nothing, slog.New(slog.DiscardHandler), func(string, string, time.Duration, error) {}}.set(c)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if err := set.Close(); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
