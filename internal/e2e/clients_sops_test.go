//go:build sops

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sops is SOPS, unmodified, in a folder of files.
type sops struct {
	*harness
	program, token, folder string
}

// run returns what SOPS prints, which is an error where it fails.
func (s *sops) run(fails bool, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Dir = s.folder
	cmd.Env = []string{"HOME=" + s.folder, "PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + s.URL(), "VAULT_TOKEN=" + s.token}
	out, err := cmd.CombinedOutput()
	if (err != nil) != fails {
		s.t.Fatalf("sops %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *sops) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestSOPS: with the rights that `policy template sops` prints, SOPS encrypts, decrypts and edits
// files with a transit key, across rotations, and with a second key; with more it publishes to kv.
func TestSOPS(t *testing.T) {
	t.Parallel()
	program, err := filepath.Abs("../../build/sops")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: make test-sops puts it there", err)
	}
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(204, "POST", "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	for _, key := range []string{"app", "second"} {
		r.must(200, "POST", "transit/keys/"+key, nil)
	}
	policy, err := r.CLI(t.Context(), "", "", "policy", "template", "-key=app", "sops")
	if err != nil || policy.Code != 0 {
		t.Fatalf("%v: %+v", err, policy)
	}
	s := &sops{harness: r, program: program, folder: t.TempDir(), token: r.tokenFor("sops", policy.Out)}
	uri := r.URL() + "/v1/transit/keys/"
	s.write("plain.yaml", "db: secret\nlist:\n    - a\n    - b\n")
	s.write(".sops.yaml", "creation_rules:\n  - hc_vault_transit_uri: "+uri+"app\ndestination_rules:\n"+
		"  - path_regex: public/.*\n    vault_path: app/\n    vault_kv_mount_name: secret/\n    vault_kv_version: 2\n")
	same := func(name string) {
		t.Helper()
		if got := s.run(false, "decrypt", name); got != "db: secret\nlist:\n    - a\n    - b\n" {
			t.Errorf("%s decrypts to %q", name, got)
		}
	}
	s.write("a.yaml", s.run(false, "encrypt", "plain.yaml"))
	same("a.yaml")
	r.must(200, "POST", "transit/keys/app/rotate", nil)
	same("a.yaml")
	rotated := s.run(false, "rotate", "a.yaml")
	if !strings.Contains(rotated, "vault:v2:") {
		t.Errorf("a new data key is encrypted as before:\n%s", rotated)
	}
	s.write("b.yaml", rotated)
	same("b.yaml")
	s.run(false, "set", "b.yaml", `["db"]`, `"new"`)
	if got := strings.TrimSpace(s.run(false, "decrypt", "--extract", `["db"]`, "b.yaml")); got != "new" {
		t.Errorf("the value that was set is %q", got)
	}
	said := s.run(true, "encrypt", "--hc-vault-transit", uri+"second", "plain.yaml")
	if !strings.Contains(said, "permission denied") {
		t.Errorf("a key without rights: %s", said)
	}

	s.token = r.root
	s.write("c.yaml", s.run(false, "rotate", "--add-hc-vault-transit", uri+"second", "a.yaml"))
	r.must(200, "POST", "transit/keys/app/config", map[string]any{"deletion_allowed": true})
	r.must(204, "DELETE", "transit/keys/app", nil)
	same("c.yaml") // by the second key
	s.run(true, "decrypt", "a.yaml")
	s.write("public/c.yaml", s.run(false, "rotate", "--rm-hc-vault-transit", uri+"app", "c.yaml"))
	s.run(false, "publish", "--yes", "public/c.yaml")
	data := r.data(200, "GET", "secret/data/app/c.yaml", nil)["data"].(map[string]any)
	if data["db"] != "secret" {
		t.Errorf("published: %v", data)
	}
}
