package secret_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/secret"
)

func TestCheckPath(t *testing.T) {
	t.Parallel()
	odd := filepath.Join(t.TempDir(), strings.Repeat("A9", 20))
	if err := os.WriteFile(odd, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"", "/etc/sealgate/pin", "./creds", "../a/b", "creds.json", "secrets/sa.json",
		"/run/secrets/eks.amazonaws.com/token", odd,
	} {
		if err := secret.CheckPath("p", path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
		if path != "" && secret.ShowPath(path) != path {
			t.Errorf("%q is not shown", path)
		}
	}
	account := `{"type":"service_account","private_key":"MARK"}`
	for _, value := range []string{
		"1234", "MARK", "hvs.MARK", account, "\ufeff" + account, "'" + account + "'",
		base64.StdEncoding.EncodeToString([]byte(account)),
		"-----BEGIN PRIVATE KEY-----\nMARK\n", "eyJhbGciOi.eyJNQVJLIjox.MARK", "/" + strings.Repeat("MARK1a", 8),
		strings.Repeat("/MARK", 300),
		"/" + base64.StdEncoding.EncodeToString([]byte(account)),
	} {
		err := secret.CheckPath("p", value)
		if !errors.Is(err, secret.ErrNotPath) {
			t.Errorf("%q: %v", value, err)
			continue
		}
		_, open := os.Open(value)
		for _, text := range []string{err.Error(), secret.ShowPath(value), secret.PathError(open, value).Error()} {
			if strings.Contains(text, value) || strings.Contains(text, "MARK") {
				t.Errorf("%q is shown: %s", value, text)
			}
		}
	}
	if got := secret.ShowEnv("1234"); strings.Contains(got, "1234") {
		t.Error(got)
	}
	if got := secret.ShowEnv("HSM_PIN"); got != "HSM_PIN" {
		t.Error(got)
	}
}
