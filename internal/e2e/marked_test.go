package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// marked is a text that must be shown nowhere, in the forms in which people paste secrets.
func marked(name string) map[string]string {
	mark := "MARKED" + strings.Repeat("5ec7e7", 6) + strings.ReplaceAll(name, "_", "")
	return map[string]string{
		"bare":        mark,
		"private key": "-----BEGIN PRIVATE KEY-----\n" + mark + "\n-----END PRIVATE KEY-----\n",
		"JWT":         "eyJhbGciOiJSUzI1NiJ9." + mark + ".c2ln",
		"with a BOM":  "\ufeff" + mark,
	}
}

// TestMarkedSecretsOfAuthMethods gives a marked secret to every parameter of an auth method that
// holds a secret, or into which one is pasted by mistake. It looks for it in the answers, in
// what is read back, in seal status, and at the end in the log and the audit trail.
func TestMarkedSecretsOfAuthMethods(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	trail := filepath.Join(r.logDir(), "audit.log")
	r.must(204, "PUT", "sys/audit/main", map[string]any{"type": "file", "options": map[string]any{"file_path": trail}})
	for _, kind := range []string{"jwt", "oidc", "kubernetes", "cert", "userpass", "approle"} {
		r.must(204, "POST", "sys/auth/"+kind, map[string]any{"type": kind})
	}
	r.must(204, "POST", "auth/userpass/users/u", map[string]any{"password": "p"})
	r.must(204, "POST", "auth/approle/role/r", map[string]any{})
	for _, tc := range []struct {
		path, field string
		with        map[string]any
	}{
		{"auth/jwt/config", "jwt_validation_pubkeys", nil},
		{"auth/jwt/config", "jwks_ca_pem", map[string]any{"jwks_url": "https://127.0.0.1:1/keys"}},
		{"auth/jwt/config", "oidc_discovery_ca_pem", map[string]any{"oidc_discovery_url": "https://127.0.0.1:1"}},
		{"auth/oidc/config", "oidc_client_secret", map[string]any{"oidc_discovery_url": "https://127.0.0.1:1",
			"oidc_client_id": "c"}},
		{"auth/kubernetes/config", "token_reviewer_jwt", map[string]any{"kubernetes_host": "https://127.0.0.1:1",
			"kubernetes_ca_cert": ""}},
		{"auth/kubernetes/config", "kubernetes_ca_cert", map[string]any{"kubernetes_host": "https://127.0.0.1:1"}},
		{"auth/kubernetes/config", "pem_keys", map[string]any{"kubernetes_host": "https://127.0.0.1:1"}},
		{"auth/cert/certs/c", "certificate", nil},
		{"auth/cert/certs/c", "ocsp_ca_certificates", nil},
		{"auth/cert/crls/c", "crl", nil},
		{"auth/userpass/users/u", "password", nil},
		{"auth/userpass/users/u/password", "password", nil},
		{"auth/approle/role/r/custom-secret-id", "secret_id", nil},
		{"auth/jwt/login", "jwt", map[string]any{"role": "r"}},
		{"auth/kubernetes/login", "jwt", map[string]any{"role": "r"}},
		{"auth/userpass/login/u", "password", nil},
		{"auth/approle/login", "secret_id", map[string]any{"role_id": "x"}},
	} {
		for form, value := range marked(tc.field) {
			body := map[string]any{tc.field: value}
			for k, v := range tc.with {
				body[k] = v
			}
			shown := string(r.call("POST", tc.path, body).Body) + string(r.call("GET", tc.path, nil).Body) +
				string(r.call("GET", "sys/seal-status", nil).Body)
			// A new secret id is the answer to who made it.
			if strings.Contains(shown, "MARKED") && tc.field != "secret_id" {
				t.Errorf("%s %s (%s) is shown:\n%s", tc.path, tc.field, form, shown)
			}
		}
	}
	entries, err := os.ReadFile(trail)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(entries), "MARKED") {
		t.Errorf("the audit trail has a marked secret")
	}
	if strings.Contains(r.Log(), "MARKED") {
		t.Errorf("the log has a marked secret:\n%s", r.Log())
	}
}

// TestMarkedSecretsOfStorage gives PostgreSQL's password in several wrong forms to a server whose
// database is unavailable, and looks for it wherever an outage is explained.
func TestMarkedSecretsOfStorage(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"a URL":           "postgres://sealgate:MARKED5ec7e7@127.0.0.1:1/db?connect_timeout=1",
		"a wrong port":    "postgres://sealgate:MARKED5ec7e7@127.0.0.1:x/db",
		"keywords":        "host=127.0.0.1 port=1 user=sealgate password=MARKED5ec7e7 dbname=db connect_timeout=1",
		"a quote":         "host=127.0.0.1 password='MARKED5ec7e7",
		"a wrong scheme":  "postgre://sealgate:MARKED5ec7e7@127.0.0.1:1/db",
		"in a parameter":  "postgres://sealgate@127.0.0.1:1/db?password=MARKED5ec7e7&connect_timeout=1",
		"an unknown name": "postgres://sealgate@127.0.0.1:1/db?pasword=MARKED5ec7e7",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, err := FreeAddr()
			if err != nil {
				t.Fatal(err)
			}
			s := &Server{Bin: binary, Dir: t.TempDir(), Addr: addr}
			text := fmt.Sprintf("storage \"postgresql\" {\n  connection_url = %q\n}\nlistener \"tcp\" {\n  address = %q\n"+
				"  tls_disable = true\n}\n", address, addr)
			if err := s.WriteConfig(text); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			shown := ""
			if s.Start() == nil && s.UntilUp() == nil {
				for _, path := range []string{"sys/seal-status", "sys/health", "sys/init", "sys/leader"} {
					if reply, err := s.Do(ctx, "GET", path, "", nil); err == nil {
						shown += string(reply.Body)
					}
				}
				if result, err := s.CLI(ctx, "", "", "status"); err == nil {
					shown += result.Out + result.Err
				}
			}
			if result, err := s.CLI(ctx, "", "", "doctor", "-config="+filepath.Join(s.Dir, "sealgate.hcl")); err == nil {
				shown += result.Out + result.Err
			}
			if err := s.Kill(); err != nil && s.Pid() != 0 {
				t.Error(err)
			}
			if shown == "" {
				t.Error("nothing was shown")
			}
			if all := shown + s.Log(); strings.Contains(all, "MARKED") {
				t.Errorf("the password is shown:\n%s", all)
			}
		})
	}
}
