//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
)

const pluginPolicy = kubernetesPolicy + `
path "transit/keys/kubernetes" { capabilities = ["read"] }`

// sidecar is a running `sealgate kms-plugin`.
type sidecar struct {
	*apiServer
	argv        []string
	dir, socket string
	health      string
	cmd         *exec.Cmd
	log         *Log
	done        chan error
}

// startSidecar starts the sidecar with a configuration to which the socket is added.
func startSidecar(t *testing.T, config string) *sidecar {
	t.Helper()
	return startSidecarOf(t, config, binary, "kms-plugin")
}

// startSidecarOf starts the sidecar of a program.
func startSidecarOf(t *testing.T, config string, argv ...string) *sidecar {
	t.Helper()
	health, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := &sidecar{argv: argv, dir: t.TempDir(), health: health}
	s.socket = filepath.Join(s.dir, "kms.sock")
	config = fmt.Sprintf("socket = %q\nhealth_address = %q\nkey = \"kubernetes\"\n%s", s.socket, health, config)
	if err := os.WriteFile(filepath.Join(s.dir, "plugin.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.apiServer = newAPIServer(t, s.socket)
	t.Cleanup(func() {
		s.stop(t, syscall.SIGTERM)
		if _, err := os.Lstat(s.socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left behind: %v", err)
		}
	})
	return s
}

func (s *sidecar) start(t *testing.T) {
	t.Helper()
	s.log, s.done = &Log{}, make(chan error, 1)
	s.cmd = exec.Command(s.argv[0], slices.Concat(s.argv[1:], []string{"-config", filepath.Join(s.dir, "plugin.hcl")})...)
	s.cmd.Stderr, s.cmd.Dir = s.log, s.dir
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(s.cmd, s.done)
}

func (s *sidecar) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Errorf("%v: the sidecar's log:\n%s", err, s.log)
	}
	err := <-s.done
	if t.Failed() {
		t.Logf("the sidecar's log:\n%s", s.log)
	}
	if strings.Contains(s.log.String(), "WARNING: DATA RACE") {
		t.Errorf("the sidecar raced:\n%s", s.log)
	}
	if err != nil && sig == syscall.SIGTERM {
		t.Errorf("the sidecar ended with %v\n%s", err, s.log)
	}
}

// get asks the health port.
func (s *sidecar) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.health+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// newKubernetesKey is a server with a transit key for a control plane.
func newKubernetesKey(t *testing.T) *harness {
	t.Helper()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(200, "POST", "transit/keys/kubernetes", nil)
	r.must(204, "PUT", "sys/policies/acl/kubernetes", map[string]string{"policy": pluginPolicy})
	return r
}

// TestSidecar takes the sidecar through a bad week: one of two addresses is dead, tokens live for
// seconds, the server is killed and comes back, the sidecar is killed, the secret id is replaced.
func TestSidecar(t *testing.T) {
	t.Parallel()
	r := newKubernetesKey(t)
	r.must(204, "POST", "sys/auth/approle", map[string]string{"type": "approle"})
	r.must(204, "POST", "auth/approle/role/plugin", map[string]any{"token_policies": "kubernetes", "token_ttl": "4s",
		"token_max_ttl": "8s"})
	var role struct {
		Data struct {
			ID string `json:"role_id"`
		}
	}
	r.decode(r.must(200, "GET", "auth/approle/role/plugin/role-id", nil), &role)
	files := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secretID := func() string {
		t.Helper()
		var secret struct {
			Data struct {
				ID string `json:"secret_id"`
			}
		}
		r.decode(r.must(200, "POST", "auth/approle/role/plugin/secret-id", nil), &secret)
		return write("secret-id", secret.Data.ID)
	}
	dead, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s := startSidecar(t, fmt.Sprintf("address = [\"http://%s\", %q]\nauth \"approle\" {\n  role_id_file = %q\n"+
		"  secret_id_file = %q\n}\n", dead, r.URL(), write("role-id", role.Data.ID), secretID()))
	old := s.seal("a seed")
	if st, err := s.status(); err != nil || st.Healthz != "ok" || st.KeyId != old.KeyId {
		t.Fatalf("%v, %v", st, err)
	}
	s.checked(t)

	r.must(200, "POST", "transit/keys/kubernetes/rotate", nil)
	if e := s.seal("pinned"); e.KeyId != old.KeyId {
		t.Error("Encrypt uses a version that no Status has returned")
	}
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err = s.decrypt(old)
	wantCode(t, "the server is killed", err, codes.Unavailable)
	if code, _ := s.get(t, "/livez"); code != 200 {
		t.Errorf("liveness depends on the server: %d", code)
	}
	r.mustStart()
	opens := func() bool { text, err := s.decrypt(old); return err == nil && text == "a seed" }
	r.eventually(patience, "the server is back", opens)

	s.stop(t, syscall.SIGKILL) // its socket stays
	s.start(t)
	r.eventually(patience, "the sidecar is back", func() bool {
		st, err := s.status()
		return err == nil && st.KeyId != old.KeyId
	})
	s.opens(old, "a seed")

	// Every secret id but a new one is destroyed, and the token ends within seconds.
	r.must(204, "DELETE", "auth/approle/role/plugin", nil)
	r.must(204, "POST", "auth/approle/role/plugin", map[string]any{"token_policies": "kubernetes", "token_ttl": "4s",
		"role_id": role.Data.ID})
	secretID()
	r.eventually(patience, "the new secret id is used", opens)
	s.opens(old, "a seed")
}

// checked runs the check command, and looks at the health port and the memory.
func (s *sidecar) checked(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "kms-plugin", "check", "-socket", s.socket,
		"-timeout", "60s").CombinedOutput()
	if err != nil {
		t.Errorf("kms-plugin check: %v\n%s", err, out)
	}
	for _, words := range []string{"ok    Status: key_id sg2-", "key_id_hash sha256:",
		"ok    Decrypt: a changed ciphertext is refused", "ok    Decrypt: the ciphertext is bound to its key_id"} {
		if !strings.Contains(string(out), words) {
			t.Errorf("kms-plugin check does not print %q:\n%s", words, out)
		}
	}
	t.Logf("kms-plugin check:\n%s", out)
	if code, _ := s.get(t, "/readyz"); code != 200 {
		t.Errorf("not ready: %d", code)
	}
	if _, text := s.get(t, "/metrics"); !strings.Contains(text, "sealgate_kmsv2_key_info{") {
		t.Errorf("no key_info in the metrics:\n%s", text)
	}
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid)); err == nil {
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
				t.Logf("memory with -race: %s", line)
			}
		}
	}
}

// TestSidecarByCertificate: the sidecar logs in with its certificate over TLS, which is replaced by
// one of another authority together with that authority's at the server.
func TestSidecarByCertificate(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	write := func(name string, text []byte) string {
		t.Helper()
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	server, first, second := newAuthority(t), newAuthority(t), newAuthority(t)
	cert, key := server.issue(1, false)
	r.addConfig(fmt.Sprintf("listener \"tcp\" {\n  address = %q\n  tls_cert_file = %q\n  tls_key_file = %q\n}\n", addr,
		write("server.pem", cert), write("server.key", key)))
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(200, "POST", "transit/keys/kubernetes", nil)
	r.must(204, "PUT", "sys/policies/acl/kubernetes", map[string]string{"policy": pluginPolicy})
	r.must(204, "POST", "sys/auth/cert", map[string]string{"type": "cert"})
	trust := func(a *authority) {
		t.Helper()
		r.must(204, "POST", "auth/cert/certs/plugin", map[string]any{"certificate": string(a.pem),
			"token_policies": "kubernetes", "token_ttl": "4s", "token_max_ttl": "8s"})
	}
	trust(first)
	cert, key = first.issue(2, false)
	s := startSidecar(t, fmt.Sprintf("address = [\"https://%s\"]\ntls_ca_cert = %q\ntls_client_cert = %q\n"+
		"tls_client_key = %q\nauth \"cert\" {\n  role = \"plugin\"\n}\n", addr, write("ca.pem", server.pem),
		write("client.pem", cert), write("client.key", key)))
	sealed := s.seal("a seed")

	trust(second)
	cert, key = second.issue(3, false)
	write("client.pem", cert)
	write("client.key", key)
	logins := func() int { return strings.Count(s.log.String(), "the KMS plugin is logged in") }
	before := logins()
	r.eventually(patience, "the new certificate is read and used", func() bool {
		return strings.Contains(s.log.String(), "the TLS files of the KMS plugin have changed") && logins() > before
	})
	s.opens(sealed, "a seed")
}

// TestSidecarOverOpenBao: the peer is a real OpenBao, and the token is an agent's file, which is
// replaced.
func TestSidecarOverOpenBao(t *testing.T) {
	t.Parallel()
	bao := openbao.Start(t)
	bao.Mount("transit")
	bao.Key("transit", "kubernetes", "")
	file := filepath.Join(t.TempDir(), "token")
	token := func() string {
		t.Helper()
		text := bao.Token("kubernetes", "1h")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return text
	}
	bao.Policy("kubernetes", pluginPolicy)
	first := token()
	s := startSidecar(t, fmt.Sprintf("address = [\"http://%s\"]\nauth \"token_file\" {\n  path = %q\n}\n", bao.Addr, file))
	old := s.seal("a seed")
	s.checked(t)
	token()
	bao.Revoke(first)
	s.opens(old, "a seed")
	bao.Must("POST", "transit/keys/kubernetes/rotate", nil)
	s.opens(old, "a seed")
}
