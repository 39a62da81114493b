package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const hvacDir = "../../testdata/clients/hvac"

// installing is held while something is fetched into build/, which several tests may need.
var installing sync.Mutex

// pinnedPython returns a Python that has what the folder's requirements.txt pins. It is made once
// for these versions, and kept in build/.
func pinnedPython(t *testing.T, folder string) string {
	t.Helper()
	pins, err := os.ReadFile(filepath.Join(folder, "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append(pins, runtime.GOOS+runtime.GOARCH...))
	dir, err := filepath.Abs("../../build/" + filepath.Base(folder) + "-" + hex.EncodeToString(sum[:4]))
	if err != nil {
		t.Fatal(err)
	}
	installing.Lock()
	defer installing.Unlock()
	python, done := filepath.Join(dir, "bin", "python"), filepath.Join(dir, "installed")
	if _, err := os.Stat(done); err == nil {
		return python
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--no-deps",
			"-r", filepath.Join(folder, "requirements.txt")},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s\nPython 3 with its venv module and the package index are needed; .ci/setup installs the first",
				args, err, out)
		}
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return python
}

// TestHVAC drives a server by hvac, Python's client, unmodified.
func TestHVAC(t *testing.T) {
	t.Parallel()
	python := pinnedPython(t, hvacDir)
	for seal, start := range map[string]func(*testing.T) *harness{"shamir": newShamirHarness, "auto": newStaticHarness} {
		t.Run(seal, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.mustStart()
			alice, key := pgpIdentity(t)
			var out struct {
				RootToken    string   `json:"root_token"`
				EncodedToken string   `json:"encoded_token"`
				Shares       []string `json:"shares"`
			}
			r.python(python, filepath.Join(hvacDir, "main.py"), map[string]string{"url": r.URL(), "seal": seal, "pgp_key": key},
				&out)
			r.root = pgpRead(t, alice, out.EncodedToken)
			r.must(200, "GET", "sys/mounts", nil)
			for _, share := range out.Shares {
				r.must(200, "PUT", "sys/recovery/prove", map[string]string{"key": share})
			}
		})
	}
}

// python runs a program that reads JSON and writes JSON.
func (r *harness) python(python, program string, in, out any) {
	r.t.Helper()
	order, err := json.Marshal(in)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, program)
	cmd.Stdin = bytes.NewReader(order)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%s: %v\n%s", program, err, stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		r.t.Fatalf("%s wrote %q: %v", program, stdout.String(), err)
	}
}

// pgpIdentity is a PGP key, and its public part as clients send it.
func pgpIdentity(t *testing.T) (openpgp.EntityList, string) {
	t.Helper()
	e, err := openpgp.NewEntity("alice", "", "alice@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return openpgp.EntityList{e}, base64.StdEncoding.EncodeToString(b.Bytes())
}

// pgpRead decrypts a message in base64.
func pgpRead(t *testing.T, keys openpgp.EntityList, message string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	m, err := openpgp.ReadMessage(bytes.NewReader(raw), keys, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(m.UnverifiedBody)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}
