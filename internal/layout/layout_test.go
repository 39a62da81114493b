package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sealgate/sealgate/"

// pkg is the part of `go list -json` that the rules speak of.
type pkg struct {
	ImportPath, Name, Doc string
	Imports, Deps         []string
	GoFiles, CgoFiles     []string
}

func list(t *testing.T, args ...string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Doc,Imports,Deps,GoFiles,CgoFiles"},
		args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, module)] = p
	}
}

// levels is the direction of imports: a package may import those of a lower level, and of its own
// level only where within says so. The longest prefix that fits counts.
var levels = map[string]int{
	"cmd":                              100,
	"internal/server":                  85,
	"internal/e2e":                     90, // drives the real program from outside
	"internal/lint":                    90, // programs of make lint
	"internal/layout":                  90,
	"internal/cli":                     80,
	"internal/ui":                      72, // pages over the API's handler
	"internal/api":                     70, // the engine; areas import it, never the other way, and v1 joins them
	"internal/doctor":                  65,
	"internal/sidecar":                 66, // the KMS plugin as a program, with or without the server
	"internal/importer":                65, // speaks to two servers through an interface
	"internal/node":                    60,
	"internal/ceremony":                55, // acts on a node through interfaces of its own
	"internal/cosigner":                56, // over the ceremonies and the keys in devices
	"internal/ha":                      55,
	"internal/config":                  50,
	"internal/listener":                68,
	"internal/limits":                  50,
	"internal/barrier":                 40,
	"seals":                            40,
	"internal/auth/policy":             40,
	"internal/auth/token":              41,
	"internal/audit":                   40,
	"internal/auth/method":             46, // auth methods are mount backends
	"internal/mount":                   45, // a backend is handed the identity that auth established
	"internal/engine":                  47,
	"internal/gateway":                 46, // protocols of other systems, over internal/keys
	"internal/tools":                   46, // random bytes and hashes, in the form of a backend's answers
	"internal/keys":                    40, // named keys; engines and gateways serve them
	"internal/keys/device":             42, // keys in devices, over the connections of the seals' providers
	"recovery":                         30, // pure; the set of seals splits keys with it
	"internal/storage":                 20,
	"internal/testkit":                 20, // emulators and peers for tests; never linked into the program
	"internal/storage/etcd/etcdtest":   21, // test kits that use the others
	"internal/storage/postgres/pgtest": 21,
	"internal/cluster":                 20, // how nodes talk; it knows nothing of what they say
	"hsm":                              20,
	"internal/failpoint":               10,
	"internal/field":                   15, // needs fault
	"internal/fault":                   10,
	"internal/fips":                    15, // needs fault
	"internal/secret":                  10,
	"internal/signkey":                 15, // needs secret
	"internal/harden":                  10,
	"internal/logs":                    10,
	"internal/metrics":                 10,
	"internal/tracing":                 10,
	"internal/kubernetes":              10,
	"internal/sdnotify":                10,
	"internal/spelling":                5,
	"internal/clock":                   10,
	"internal/uuid":                    10,
	"internal/anchor":                  10,
	"internal/version":                 5,
	"internal/clients":                 5, // what known clients call
}

// apart are packages of one family that must not import each other: the API's engine knows no area,
// and an area imports no other than those that are named.
var apart = map[string][]string{
	"internal/api":            {"internal/api/settings"},
	"internal/api/settings":   {},
	"internal/api/sys":        {"internal/api/ceremonies"},
	"internal/api/ceremonies": {},
	"internal/api/operate":    {"internal/api/settings"},
	"internal/api/mounts":     {},
	"internal/api/raw":        {"internal/api/ceremonies", "internal/api/policies"},
	"internal/api/authn":      {},
	"internal/api/policies":   {"internal/api/authn"},
	"internal/api/openapi":    {},
	"internal/api/tools":      {},
	"internal/api/devices":    {},
}

func TestAreasOfTheAPIAreApart(t *testing.T) {
	all := list(t, "./internal/api/...")
	for path, allowed := range apart {
		for _, imp := range all[path].Imports {
			rel, ours := strings.CutPrefix(imp, module)
			if !ours || rel == "internal/api" || !strings.HasPrefix(rel, "internal/api/") || slices.Contains(allowed, rel) {
				continue
			}
			t.Errorf("%s imports %s", path, rel)
		}
	}
}

func level(path string) (int, string) {
	best := ""
	for prefix := range levels {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > len(best) {
			best = prefix
		}
	}
	return levels[best], best
}

func TestImportsPointDownwards(t *testing.T) {
	for path, p := range list(t, "./...") {
		own, family := level(path)
		if family == "" {
			t.Errorf("%s has no place in the layout: give it a level", path)
		}
		for _, imp := range p.Imports {
			rel, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			if l, other := level(rel); l >= own && other != family {
				t.Errorf("%s (level %d) imports %s (level %d)", path, own, rel, l)
			}
		}
	}
}

// only names who may import what, by prefix of the import's path.
var only = map[string][]string{
	"github.com/miekg/pkcs11":        {"hsm"},
	"github.com/hashicorp/hcl":       {"internal/config", "internal/cli", "internal/auth/policy"},
	"github.com/openbao/openbao/api": {"internal/cli", "seals/transit"},
	"github.com/hashicorp/vault/api": {}, // tests alone
	"go.opentelemetry.io/otel":       {"internal/tracing"},
	"github.com/pires/go-proxyproto": {"internal/listener"},
	"go.etcd.io/bbolt":               {"internal/storage/bbolt"},
	"go.etcd.io/etcd":                {"internal/storage/etcd"},
	"github.com/jackc/pgx":           {"internal/storage/postgres"},
	"go.etcd.io/etcd/server":         {"internal/storage/etcd/etcdtest"},
	"go.uber.org/zap":                {"internal/storage/etcd"},
	"github.com/aws/aws-sdk-go-v2":   {"seals/awskms", "internal/storage/snapshot/s3"},
	"cloud.google.com/go/kms":        {"seals/gcpckms", "internal/testkit/gcpkms"},
	"github.com/sealgate/sealgate/hsm": {"hsm", "seals/pkcs11", "internal/keys/device", "internal/server",
		"cmd/sealgate-demo"},
	"github.com/sealgate/sealgate/seals/awskms":        {"internal/keys/device", "internal/server"},
	"github.com/sealgate/sealgate/seals/gcpckms":       {"internal/keys/device", "internal/server"},
	"github.com/sealgate/sealgate/seals/pkcs11":        {"internal/keys/device", "internal/server"},
	"github.com/sealgate/sealgate/seals/shamir":        {"internal/server"},
	"github.com/sealgate/sealgate/seals/static":        {"internal/server"},
	"github.com/sealgate/sealgate/seals/transit":       {"internal/keys/device", "internal/server"},
	"github.com/sealgate/sealgate/seals/ocikms":        {"internal/server"},
	"github.com/oracle/oci-go-sdk":                     {"seals/ocikms"},
	"github.com/sealgate/sealgate/seals/alicloudkms":   {"internal/server"},
	"github.com/aliyun/alibaba-cloud-sdk-go":           {"seals/alicloudkms"},
	"github.com/sealgate/sealgate/seals/azurekeyvault": {"internal/keys/device", "internal/server"},
	"github.com/Azure/azure-sdk-for-go":                {"seals/azurekeyvault"},
	"github.com/sealgate/sealgate/internal/engine":     {"internal/server", "internal/engine"},
	"github.com/cloudflare/circl":                      {"internal/keys"}, // ML-DSA
	"github.com/go-jose/go-jose":                       {"internal/auth/method/jwt", "internal/auth/method/kubernetes"},
	"k8s.io/kms":                                       {"internal/gateway/kmsv2"},
}

func TestSomeImportsHaveOnePlace(t *testing.T) {
	for path, p := range list(t, "./...") {
		for _, imp := range p.Imports {
			for prefix, places := range only {
				if imp != prefix && !strings.HasPrefix(imp, prefix+"/") {
					continue
				}
				if !slices.ContainsFunc(places, func(place string) bool {
					return path == place ||
						strings.HasPrefix(path, place+"/")
				}) {
					t.Errorf("%s imports %s, which only %v may", path, imp, places)
				}
			}
		}
	}
}

// TestCgoStaysInHSM: everything else builds, and cross-compiles, without a C compiler.
func TestCgoStaysInHSM(t *testing.T) {
	for path, p := range list(t, "./...") {
		if (len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C")) && path != "hsm" && !strings.HasPrefix(path, "hsm/") {
			t.Errorf("%s uses cgo", path)
		}
	}
}

// TestNoTestKitIsLinked: what tests are made of is not in the program that people run.
func TestNoTestKitIsLinked(t *testing.T) {
	kits := []string{"testing", module + "seals/sealtest", module + "internal/testkit",
		module + "internal/storage/storagetest", module + "internal/keys/device/devicetest",
		module + "internal/storage/etcd/etcdtest",
		module + "internal/storage/postgres/pgtest",
		"go.etcd.io/etcd/server/v3/embed", module + "internal/e2e", module + "hsm/hsmtest",
		"go.uber.org/goleak", "pgregory.net/rapid", "github.com/hashicorp/vault/api"}
	for path, p := range list(t, "./cmd/sealgate") {
		for _, kit := range kits {
			if slices.ContainsFunc(p.Deps, func(d string) bool { return d == kit || strings.HasPrefix(d, kit+"/") }) {
				t.Errorf("%s links %s", path, kit)
			}
		}
	}
}

// TestSidecarStaysSmall: the plugin of a control plane links neither the server nor any SDK, so
// that it needs less than 25 MB of memory.
func TestSidecarStaysSmall(t *testing.T) {
	heavy := []string{"internal/server", "internal/cli", "internal/node", "internal/engine", "internal/storage/",
		"internal/api", "seals/", "hsm", "cmd/sealgate"}
	sdks := []string{"github.com/aws/", "cloud.google.com/", "github.com/Azure/", "github.com/openbao/openbao/api",
		"go.etcd.io/", "github.com/jackc/", "go.opentelemetry.io/", "k8s.io/apimachinery", "k8s.io/client-go"}
	for path, p := range list(t, "./cmd/sealgate-kms-plugin") {
		for _, d := range p.Deps {
			rel, ours := strings.CutPrefix(d, module)
			if ours && slices.ContainsFunc(heavy, func(h string) bool { return rel == h || strings.HasPrefix(rel, h) }) ||
				slices.ContainsFunc(sdks, func(s string) bool { return strings.HasPrefix(d, s) }) {
				t.Errorf("%s links %s", path, d)
			}
		}
	}
}

func TestEveryPackageSaysWhatItPromises(t *testing.T) {
	for path, p := range list(t, "./...") {
		if len(strings.Fields(p.Doc)) < 5 {
			t.Errorf("%s: the package comment is missing, or says nothing: %q", path, p.Doc)
		}
	}
}

func TestTopLevel(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	allowed := []string{"cmd", "seals", "hsm", "recovery", "testdata", "internal",
		"docker-compose.yml", "go.mod", "go.sum", "README.md", "LICENSE", "Makefile"}
	for f := range strings.FieldsSeq(string(out)) {
		top, _, _ := strings.Cut(f, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(allowed, top) {
			t.Errorf("%s is not in the agreed layout", f)
		}
	}
}

// TestArchitectureNamesWhatExists: every path in backticks in the architecture text is in the tree.
func TestArchitectureNamesWhatExists(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	path := regexp.MustCompile("`((?:cmd|hsm|seals|recovery|internal|testdata)/[A-Za-z0-9_./-]*)`")
	found := path.FindAllSubmatch(text, -1)
	if len(found) < 20 {
		t.Fatalf("only %d paths found: has the form of the text changed?", len(found))
	}
	for _, m := range found {
		if _, err := os.Stat(filepath.Join("../..", string(m[1]))); err != nil {
			t.Errorf("ARCHITECTURE.md names %s: %v", m[1], err)
		}
	}
}

// TestTextsNameTests: every test that the threat model and the table of drills name exists.
func TestTextsNameTests(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "grep", "-hoE", `^func Test[A-Za-z0-9_]+\(`, "--", "*_test.go").Output()
	if err != nil {
		t.Fatalf("git grep: %v", err)
	}
	for _, name := range []string{"THREATS.md", "e2e/DRILLS.md"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllSubmatch(text, -1)
		if len(named) < 15 {
			t.Fatalf("%s: only %d tests found: has the form of the text changed?", name, len(named))
		}
		for _, m := range named {
			if !bytes.Contains(out, []byte("func "+string(m[1])+"(")) {
				t.Errorf("%s names %s, which does not exist", name, m[1])
			}
		}
	}
}
