package sealtypes

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// stanzas are complete for each type; nothing listens where they point.
var stanzas = map[string]map[string]string{
	"awskms": {"kms_key_id": "alias/a", "region": "eu-central-1", "endpoint": "https://127.0.0.1:1",
		"sts_endpoint": "https://127.0.0.1:1", "timeout": "300ms", "role_arn": "arn:aws:iam::1:role/r"},
	"gcpckms": {"project": "my-project-1", "region": "global", "key_ring": "r", "crypto_key": "k",
		"endpoint": "127.0.0.1:1", "timeout": "300ms"},
	"azurekeyvault": {"vault_name": "vault", "key_name": "k", "endpoint": "https://127.0.0.1:1", "timeout": "300ms",
		"tenant_id": "11111111-1111-1111-1111-111111111111", "client_id": "c", "authority_host": "https://127.0.0.1:1"},
	"transit": {"address": "https://127.0.0.1:1", "mount_path": "transit", "key_name": "k", "timeout": "300ms"},
	"ocikms": {"key_id": "ocid1.key.x", "crypto_endpoint": "https://127.0.0.1:1",
		"management_endpoint": "https://127.0.0.1:1", "auth_type_api_key": "true", "timeout": "300ms"},
	"alicloudkms": {"kms_key_id": "k", "domain": "127.0.0.1:1", "timeout": "300ms"},
	"static":      {"current_key": strings.Repeat("ab", 32), "current_key_id": "k"},
	"tpm2":        {"device": "/nonexistent/tpm", "timeout": "300ms"},
	"kmip": {"endpoint": "127.0.0.1:1", "kms_key_id": "k", "client_cert": "/nonexistent/c.pem",
		"client_key": "/nonexistent/k.pem", "timeout": "300ms"},
	"pkcs11": {"lib": "/nonexistent/lib.so", "token_label": "t", "key_label": "k", "pin": "1234",
		"timeout": "300ms"},
}

// secrets are the parameters, and the variables of vendors, that hold a secret or the name of a
// file with one. In practice people give the secret where its file is expected.
var secrets = map[string][]string{
	"awskms": {"access_key", "secret_key", "session_token", "shared_creds_filename", "web_identity_token_file",
		"$AWS_WEB_IDENTITY_TOKEN_FILE", "$AWS_SHARED_CREDENTIALS_FILE", "$AWS_CONFIG_FILE", "$AWS_CA_BUNDLE"},
	"gcpckms": {"credentials", "tls_ca_cert", "$GOOGLE_CREDENTIALS", "$GOOGLE_APPLICATION_CREDENTIALS"},
	"azurekeyvault": {"client_secret", "cert_path", "cert_password", "federated_token_file", "tls_ca_cert",
		"$AZURE_CLIENT_SECRET", "$AZURE_FEDERATED_TOKEN_FILE", "$AZURE_CLIENT_CERTIFICATE_PATH"},
	"transit": {"token", "tls_ca_cert", "tls_ca_path", "tls_client_cert", "tls_client_key", "$VAULT_TOKEN",
		"$VAULT_CACERT", "$BAO_CLIENT_KEY"},
	"alicloudkms": {"access_key", "secret_key"},
	"static":      {"current_key", "previous_key"},
	"pkcs11":      {"pin", "lib", "$BAO_HSM_PIN"},
	"tpm2":        {"pin"},
	"kmip":        {"client_cert", "client_key", "ca_cert"},
}

const mark = "MARK5ecret"

// forms are the ways in which a secret ends up in a parameter.
func forms() map[string]string {
	account := `{"type":"service_account","private_key":"` + mark + `"}`
	return map[string]string{
		"bare":           mark,
		"a file name":    "file://" + mark,
		"a variable":     "env://" + mark,
		"PEM":            "-----BEGIN PRIVATE KEY-----\n" + mark + "\n-----END PRIVATE KEY-----\n",
		"base64":         base64.StdEncoding.EncodeToString([]byte(account)),
		"base64 twice":   base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(account)))),
		"quoted JSON":    `'` + account + `'`,
		"escaped JSON":   strings.ReplaceAll(account, `"`, `\"`),
		"JSON with BOM":  "\ufeff" + account,
		"a JWT":          "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0." + mark,
		"file with JSON": "file://" + account,
	}
}

// shows reports whether text contains the mark, or the value that was given.
func shows(text, value string) bool {
	value = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(value, "file://"), "env://"))
	return strings.Contains(text, mark) || strings.Contains(text, value) ||
		strings.Contains(text, strings.Trim(fmt.Sprintf("%q", value), `"`))
}

// outputs are all texts that a seal with these parameters produces: errors, the failure's parts,
// metadata and log.
func outputs(t *testing.T, sealType string, params, env map[string]string) string {
	t.Helper()
	var log bytes.Buffer
	var out strings.Builder
	say := func(err error) {
		if err != nil {
			fmt.Fprintf(&out, "%v\n%+v\n%#v\n", err, err, err.Error())
		}
	}
	w, err := Factories()[sealType](seals.Config{
		Name: "main", Type: sealType, Params: params, Getenv: func(name string) string { return env[name] },
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	say(err)
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.Encrypt(ctx, []byte("root key"), wrapping.WithAad([]byte("a=b\n")))
		say(err)
		_, err = w.KeyId(ctx)
		say(err)
		if d, ok := w.(seals.Describer); ok {
			state, err := d.Describe(ctx)
			say(err)
			fmt.Fprintf(&out, "%+v\n", state)
		}
		config, err := w.SetConfig(ctx)
		say(err)
		fmt.Fprintf(&out, "%v\n", config.Metadata)
		if c, ok := w.(seals.Closer); ok {
			say(c.Close())
		}
	}
	return out.String() + log.String()
}

// TestNoSecretIsEchoed gives a marked secret to every parameter that holds a secret or names a file
// with one, in the forms in which that happens, and looks for it in everything that is shown.
func TestNoSecretIsEchoed(t *testing.T) {
	t.Parallel()
	for sealType, names := range secrets {
		for _, name := range names {
			t.Run(sealType+"/"+name, func(t *testing.T) {
				t.Parallel()
				for form, value := range forms() {
					params, env := maps.Clone(stanzas[sealType]), map[string]string{"HOME": t.TempDir()}
					if variable, ok := strings.CutPrefix(name, "$"); ok {
						env[variable] = value
					} else {
						params[name] = value
					}
					switch name {
					case "access_key":
						params["secret_key"] = "s"
					case "secret_key", "session_token":
						params["access_key"] = "a"
						if name == "session_token" {
							params["secret_key"] = "s"
						}
					case "cert_password":
						params["cert_path"] = "/nonexistent.pem"
					case "previous_key":
						params["previous_key_id"] = "p"
					}
					if text := outputs(t, sealType, params, env); shows(text, value) {
						t.Errorf("%s is shown:\n%s", form, text)
					}
				}
			})
		}
	}
}
