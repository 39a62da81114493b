package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/config"
)

// TestChartConfigurations: the configurations that the Helm chart renders load, and have a seal
// where the values have one. `.ci/helm/check` compares the rendered files with the chart.
func TestChartConfigurations(t *testing.T) {
	for name, seals := range map[string]int{"standalone": 1, "ha": 1, "plain": 0} {
		raw, err := os.ReadFile("../../testdata/helm/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(raw), "\n  sealgate.hcl: |-\n")
		if !ok {
			t.Fatalf("%s has no configuration", name)
		}
		text, _, _ := strings.Cut(rest, "\n---\n")
		path := filepath.Join(t.TempDir(), "sealgate.hcl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"VAULT_API_ADDR": "https://10.0.0.1:8200",
			"VAULT_CLUSTER_ADDR":  "https://sealgate-0.sealgate-internal:8201",
			"VAULT_K8S_NAMESPACE": "vault", "VAULT_K8S_POD_NAME": "sealgate-0"}
		cfg, err := config.Load([]string{path}, func(name string) string { return env[name] })
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
			continue
		}
		configured := 0
		for _, s := range cfg.Seals {
			if s.Type != "shamir" {
				configured++
			}
		}
		if configured != seals || !cfg.UI || len(cfg.Listeners) != 1 || cfg.APIAddr != env["VAULT_API_ADDR"] {
			t.Errorf("%s: %d seals, ui %t, %d listeners, api_addr %q", name, configured, cfg.UI, len(cfg.Listeners), cfg.APIAddr)
		}
	}
}
