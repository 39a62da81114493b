package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func loadGateways(t *testing.T, stanzas string) (*Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "c.hcl")
	if err := os.WriteFile(file, []byte(stanzas), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load([]string{file}, func(string) string { return "" })
}

func TestGateways(t *testing.T) {
	t.Parallel()
	c, err := loadGateways(t, `
gateway "kmsv2" {
  name          = "prod"
  socket        = "/run/sealgate/kms.sock"
  mount         = "hsm"
  key           = "kubernetes"
  policies      = ["kubernetes"]
  peer_uids     = [1001]
  outage_budget = "10m"
}
gateway "xks" {
  address       = "127.0.0.1:8443"
  tls_cert_file = "/c"
  tls_key_file  = "/k"
}
`)
	if err != nil {
		t.Fatal(err)
	}
	k, x := c.Gateways[0], c.Gateways[1]
	if k.Name != "prod" || k.Mount != "hsm" || k.PeerUIDs[0] != 1001 || k.Budget != 10*time.Minute ||
		k.Deadline != 2*time.Second {
		t.Errorf("%+v", k)
	}
	if x.Name != "xks" || x.Mount != "xks" || x.Listener.Address != "127.0.0.1:8443" ||
		x.Deadline != 200*time.Millisecond {
		t.Errorf("%+v", x)
	}
}

func TestGatewaysThatAreRefused(t *testing.T) {
	t.Parallel()
	const kms = "gateway \"kmsv2\" {\n  socket = \"/s\"\n  key = \"k\"\n  policies = [\"p\"]\n"
	for stanza, want := range map[string]string{
		"gateway \"kmip\" {}\n": `use "kmsv2" or "xks"`,
		"gateway \"kmsv2\" {\n  socket = \"s\"\n  key = \"k\"\n  policies = [\"p\"]\n}\n":          "absolute",
		"gateway \"kmsv2\" {\n  socket = \"@s\"\n  key = \"k\"\n  policies = [\"p\"]\n}\n":         "absolute",
		"gateway \"kmsv2\" {\n  socket = \"/s\"\n  policies = [\"p\"]\n}\n":                        "key is missing",
		"gateway \"kmsv2\" {\n  socket = \"/s\"\n  key = \"k\"\n}\n":                               "policies is missing",
		"gateway \"kmsv2\" {\n  socket = \"/s\"\n  key = \"k\"\n  policies = [\"a\", \"root\"]\n}": "must not name root",
		kms + "  peer_uids = [\"me\"]\n}\n":                                                        "which are numbers",
		kms + "  deadline = \"1m\"\n}\n":                                                           "deadline",
		kms + "  name = \"A b\"\n}\n":                                                              "name must be",
		kms + "  adress = \"a\"\n}\n":                                                              "not a known key",
		kms + "}\n" + kms + "}\n":                                                                  "already at",
		kms + "}\n" + kms + "  name = \"b\"\n}\n":                                                  "has the socket of",
		"gateway \"xks\" {\n  address = \"127.0.0.1:1\"\n}\n":                                      "tls_cert_file",
		"gateway \"xks\" {\n  deadline = \"0s\"\n}\n":                                              "deadline",
		"gateway \"xks\" {\n  tls_cert_file = \"/c\"\n}\n":                                         "not a known key",
	} {
		if _, err := loadGateways(t, stanza); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", stanza, err, want)
		}
	}
}
