package awskms

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

const (
	keyA  = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	keyB  = "arn:aws:kms:eu-central-1:111122223333:key/9876abcd-12ab-34cd-56ef-1234567890ab"
	many  = "arn:aws:kms:eu-central-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
	alias = "arn:aws:kms:eu-central-1:111122223333:alias/root"
)

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(n string) string { return m[n] }
}

func stanza(pairs ...string) map[string]string {
	m := map[string]string{"kms_key_id": keyA}
	for i := 0; i < len(pairs); i += 2 {
		if m[pairs[i]] = pairs[i+1]; pairs[i+1] == "-" {
			delete(m, pairs[i])
		}
	}
	return m
}

func TestInvalidStanzas(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		params map[string]string
		want   string
	}{
		{stanza("kms_key_id", "-"), "kms_key_id is required"},
		{stanza("kms_key_id", "arn:aws:s3:eu-central-1:1:key/a"), "ARN of a key"},
		{stanza("kms_key_id", "arn:aws:kms:eu-central-1:1:grant/a"), "ARN of a key"},
		{stanza("kms_key_id", "two words"), "ARN of a key"},
		{stanza("kms_key", "k"), `did you mean "kms_key_id"?`},
		{stanza("region", "us-east-1"), "ARN of a key in eu-central-1"},
		{stanza("kms_key_id", "alias/a", "region", "us east"), "a region of AWS"},
		{stanza("access_key", "AKIA"), "requires secret_key"},
		{stanza("secret_key", "s"), "requires secret_key"},
		{stanza("session_token", "s"), "requires access_key"},
		{stanza("web_identity_token_file", "/t"), "requires role_arn"},
		{stanza("web_identity_token_file", "/t", "role_arn", "r", "access_key", "a", "secret_key", "s"),
			"exclude each other"},
		{stanza("endpoint", "localhost:4566"), "https://"},
		{stanza("endpoint", "ftp://x"), "https://"},
		{stanza("endpoint", "https://user:word@x"), "https://"},
		{stanza("sts_endpoint", "x"), "sts_endpoint"},
		{stanza("endpoint", "https://x", "use_fips_endpoint", "true"), "FIPS or dual-stack endpoint"},
		{stanza("use_fips_endpoint", "perhaps"), "true or false"},
		{stanza("use_dual_stack_endpoint", "perhaps"), "true or false"},
		{stanza("disallow_env_vars", "perhaps"), "true or false"},
		{stanza("timeout", "1ms"), "100ms to 10m"},
		{stanza("timeout", "soon"), "100ms to 10m"},
		{stanza("access_key", "a", "secret_key", "file:///nowhere/at/all"), "secret_key"},
	} {
		_, err := New(seals.Config{Name: "n", Type: "awskms", Params: c.params})
		var f *seals.Failure
		if !errors.As(err, &f) || f.Class != seals.Misconfigured || f.Remedy == "" ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v; want %q", c.params, err, c.want)
		}
	}
	if _, err := NewWithClient("n", "", nil); seals.ClassOf(err) != seals.Misconfigured {
		t.Errorf("a client without a key: %v", err)
	}
}

func TestPrecedenceOfParameters(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		params      map[string]string
		getenv      func(string) string
		key, region string
		endpoint    string
	}{
		"the ARN's region": {stanza(), nil, keyA, "eu-central-1", ""},
		"the stanza's region before AWS's variables": {stanza("kms_key_id", "alias/a", "region", "eu-west-1"),
			env("AWS_REGION", "us-east-1", "AWS_DEFAULT_REGION", "us-east-2"), "alias/a", "eu-west-1", ""},
		"the seal's variable before the stanza": {stanza("kms_key_id", "alias/a", "region", "eu-west-1"),
			env("AWS_REGION", "us-east-1", "VAULT_AWSKMS_SEAL_REGION", "us-west-2"), "alias/a", "us-west-2", ""},
		"AWS's variable without a region in the stanza": {stanza("kms_key_id", "alias/a"),
			env("AWS_REGION", "us-east-1"), "alias/a", "us-east-1", ""},
		"a multi-Region key in the stanza's region": {stanza("kms_key_id", many, "region", "eu-west-1"),
			env("AWS_REGION", "us-east-1"), strings.Replace(many, "eu-central-1", "eu-west-1", 1), "eu-west-1", ""},
		"the older variable": {stanza("kms_key_id", "alias/a"), env("AWS_DEFAULT_REGION", "us-east-1"), "alias/a",
			"us-east-1", ""},
		"an ARN is where it says": {stanza(), env("AWS_REGION", "us-east-1"), keyA, "eu-central-1", ""},
		"a multi-Region key's replica": {stanza("kms_key_id", many),
			env("AWS_REGION", "us-east-1"), strings.Replace(many, "eu-central", "us-east", 1), "us-east-1", ""},
		"Vault's variable": {stanza("kms_key_id", "-"), env("VAULT_AWSKMS_SEAL_KEY_ID", keyB), keyB,
			"eu-central-1", ""},
		"OpenBao's variable wins": {stanza(), env("VAULT_AWSKMS_SEAL_KEY_ID", keyA, "BAO_AWSKMS_SEAL_KEY_ID", keyB),
			keyB, "eu-central-1", ""},
		"go-kms-wrapping's variable": {stanza("kms_key_id", "-"), env("AWSKMS_WRAPPER_KEY_ID", keyB), keyB,
			"eu-central-1", ""},
		"the endpoint's variable": {stanza("endpoint", "https://a"), env("AWS_KMS_ENDPOINT", "https://b"), keyA,
			"eu-central-1", "https://b"},
		"no variables": {stanza("disallow_env_vars", "true"),
			env("VAULT_AWSKMS_SEAL_KEY_ID", keyB, "AWS_KMS_ENDPOINT", "https://b"), keyA, "eu-central-1", ""},
		"an alias's ARN":        {stanza("kms_key_id", alias), nil, alias, "eu-central-1", ""},
		"region of the profile": {stanza("kms_key_id", "alias/a"), nil, "alias/a", "", ""},
	} {
		s, err := parse(seals.Config{Name: "n", Type: "awskms", Params: c.params, Getenv: c.getenv})
		if err != nil || s.key != c.key || s.region != c.region || s.endpoint != c.endpoint {
			t.Errorf("%s: key %q, region %q, endpoint %q, %v", what, s.key, s.region, s.endpoint, err)
		}
	}
}

func TestShowsNoSecrets(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(file, []byte("top-secret-value\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	params := stanza("access_key", "AKIA", "secret_key", "file://"+file, "session_token", "token-value",
		"endpoint", "http://127.0.0.1:1", "disallow_env_vars", "true", "role_arn", "arn:aws:iam::1:role/r")
	w, err := New(seals.Config{Name: "n", Type: "awskms", Log: slog.New(slog.NewTextHandler(&log, nil)),
		Params: params})
	if err != nil {
		t.Fatal(err)
	}
	defer w.(*Wrapper).Close()
	meta, err := w.SetConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String()
	for k, v := range maps.All(meta.Metadata) {
		shown += k + "=" + v + "\n"
	}
	if strings.Contains(shown, "top-secret") || strings.Contains(shown, "token-value") {
		t.Errorf("a secret is shown: %s", shown)
	}
	if !strings.Contains(shown, "without TLS") || meta.Metadata["kms_key_id"] != keyA {
		t.Errorf("no warning, or no key: %s", shown)
	}
}

// TestErrorsNameTheRegion: every error says which region was asked and where that comes from.
func TestErrorsNameTheRegion(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]struct{ params, env map[string]string }{
		"in region eu-west-1 (from the stanza)": {stanza("kms_key_id", "alias/a", "region", "eu-west-1"), nil},
		"in region us-east-1 (from AWS_REGION)": {stanza("kms_key_id", "alias/a"),
			map[string]string{"AWS_REGION": "us-east-1"}},
		"in region eu-central-1 (from kms_key_id)": {stanza(), nil},
		"in region us-west-2 (from an environment variable of the seal)": {stanza("kms_key_id", "alias/a"),
			map[string]string{"BAO_AWSKMS_SEAL_REGION": "us-west-2"}},
	} {
		params := maps.Clone(c.params)
		params["endpoint"], params["access_key"], params["secret_key"] = "https://127.0.0.1:1", "a", "s"
		params["timeout"] = "300ms"
		w, err := New(seals.Config{Name: "n", Type: "awskms", Params: params,
			Getenv: func(n string) string { return c.env[n] }})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Encrypt(t.Context(), []byte("root"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
		if seals.ClassOf(err) != seals.Unreachable || strings.Contains(err.Error(), "health page") {
			t.Errorf("with an endpoint of its own: %v", err)
		}
		if err := w.(*Wrapper).Close(); err != nil {
			t.Error(err)
		}
	}
}
