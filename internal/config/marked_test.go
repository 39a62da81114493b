package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoSecretIsEchoed: a private key where its file is expected is refused and not shown.
func TestNoSecretIsEchoed(t *testing.T) {
	t.Parallel()
	const mark = "MARK5ecret"
	for _, stanza := range []string{
		`listener "tcp" { address = "127.0.0.1:0" tls_cert_file = "%" tls_key_file = "/k" }`,
		`listener "tcp" { address = "127.0.0.1:0" tls_cert_file = "/c" tls_key_file = "%" }`,
		`listener "tcp" { address = "127.0.0.1:0" tls_cert_file = "/c" tls_key_file = "/k" tls_client_ca_file = "%" }`,
		`storage "etcd" { address = "https://127.0.0.1:1" tls_ca_file = "%" }`,
		`storage "etcd" { address = "https://127.0.0.1:1" tls_cert_file = "%" tls_key_file = "/k" }`,
		`storage "etcd" { address = "https://127.0.0.1:1" tls_cert_file = "/c" tls_key_file = "%" }`,
	} {
		for _, value := range []string{mark, `-----BEGIN PRIVATE KEY-----\n` + mark + `\n-----END PRIVATE KEY-----`} {
			file := filepath.Join(t.TempDir(), "c.hcl")
			text := strings.ReplaceAll(strings.NewReplacer(" }", "\n}\n", "{ ", "{\n  ", `" `,
				"\"\n  ").Replace(stanza), "%", value)
			text = strings.ReplaceAll(text, "storage\n", "storage ")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load([]string{file}, func(string) string { return "" })
			if err == nil || strings.Contains(err.Error(), mark) ||
				!strings.Contains(err.Error(), "not the name of a file") {
				t.Errorf("%s: %v", stanza, err)
			}
		}
	}
}
