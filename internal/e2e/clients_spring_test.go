package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
)

// TestSpringVaultTransit drives a server by Spring Vault's transit template, unmodified. Maven
// resolves it, the first time from a repository.
func TestSpringVaultTransit(t *testing.T) {
	t.Parallel()
	mvn, java := testkit.Require(t, "mvn"), testkit.Require(t, "java")
	dir := filepath.Join(clientsDir, "spring-vault")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	list := filepath.Join(t.TempDir(), "classpath")
	if out, err := exec.CommandContext(ctx, mvn, "--quiet", "--batch-mode", "--file", filepath.Join(dir, "pom.xml"),
		"dependency:build-classpath", "-Dmdep.outputFile="+list).CombinedOutput(); err != nil {
		t.Fatalf("mvn: %v\n%s", err, out)
	}
	classpath, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	r := newTransitServer(t)
	cmd := exec.CommandContext(ctx, java, "-cp", strings.TrimSpace(string(classpath)), filepath.Join(dir, "Transit.java"),
		r.URL())
	cmd.Env = append(os.Environ(), "TOKEN="+r.root)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "done") {
		t.Fatalf("%v\n%s", err, out)
	}
}
