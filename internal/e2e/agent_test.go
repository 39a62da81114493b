package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit/kubeapi"
	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

// baoTool is an OpenBao program beside the server, in a folder of its own.
type baoTool struct {
	*harness
	dir    string
	log    *Log
	method string // the stanza of auto-auth
}

const agentAppRole = `  method "approle" {
    config = {
      role_id_file_path                   = "role-id"
      secret_id_file_path                 = "secret-id"
      remove_secret_id_file_after_reading = false
    }
  }
`

// newBaoTool prepares a server with a secret and an AppRole that may read it, and the role's
// credentials in files.
func newBaoTool(t *testing.T) *baoTool {
	t.Helper()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/app", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	r.must(200, "POST", "app/data/db", map[string]any{"data": map[string]string{"password": "first"}})
	r.must(204, "PUT", "sys/policies/acl/app",
		map[string]string{"policy": `path "app/data/*" { capabilities = ["read"] }`})
	r.must(204, "POST", "sys/auth/approle", map[string]string{"type": "approle"})
	r.must(204, "POST", "auth/approle/role/app", map[string]any{
		"token_policies": "app", "token_ttl": "20m", "secret_id_num_uses": 0,
	})
	var role struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	r.decode(r.must(200, "GET", "auth/approle/role/app/role-id", nil), &role)
	var secret struct {
		Data struct {
			SecretID string `json:"secret_id"`
		}
	}
	r.decode(r.must(200, "POST", "auth/approle/role/app/secret-id", nil), &secret)
	b := &baoTool{harness: r, dir: t.TempDir(), log: &Log{}, method: agentAppRole}
	b.write("role-id", role.Data.RoleID)
	b.write("secret-id", secret.Data.SecretID)
	return b
}

func (b *baoTool) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run starts `bao agent` or `bao proxy` and stops it at the end of the test.
func (b *baoTool) run(kind, config string) {
	b.t.Helper()
	b.write(kind+".hcl", fmt.Sprintf(`vault { address = %q }
auto_auth {
%s  sink "file" { config = { path = "token" } }
}
%s`, b.URL(), b.method, config))
	cmd := exec.Command(openbao.Program(b.t), kind, "-config="+kind+".hcl")
	cmd.Dir, cmd.Stdout, cmd.Stderr = b.dir, b.log, b.log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.t.Failed() {
			b.t.Logf("the log of bao %s:\n%s", kind, b.log)
		}
	})
}

func (b *baoTool) holds(name, want string) func() bool {
	return func() bool {
		got, err := os.ReadFile(filepath.Join(b.dir, name))
		return err == nil && string(bytes.TrimSpace(got)) == want
	}
}

// TestBaoAgent runs the unmodified agent of OpenBao: it logs in by AppRole, renders a template,
// follows a new version of the secret, and continues after the server was killed.
func TestBaoAgent(t *testing.T) {
	t.Parallel()
	b := newBaoTool(t)
	b.run("agent", `template_config { static_secret_render_interval = "1s" }
template {
  contents    = "{{ with secret \"app/data/db\" }}password={{ .Data.data.password }}{{ end }}"
  destination = "rendered"
}
`)
	b.eventually(patience, "rendered", b.holds("rendered", "password=first"))
	token, err := os.ReadFile(filepath.Join(b.dir, "token"))
	if err != nil || !strings.HasPrefix(string(token), "s.") && !strings.HasPrefix(string(token), "hvs.") {
		t.Errorf("the sink has no token: %v", err)
	}
	b.known.add("the agent's token", string(token))
	b.must(200, "POST", "app/data/db", map[string]any{"data": map[string]string{"password": "second"}})
	b.eventually(patience, "rendered again", b.holds("rendered", "password=second"))
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	b.mustStart()
	if err := b.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	b.must(200, "POST", "app/data/db", map[string]any{"data": map[string]string{"password": "third"}})
	b.eventually(patience, "rendered after kill -9 of the server", b.holds("rendered", "password=third"))
}

// TestBaoProxy runs the unmodified proxy of OpenBao: clients without a token read through it with
// the proxy's own, and get the server's own refusals.
func TestBaoProxy(t *testing.T) {
	t.Parallel()
	b := newBaoTool(t)
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	b.run("proxy",
		fmt.Sprintf("api_proxy { use_auto_auth_token = true }\nlistener \"tcp\" {\n  address = %q\n  tls_disable = true\n}\n",
			addr))
	get := func(path string) (int, string) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, string(body)
	}
	b.eventually(patience, "the proxy reads",
		func() bool { code, _ := get("app/data/db"); return code == http.StatusOK })
	if _, text := get("app/data/db"); !strings.Contains(text, `"password":"first"`) {
		t.Errorf("through the proxy: %s", text)
	}
	if code, text := get("sys/policies/acl/app"); code != http.StatusForbidden ||
		!strings.Contains(text, "permission denied") {
		t.Errorf("beyond the role's policy: %d %s", code, text)
	}
}

// TestBaoAgentInPod: the agent logs in with the token of its pod's service account.
func TestBaoAgentInPod(t *testing.T) {
	t.Parallel()
	b := newBaoTool(t)
	k := kubeapi.Start(t)
	k.Put(kubeapi.Account{Namespace: "prod", Name: "app", UID: "u1"})
	k.Put(kubeapi.Account{Namespace: "vault", Name: "reviewer", UID: "u2", Reviews: true})
	b.must(204, "POST", "sys/auth/kubernetes", map[string]string{"type": "kubernetes"})
	reviewer := k.Token("vault", "reviewer", nil)
	b.known.add("the reviewer's token", reviewer)
	b.must(204, "POST", "auth/kubernetes/config", map[string]any{"kubernetes_host": k.URL, "kubernetes_ca_cert": k.CA,
		"token_reviewer_jwt": reviewer, "disable_local_ca_jwt": true})
	b.must(204, "POST", "auth/kubernetes/role/app", map[string]any{"bound_service_account_names": "app",
		"bound_service_account_namespaces": "prod", "audience": "vault", "token_policies": "app", "token_ttl": "20m"})
	pod := k.Token("prod", "app", []string{"vault"})
	b.known.add("the pod's token", pod)
	b.write("pod-token", pod)
	b.method = `  method "kubernetes" {
    config = { role = "app", token_path = "pod-token" }
  }
`
	b.run("agent", `template {
  contents    = "{{ with secret \"app/data/db\" }}password={{ .Data.data.password }}{{ end }}"
  destination = "rendered"
}
`)
	b.eventually(patience, "rendered", b.holds("rendered", "password=first"))
	if k.Reviews() == 0 {
		t.Error("the API server reviewed no token")
	}
}
