package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const clientsDir = "../../testdata/clients"

// prepared is the folder in build/ that belongs to the given files of a client, and whether it is
// made already. done marks it as made.
func prepared(t *testing.T, client string, files ...string) (dir string, made bool, done func()) {
	t.Helper()
	sum := sha256.New()
	sum.Write([]byte(runtime.GOOS + runtime.GOARCH))
	for _, name := range files {
		raw, err := os.ReadFile(filepath.Join(clientsDir, client, name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(raw)
	}
	dir, err := filepath.Abs("../../build/" + client + "-" + hex.EncodeToString(sum.Sum(nil)[:4]))
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(dir, "installed")
	if _, err := os.Stat(mark); err == nil {
		return dir, true, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		raw, err := os.ReadFile(filepath.Join(clientsDir, client, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir, false, func() {
		if err := os.WriteFile(mark, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// drive runs a client that reads an order as JSON, and writes JSON. What it hands back is learned
// as secret.
func (r *harness) drive(env []string, order any, argv ...string) {
	r.t.Helper()
	in, err := json.Marshal(order)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = bytes.NewReader(in)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, stderr.String())
	}
	var out struct{ Shares, Tokens []string }
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		r.t.Fatalf("%s wrote %q: %v", strings.Join(argv, " "), stdout.String(), err)
	}
	for _, share := range out.Shares {
		r.known.addShare(share)
	}
	for _, token := range out.Tokens {
		r.known.add("a token", token)
	}
}

// order is what a client program reads from standard input.
func (r *harness) order() map[string]string {
	return map[string]string{"url": "https://" + r.Addr, "ca": filepath.Join(r.Dir, "ca.crt"),
		"audit": filepath.Join(r.Dir, "audit.log")}
}

// TestNodeVault drives a server by node-vault, Node's client, unmodified, over TLS. It is fetched
// once for the versions that are pinned, and kept in build/.
func TestNodeVault(t *testing.T) {
	t.Parallel()
	dir, made, done := prepared(t, "node-vault", "package.json", "package-lock.json")
	if !made {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s\nNode with npm and its package index are needed; .ci/setup installs the first", err, out)
		}
		done()
	}
	r := newShamirHarness(t)
	a, _ := r.useTLS(t, "")
	r.startTLS(a)
	r.drive([]string{"NODE_PATH=" + filepath.Join(dir, "node_modules")}, r.order(), "node",
		filepath.Join(clientsDir, "node-vault", "main.js"))
}
