package gcpckms_test

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/gcpckms"
)

var good = map[string]string{"project": "trial-project", "region": "global", "key_ring": "r", "crypto_key": "k"}

func TestInvalidStanzas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, param, value, want string
	}{
		{"no project", "project", "", "project is required"},
		{"no region", "region", "", "region is required"},
		{"no ring", "key_ring", "", "key_ring is required"},
		{"no key", "crypto_key", "", "crypto_key is required"},
		{"a path for a project", "project", "a/locations/b", "project ="},
		{"a path for a region", "region", "../global", "region ="},
		{"a path for a ring", "key_ring", "r/cryptoKeys/k", "key_ring ="},
		{"a version for a key", "crypto_key", "k/cryptoKeyVersions/1", "crypto_key ="},
		{"a key that is too long", "crypto_key", strings.Repeat("k", 64), "crypto_key ="},
		{"misspelt", "crypto_kee", "k", `did you mean "crypto_key"?`},
		{"no TLS", "endpoint", "http://127.0.0.1:9010", "over TLS"},
		{"a path in the endpoint", "endpoint", "https://127.0.0.1:9010/v1", "endpoint ="},
		{"a port that is none", "endpoint", "localhost:kms", "endpoint ="},
		{"no host", "endpoint", ":9010", "endpoint ="},
		{"no number", "timeout", "soon", "timeout ="},
		{"too short", "timeout", "1ms", "timeout ="},
		{"too long", "timeout", "3600", "timeout ="},
		{"no boolean", "disable_env_vars", "perhaps", "true or false"},
		{"no credentials", "credentials", `{"type":"nonsense","private_key":"SECRET"}`, "credentials"},
		{"broken credentials", "credentials", `{"private_key":"SECRET`, "credentials"},
		{"no such variable", "credentials", "env://NOT_SET", "NOT_SET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			params := maps.Clone(good)
			params[c.param] = c.value
			_, err := gcpckms.New(seals.Config{Name: "s", Type: "gcpckms", Params: params,
				Getenv: func(string) string { return "" }})
			if f := seals.Classify(err); f == nil || f.Class != seals.Misconfigured || f.Remedy == "" ||
				!strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want misconfigured, with %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Error("the error shows the credentials")
			}
		})
	}
}

// TestPrecedenceOfParameters: the environment takes precedence over the stanza, unless it is
// disabled.
func TestPrecedenceOfParameters(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"GOOGLE_PROJECT": "env-project", "GOOGLE_REGION": "europe-west3", "VAULT_GCPCKMS_SEAL_KEY_RING": "vault-ring",
		"GCPCKMS_WRAPPER_CRYPTO_KEY": "env-key", "VAULT_GCPCKMS_SEAL_CRYPTO_KEY": "weaker",
	}
	const fromEnv = "projects/env-project/locations/europe-west3/keyRings/vault-ring/cryptoKeys/env-key"
	const fromStanza = "projects/trial-project/locations/global/keyRings/r/cryptoKeys/k"
	for _, c := range []struct {
		name   string
		params map[string]string
		want   string
	}{
		{"environment alone", nil, fromEnv},
		{"environment wins", good, fromEnv},
		{"environment forbidden", map[string]string{"disable_env_vars": "true"}, fromStanza},
	} {
		params := maps.Clone(c.params)
		if c.params["disable_env_vars"] != "" {
			maps.Copy(params, good)
		}
		w, err := gcpckms.New(seals.Config{Name: "s", Type: "gcpckms", Params: params,
			Getenv: func(n string) string { return env[n] }})
		must(t, err)
		if id, err := w.KeyId(t.Context()); err != nil || id != c.want {
			t.Errorf("%s: %q, %v; want %q", c.name, id, err, c.want)
		}
		must(t, w.(*gcpckms.Wrapper).Close())
	}
	if _, err := gcpckms.New(seals.Config{Params: good}); err != nil {
		t.Errorf("without an environment: %v", err)
	}
}

// TestEndpoints: a host alone, with a port, and with a scheme.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"kms.example": "kms.example:443", "kms.example:9010": "kms.example:9010",
		"https://kms.example:9010/": "kms.example:9010",
		"https://kms.example":       "kms.example:443", "[::1]:9010": "[::1]:9010",
	} {
		params := maps.Clone(good)
		params["endpoint"] = given
		w, err := gcpckms.New(seals.Config{Params: params})
		must(t, err)
		meta, err := w.SetConfig(t.Context())
		must(t, err)
		if got := meta.Metadata["endpoint"]; got != want {
			t.Errorf("%s is parsed as %s; want %s", given, got, want)
		}
	}
}

// TestCredentialsParameter: a path, file://, JSON, a variable with JSON, and Google's variable.
func TestCredentialsParameter(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	json, err := os.ReadFile(r.account)
	must(t, err)
	for name, c := range map[string]struct {
		value string
		env   map[string]string
	}{
		"path":      {value: r.account},
		"file":      {value: "file://" + r.account},
		"JSON":      {value: string(json)},
		"variable":  {value: "env://CREDS", env: map[string]string{"CREDS": string(json)}},
		"Google's":  {env: map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": r.account}},
		"Vault's":   {value: "/nowhere", env: map[string]string{"GOOGLE_CREDENTIALS": string(json)}},
		"by gcloud": {env: map[string]string{"HOME": gcloudHome(t, json)}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w, err := gcpckms.New(seals.Config{
				Name: "s", Params: r.params("credentials", c.value), Getenv: func(n string) string { return c.env[n] },
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			must(t, err)
			decrypts(t, w.(*gcpckms.Wrapper), encrypt(t, w.(*gcpckms.Wrapper)))
			meta, err := w.SetConfig(t.Context())
			must(t, err)
			for k, v := range meta.Metadata {
				if strings.Contains(v, "PRIVATE KEY") {
					t.Errorf("the metadata's %s shows the credentials", k)
				}
			}
			if strings.Contains(log.String(), "chmod") {
				t.Errorf("a warning about a private file: %s", log.String())
			}
			must(t, w.(*gcpckms.Wrapper).Close())
		})
	}
}

func gcloudHome(t *testing.T, json []byte) string {
	home := t.TempDir()
	dir := filepath.Join(home, ".config", "gcloud")
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "application_default_credentials.json"), json, 0o600))
	return home
}

func TestWarnsAboutReadableCredentialsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "open.json")
	must(t, os.WriteFile(path, []byte("{}"), 0o600))
	must(t, os.Chmod(path, 0o644))
	var log bytes.Buffer
	params := maps.Clone(good)
	params["credentials"] = path
	_, err := gcpckms.New(seals.Config{Params: params, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	if !strings.Contains(log.String(), "chmod 600") {
		t.Errorf("no warning: %q", log.String())
	}
}
