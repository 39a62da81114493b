package sealtypes

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

// sdks are import paths that only the provider of a seal type may bring into the program.
var sdks = map[string]string{
	"alicloudkms":   "github.com/aliyun/alibaba-cloud-sdk-go/",
	"awskms":        "github.com/aws/aws-sdk-go-v2/service/kms",
	"azurekeyvault": "github.com/Azure/azure-sdk-for-go/",
	"gcpckms":       "cloud.google.com/go/kms/",
	"ocikms":        "github.com/oracle/oci-go-sdk/",
	"kmip":          "github.com/sealgate/sealgate/seals/kmip",
	"tpm2":          "github.com/google/go-tpm/",
	"transit":       "github.com/sealgate/sealgate/seals/transit",
	"pkcs11":        "github.com/sealgate/sealgate/seals/pkcs11",
}

func goTool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = filepath.Join("..", "..", "..")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestProvidersCanBeLeftOut builds the program without any provider that has a build tag. No SDK
// is linked, and a stanza of each type says that the type was left out.
func TestProvidersCanBeLeftOut(t *testing.T) {
	t.Parallel()
	var tags []string
	for sealType := range sdks {
		tags = append(tags, "no_"+sealType)
	}
	slices.Sort(tags)
	flags := "-tags=" + strings.Join(tags, ",")
	linked := goTool(t, "list", "-deps", flags, "./cmd/sealgate")
	all := goTool(t, "list", "-deps", "./cmd/sealgate")
	for sealType, path := range sdks {
		if strings.Contains("\n"+linked, "\n"+path) {
			t.Errorf("no_%s: %s is linked", sealType, path)
		}
		if !strings.Contains("\n"+all, "\n"+path) {
			t.Errorf("without tags, %s is not linked: the test checks nothing", path)
		}
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "sealgate")
	goTool(t, "build", flags, "-o", program, "./cmd/sealgate")
	for sealType := range sdks {
		config := filepath.Join(dir, sealType+".hcl")
		text := "storage \"inmem\" {}\nlistener \"tcp\" {\n  address = \"127.0.0.1:0\"\n  tls_disable = true\n}\n" +
			"seal \"" + sealType + "\" {}\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), program, "server", "-config", config).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "built without this seal type (-tags no_"+sealType+")") {
			t.Errorf("%s: %v\n%s", sealType, err, out)
		}
	}
}

func TestLeftOut(t *testing.T) {
	t.Parallel()
	_, err := leftOut("awskms")(seals.Config{Name: "main"})
	if seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), `seal "awskms" "main"`) {
		t.Error(err)
	}
	for sealType, factory := range Factories() {
		if factory == nil {
			t.Errorf("%s has no constructor", sealType)
		}
	}
}
