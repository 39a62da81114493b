package adversary

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/static"
)

// buildErasing compiles the program without the race detector, which keeps copies of memory, and
// with the experiment that erases.
func buildErasing(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "sealgate")
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin, "github.com/sealgate/sealgate/cmd/sealgate")
	cmd.Env = append(os.Environ(), "GOEXPERIMENT=runtimesecret")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestMemoryReaderFindsNoShares: root reads the memory of an unsealed server after a rekey of its
// recovery shares. No share, old or new, and no root key is outside the locked pages.
func TestMemoryReaderFindsNoShares(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		testkit.Missing(t, "the memory of a server is closed to other users than root")
	}
	a := newTargetBuilt(t, buildErasing(t), staticSeal, "", 3)
	secrets := map[string][]byte{}
	hunt := func(name string, shares []string) {
		for i, s := range shares {
			raw, err := hex.DecodeString(s)
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%s share %d", name, i+1)
			secrets[name] = raw
			secrets[name+" in hexadecimal"] = []byte(s)
			secrets[name+" in base64"] = []byte(base64.StdEncoding.EncodeToString(raw)[:40])
		}
	}
	hunt("old", a.shares)
	hunt("new", a.rekeyRecovery())
	root := a.rootKey()
	defer root.Destroy()
	secrets["root key"] = root.Expose()
	a.unfound(secrets)
}

// rekeyRecovery replaces the recovery shares and returns the new ones.
func (a *target) rekeyRecovery() []string {
	a.t.Helper()
	var attempt struct{ Nonce string }
	a.must(200, "PUT", "sys/rekey-recovery-key/init", a.root, map[string]int{"secret_shares": 3, "secret_threshold": 2},
		&attempt)
	var out struct{ Keys []string }
	for _, s := range a.shares[:2] {
		a.must(200, "PUT", "sys/rekey-recovery-key/update", "", map[string]string{"key": s, "nonce": attempt.Nonce}, &out)
	}
	if len(out.Keys) != 3 {
		a.t.Fatalf("the rekey returned %d shares", len(out.Keys))
	}
	return out.Keys
}

// rootKey unwraps the stored root key as the static seal does.
func (a *target) rootKey() *seals.Secret {
	a.t.Helper()
	w, err := static.New(seals.Config{Name: "box", Type: "static", Params: map[string]string{
		"current_key_id": "k1", "current_key": strings.Repeat("5c", 32),
	}})
	if err != nil {
		a.t.Fatal(err)
	}
	set, err := seals.NewSet([]seals.Seal{{Name: "box", Type: "static", Wrapper: w}}, seals.Options{})
	if err != nil {
		a.t.Fatal(err)
	}
	defer set.Close() //nolint:errcheck // it has no connection
	root, err := set.Unwrap(a.t.Context(), a.record(), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	return root
}

// unfound looks for secrets in all memory of the server that is not locked. What was released is
// erased when it is collected, so that the last attempt counts.
func (a *target) unfound(secrets map[string][]byte) {
	a.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		found := a.search(secrets)
		if len(found) == 0 {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("in the memory of the server:\n%s", strings.Join(found, "\n"))
		}
		a.do("PUT", "sys/unseal", "", map[string]string{"key": strings.Repeat("ab", 33)}) // collects
	}
}

// begins matches the first line of a mapping in smaps.
var begins = regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+ `)

// search returns where secrets are in memory. It reads the mappings that are not locked.
func (a *target) search(secrets map[string][]byte) (found []string) {
	a.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", a.Pid())
	smaps, err := os.ReadFile(proc + "smaps")
	if err != nil {
		a.t.Fatal(err)
	}
	mem, err := os.Open(proc + "mem")
	if err != nil {
		a.t.Fatal(err)
	}
	defer mem.Close()
	var from, to uint64
	var perms, name string
	for line := range strings.Lines(string(smaps)) {
		if begins.MatchString(line) {
			if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); err != nil {
				a.t.Fatalf("%v: %s", err, line)
			}
			name = strings.TrimSpace(line)
			continue
		}
		flags, ok := strings.CutPrefix(line, "VmFlags:")
		if !ok || perms[0] != 'r' || strings.Contains(flags, " lo") || strings.Contains(name, "[vvar") ||
			strings.Contains(name, "[vsyscall") {
			continue
		}
		data := make([]byte, to-from)
		n, _ := mem.ReadAt(data, int64(from)) // the rest of a mapping may have no memory
		for what, value := range secrets {
			if at := bytes.Index(data[:n], value); at >= 0 {
				found = append(found, fmt.Sprintf("%s at %x in %s: %q", what, from+uint64(at), name,
					data[max(0, at-60):min(n, at+len(value)+30)]))
			}
		}
	}
	return found
}
