package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMigrate copies a server's storage to another folder, after attempts that must not harm it,
// and serves from there.
func TestMigrate(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.mustStart()
	shares := r.mustInit()
	r.mustPut("a", "kept")
	file := filepath.Join(r.Dir, "migrate.hcl")
	write := func(from, to string) {
		t.Helper()
		text := fmt.Sprintf("storage_source \"bbolt\" {\n  path = %q\n}\nstorage_destination \"bbolt\" {\n  path = %q\n}\n",
			from, to)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(code int, want string, args ...string) {
		t.Helper()
		res, err := r.CLI(t.Context(), "", "", append([]string{"operator", "migrate"}, args...)...)
		if err != nil || res.Code != code || !strings.Contains(res.Out+res.Err, want) {
			t.Fatalf("%v: exit %d, %v; want %d and %q\n%s%s", args, res.Code, err, code, want, res.Out, res.Err)
		}
	}
	write("data", "moved")
	run(1, "-config=FILE")
	run(1, "no such file", "-config=elsewhere.hcl")
	run(2, "in use", "-config=migrate.hcl") // the server runs
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	run(0, "Success!", "-config=migrate.hcl")
	run(2, "already contains data", "-config=migrate.hcl")
	config, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteConfig(strings.Replace(string(config), `"data"`, `"moved"`, 1)); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	r.mustGet("a", "kept")
	proof := r.must(200, "PUT", "sys/recovery/prove", map[string]string{"key": shares[0]})
	if !strings.Contains(string(proof.Body), `"proven":true`) {
		t.Errorf("a share after the migration: %s", proof.Body)
	}
}
