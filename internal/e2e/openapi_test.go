package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const schemathesisDir = "../../testdata/clients/schemathesis"

// notTried are the paths that would end the run, or make the rest of it worth nothing: sealing, a
// stream without an end, statuses that the query asks for (500 among them), the loss of the token,
// audit devices at random paths, and quotas at random rates.
const notTried = `^/(sys/(seal|monitor|health)|auth/token/revoke-self|sys/audit/\{path\}|sys/quotas/rate-limit/.*)$`

// cases is how many requests there are at least.
const cases = 2000

var generated = regexp.MustCompile(`(\d+) generated`)

// TestOpenAPIAgainstItself has schemathesis make requests from the server's own document, good and
// bad ones: no answer may be a 500, of an undocumented status, or of another content type than the
// document says.
func TestOpenAPIAgainstItself(t *testing.T) {
	t.Parallel()
	python := pinnedPython(t, schemathesisDir)
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	document := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(document, r.must(200, "GET", "sys/internal/specs/openapi", nil).Body, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(python), "schemathesis"), "run", document,
		"--url", r.URL()+"/v1",
		"-H", "X-Vault-Token: "+r.root, "--exclude-path-regex", notTried,
		"-c", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
		"--phases", "examples,coverage,fuzzing", "--max-examples", "3", "--seed", "1", "--generation-database", "none",
		"--workers", "1", // with more, Python 3.11's parser fails at times: "AST constructor recursion depth mismatch"
		"--continue-on-failure", "--no-shrink", "--warnings", "off", "--no-color")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n := 0
	if m := generated.FindSubmatch(out); m != nil {
		n, err = strconv.Atoi(string(m[1]))
	}
	if n < cases || err != nil {
		t.Errorf("%d cases; at least %d are wanted\n%s", n, cases, out)
	}
	r.must(200, "GET", "sys/health", nil)
	for _, trouble := range []string{"a handler panicked", "internal error"} {
		if strings.Contains(r.Log(), trouble) {
			t.Errorf("the log has %q", trouble)
		}
	}
}
