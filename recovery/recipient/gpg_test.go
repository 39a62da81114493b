package recipient

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
)

// TestGnuPGReadsTheMessages has gpg make keys, export them, and decrypt what was encrypted to them.
// Without gpg there is nothing to compare with; the other tests read the messages with a library.
func TestGnuPGReadsTheMessages(t *testing.T) {
	t.Parallel()
	gpg := testkit.Require(t, "gpg")
	home, err := os.MkdirTemp("", "gpg") // a short path: the agent's socket lies in it
	if err != nil {
		t.Fatal(err)
	}
	run := func(stdin []byte, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), gpg,
			append([]string{"--homedir", home, "--batch", "--quiet", "--no-tty",
				"--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
		cmd.Stdin = bytes.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
		}
		return out
	}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	for user, algorithm := range map[string]string{"ann": "rsa2048", "bea": "future-default"} {
		run(nil, "--quick-generate-key", user, algorithm, "default", "never")
		if algorithm == "rsa2048" {
			run(nil, "--quick-add-key", fingerprint(run(nil, "--with-colons", "--fingerprint", user)), "rsa2048",
				"encr", "never")
		}
		want := fingerprint(run(nil, "--with-colons", "--fingerprint", user))
		for form, text := range map[string]string{
			"binary":  string(run(nil, "--export", user)),
			"armored": string(run(nil, "--armor", "--export", user)),
		} {
			r, err := Parse(text, time.Now())
			if err != nil {
				t.Errorf("%s, %s: %v", algorithm, form, err)
				continue
			}
			if r.Fingerprint() != want {
				t.Errorf("%s, %s: fingerprint %s, and gpg says %s", algorithm, form, r.Fingerprint(), want)
			}
			message, err := r.Encrypt([]byte("0123456789abcdef"))
			if err != nil {
				t.Fatal(err)
			}
			if got := run(message, "--decrypt"); string(got) != "0123456789abcdef" {
				t.Errorf("%s, %s: gpg reads %q", algorithm, form, got)
			}
			file := filepath.Join(home, "compact")
			if err := os.WriteFile(file, []byte(r.Compact()), 0o600); err != nil {
				t.Fatal(err)
			}
			if shown := fingerprint(run(nil, "--with-colons", "--import-options", "show-only", "--import",
				file)); shown != want {
				t.Errorf("%s, %s: gpg reads the compact key as %s", algorithm, form, shown)
			}
		}
	}
}

// fingerprint is the first one in gpg's listing.
func fingerprint(colons []byte) string {
	for line := range strings.Lines(string(colons)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); f[0] == "fpr" {
			return strings.ToLower(f[9])
		}
	}
	return ""
}
