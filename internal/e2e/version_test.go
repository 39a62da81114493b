package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/version"
	"github.com/sealgate/sealgate/recovery"
)

// TestVersionGates reads versions as clients do that switch features on by them: hvac's own tests
// parse `vault -version`, Terraform's provider sys/health, others sys/seal-status. Before, "0.1.0"
// switched almost everything off.
func TestVersionGates(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.addConfig("api_version = \"1.13.4\"\n")
	r.mustStart()
	shares := r.mustInit()
	for _, path := range []string{"sys/health", "sys/seal-status"} {
		var got struct {
			Version string `json:"version"`
			Ours    string `json:"sealgate_version"`
		}
		r.decode(r.must(200, "GET", path, nil), &got)
		if got.Version != "1.13.4+sealgate."+version.Release || got.Ours != version.Release {
			t.Errorf("%s: %+v", path, got)
		}
	}
	link := filepath.Join(t.TempDir(), "vault")
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	strict := regexp.MustCompile(`^Vault v([0-9]+\.[0-9]+\.[0-9]+) \(Sealgate v[^ ]+\)\n$`)
	for _, argv := range [][]string{{link, "-version"}, {link, "version"}, {binary, "version", "-format=vault"}} {
		out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
		if m := strict.FindStringSubmatch(string(out)); err != nil || m == nil || m[1] != version.APILevel {
			t.Errorf("%s: %q, %v", argv, out, err)
		}
	}
	r.rootByOTP(shares, strings.Repeat("x", 26), "s.")
	r.rootByOTP(shares, strings.Repeat("x", 28), "hvs.")
}

// rootByOTP generates a root token with a one-time password of the length that clients derive from
// the version, and uses it.
func (r *harness) rootByOTP(shares []string, otp, prefix string) {
	r.t.Helper()
	var st struct {
		Nonce   string `json:"nonce"`
		Encoded string `json:"encoded_root_token"`
	}
	r.decode(r.must(200, "PUT", "sys/generate-root/attempt", map[string]string{"otp": otp}), &st)
	for _, share := range shares {
		reply := r.must(200, "PUT", "sys/generate-root/update", map[string]string{"key": share, "nonce": st.Nonce})
		if r.decode(reply, &st); st.Encoded != "" {
			break
		}
	}
	token, err := recovery.DecodeToken(st.Encoded, otp)
	if err != nil || !strings.HasPrefix(token, prefix) || len(token) != len(otp) {
		r.t.Fatalf("with %d characters: a token of %d characters, %v", len(otp), len(token), err)
	}
	old := r.root
	r.root = token
	r.must(http.StatusOK, "GET", "sys/mounts", nil)
	r.root = old
}
