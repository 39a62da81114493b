package layout

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const outside = "../../testdata/outside"

// TestPublicPackagesFromOutside builds and vets a foreign module that imports the public packages.
// It fails if an exported signature needs a type that only this module can construct.
func TestPublicPackagesFromOutside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// The go command completes a copy of go.mod from this module's requirements and sums, so
	// neither the network nor a second list of versions is needed.
	for to, from := range map[string]string{"go.mod": filepath.Join(outside, "go.mod"), "go.sum": "../../go.sum"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, verb := range []string{"build", "vet"} {
		cmd := exec.CommandContext(t.Context(), "go", verb, "-mod=mod", "-modfile="+filepath.Join(dir, "go.mod"), "./...")
		cmd.Dir = outside
		cmd.Env = append(os.Environ(), "GOPROXY=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", verb, err, out)
		}
	}
}
