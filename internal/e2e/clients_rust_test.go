package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestVaultRS drives a server by vaultrs, Rust's client, unmodified, over TLS, where there is a
// cargo that can build it: of Rust 1.88 or newer. What it builds of the pinned versions is kept in
// build/. Without one the test's log says what was not driven.
func TestVaultRS(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "cargo", "--version").Output()
	var minor int
	if _, scanned := fmt.Sscanf(string(out), "cargo 1.%d.", &minor); err != nil || scanned != nil || minor < 88 {
		t.Logf("vaultrs is not driven: it needs cargo 1.88 or newer, and there is %q, %v", out, err)
		return
	}
	target, err := filepath.Abs("../../build/vaultrs")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	manifest := filepath.Join(clientsDir, "vaultrs", "Cargo.toml")
	if out, err := exec.CommandContext(ctx, "cargo", "build", "--quiet", "--locked", "--manifest-path", manifest,
		"--target-dir", target).CombinedOutput(); err != nil {
		t.Fatalf("cargo build: %v\n%s\nthe index of crates is needed the first time", err, out)
	}
	r := newShamirHarness(t)
	a, _ := r.useTLS(t, "")
	r.startTLS(a)
	r.drive(nil, r.order(), filepath.Join(target, "debug", "vaultrs-client"))
}
