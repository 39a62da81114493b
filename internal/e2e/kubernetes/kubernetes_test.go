//go:build kubernetes

package kubernetes

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kms "k8s.io/kms/apis/v2"

	"github.com/sealgate/sealgate/internal/e2e"
	"github.com/sealgate/sealgate/internal/gateway/kmsv2"
)

// control is a control plane of one API server beside one Sealgate.
type control struct {
	*testing.T
	server *e2e.Server
	root   string
	config string // the EncryptionConfiguration
	in     io.Writer
	out    *bufio.Reader
}

const policy = `path "transit/encrypt/kubernetes" { capabilities = ["update"] }
path "transit/decrypt/kubernetes" { capabilities = ["update"] }`

func newControl(t *testing.T) *control {
	t.Helper()
	bin, err := e2e.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	addr, err := e2e.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	c := &control{T: t, server: &e2e.Server{Bin: bin, Dir: t.TempDir(), Addr: addr}}
	socket := filepath.Join(c.server.Dir, "kms.sock")
	seal := fmt.Sprintf("seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = %q\n}\n"+
		"gateway \"kmsv2\" {\n"+
		"  socket = %q\n  key = \"kubernetes\"\n  policies = [\"kubernetes\"]\n}\n", strings.Repeat("5c", 32), socket)
	if err := c.server.WriteConfig(e2e.Config(addr, seal)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", c.server.Log())
		}
	})
	c.start()
	c.initialise()
	c.config = filepath.Join(c.server.Dir, "encryption.yaml")
	text := fmt.Sprintf(`kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
- resources: [secrets]
  providers:
  - kms: {apiVersion: v2, name: sealgate, endpoint: "unix://%s", timeout: 3s}
  - identity: {}
`, socket)
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.drive()
	return c
}

func (c *control) start() {
	c.Helper()
	if err := c.server.Start(); err != nil {
		c.Fatal(err)
	}
	if err := c.server.UntilUp(); err != nil {
		c.Fatal(err)
	}
}

func (c *control) initialise() {
	c.Helper()
	var made struct {
		Root string `json:"root_token"`
	}
	reply := c.api("PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1})
	if err := json.Unmarshal(reply.Body, &made); err != nil {
		c.Fatal(err)
	}
	c.root = made.Root
	if err := c.server.UntilUnsealed(); err != nil {
		c.Fatal(err)
	}
	c.api("POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	c.api("POST", "transit/keys/kubernetes", nil)
	c.api("PUT", "sys/policies/acl/kubernetes", map[string]string{"policy": policy})
}

func (c *control) api(method, path string, body any) e2e.Reply {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 30*time.Second)
	defer cancel()
	r, err := c.server.Do(ctx, method, path, c.root, body)
	if err != nil || r.Code/100 != 2 {
		c.Fatalf("%s %s: %d %s, %v", method, path, r.Code, r.Body, err)
	}
	return r
}

// drive builds and starts the API server's part.
func (c *control) drive() {
	c.Helper()
	bin := filepath.Join(c.TempDir(), "api-server")
	build := exec.CommandContext(c.Context(), "go", "build", "-o", bin, ".")
	build.Dir = "../../../testdata/kubernetes"
	if out, err := build.CombinedOutput(); err != nil {
		c.Fatalf("building the API server's part: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(c.Context(), bin, "sealgate")
	in, err := cmd.StdinPipe()
	if err != nil {
		c.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.in, c.out = in, bufio.NewReader(out)
	c.Cleanup(func() {
		if err := in.Close(); err != nil {
			c.Error(err)
		}
		_ = cmd.Wait() // it may have been killed with the context of the test
	})
}

// do has the API server do something.
func (c *control) do(words ...string) (string, error) {
	c.Helper()
	if _, err := fmt.Fprintln(c.in, strings.Join(words, " ")); err != nil {
		c.Fatal(err)
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.Fatalf("%v: the API server's part has ended: %v", words, err)
	}
	status, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if status == "ok" {
		return rest, nil
	}
	return "", fmt.Errorf("%s", rest)
}

func (c *control) must(want string, words ...string) {
	c.Helper()
	if got, err := c.do(words...); err != nil || got != want {
		c.Errorf("%v: %q, %v; want %q", words, got, err, want)
	}
}

func (c *control) fails(want string, words ...string) {
	c.Helper()
	if got, err := c.do(words...); err == nil || !strings.Contains(err.Error(), want) {
		c.Errorf("%v: %q, %v; want an error with %q", words, got, err, want)
	}
}

// until repeats something until it succeeds: the API server polls Status every 10 s while it is not
// healthy.
func (c *control) until(words ...string) {
	c.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, err := c.do(words...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%v: %v", words, err)
		}
	}
}

// status asks the plugin itself.
func (c *control) status() (*kms.StatusResponse, error) {
	c.Helper()
	conn, err := kmsv2.Dial(filepath.Join(c.server.Dir, "kms.sock"))
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	return kms.NewKeyManagementServiceClient(conn).Status(ctx, &kms.StatusRequest{})
}

func (c *control) keyID() string {
	c.Helper()
	s, err := c.status()
	if err != nil {
		c.Fatal(err)
	}
	return s.KeyId
}

// statusFails waits until the plugin has seen the end of the key.
func (c *control) statusFails() {
	c.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := c.status(); err != nil {
			return
		}
		if time.Now().After(deadline) {
			c.Fatal("Status continues to return the key_id of a deleted key")
		}
	}
}

// TestAPIServer is a day of an API server with a Sealgate beside it.
func TestAPIServer(t *testing.T) {
	c := newControl(t)
	c.must("", "load", c.config)
	c.until("health")
	c.must("", "write", "a", "first secret")
	c.must("fresh first secret", "read", "a")
	stored, err := c.do("stored", "a")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(stored)
	if err != nil || !strings.HasPrefix(string(raw), "k8s:enc:kms:v2:sealgate:") ||
		strings.Contains(string(raw), "first secret") {
		t.Errorf("stored: %q, %v", raw, err)
	}

	// A rotation is seen at the next start, and the old object is stale and readable.
	before := c.keyID()
	c.api("POST", "transit/keys/kubernetes/rotate", nil)
	for c.keyID() == before {
		time.Sleep(10 * time.Millisecond)
	}
	c.must("", "load", c.config)
	c.until("write", "b", "second secret")
	c.must("stale first secret", "read", "a")
	c.must("fresh second secret", "read", "b")
	c.must("", "write", "a", "first secret")
	c.must("fresh first secret", "read", "a")

	// The plugin dies. Reads continue, writes for three minutes.
	if err := c.server.Kill(); err != nil {
		t.Fatal(err)
	}
	c.must("", "clock", "2m")
	c.must("", "write", "c", "third secret")
	c.must("", "clock", "4m")
	c.fails("expired", "write", "d", "too late")
	c.must("fresh third secret", "read", "c")
	c.must("", "clock", "0s")

	// The API server starts before the plugin, and recovers once it is there.
	c.must("", "load", c.config)
	if _, err := c.do("health"); err == nil {
		t.Error("the API server is ready without its plugin")
	}
	c.start()
	if err := c.server.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	c.until("write", "d", "fourth secret")
	c.until("health")
	c.must("fresh first secret", "read", "a")

	// A key that was deleted stops writes: Status is an error, not a text.
	c.api("DELETE", "transit/keys/kubernetes/soft-delete", nil)
	c.statusFails()
	c.must("", "clock", "4m")
	c.fails("expired", "write", "e", "under a deleted key")
	c.must("", "clock", "0s")
	c.api("POST", "transit/keys/kubernetes/soft-delete-restore", nil)
	c.until("write", "e", "fifth secret")
	c.must("fresh fifth secret", "read", "e")
}
