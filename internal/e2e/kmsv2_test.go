//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	kms "k8s.io/kms/apis/v2"
)

const kubernetesPolicy = `path "transit/encrypt/kubernetes" { capabilities = ["update"] }
path "transit/decrypt/kubernetes" { capabilities = ["update"] }`

// kmsStanza is a gateway for a control plane; its socket is in a folder of the server's.
func kmsStanza(dir string) string {
	return fmt.Sprintf("gateway \"kmsv2\" {\n  socket = %q\n  key = \"kubernetes\"\n  policies = [\"kubernetes\"]\n}\n",
		filepath.Join(dir, "kms.sock"))
}

// apiServer is an API server's connection to a plugin.
type apiServer struct {
	kms.KeyManagementServiceClient
	t testing.TB
}

func newAPIServer(t testing.TB, socket string) *apiServer {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return &apiServer{kms.NewKeyManagementServiceClient(c), t}
}

// limit is far above an API server's timeout: the machine is busy.
const limit = patience / 2

func (a *apiServer) status() (*kms.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), limit)
	defer cancel()
	return a.Status(ctx, &kms.StatusRequest{})
}

func (a *apiServer) encrypt(text string) (*kms.EncryptResponse, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), limit)
	defer cancel()
	return a.Encrypt(ctx, &kms.EncryptRequest{Plaintext: []byte(text), Uid: "uid-of-a-call"})
}

func (a *apiServer) decrypt(e *kms.EncryptResponse) (string, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), limit)
	defer cancel()
	d, err := a.Decrypt(ctx, &kms.DecryptRequest{Ciphertext: e.GetCiphertext(), KeyId: e.GetKeyId(), Uid: "uid-of-a-call"})
	return string(d.GetPlaintext()), err
}

// seal encrypts, and must open again.
func (a *apiServer) seal(text string) *kms.EncryptResponse {
	a.t.Helper()
	e, err := a.encrypt(text)
	if err != nil {
		a.t.Fatal(err)
	}
	a.opens(e, text)
	return e
}

func (a *apiServer) opens(e *kms.EncryptResponse, text string) {
	a.t.Helper()
	if got, err := a.decrypt(e); err != nil || got != text {
		a.t.Fatalf("opens to %q, %v", got, err)
	}
}

func wantCode(t *testing.T, what string, err error, want codes.Code, words ...string) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v, want %v (%v)", what, got, want, err)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v does not name %q", what, err, w)
		}
	}
}

// TestKubernetesSocket takes the socket of a real server through its life: not initialised, without
// a policy, in use, rotated, killed, with a full audit disk, sealed.
func TestKubernetesSocket(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	folder := t.TempDir()
	text, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteConfig(string(text) + kmsStanza(folder)); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	a := newAPIServer(t, filepath.Join(folder, "kms.sock"))
	_, err = a.status()
	wantCode(t, "before init", err, codes.Unavailable)
	r.mustInit()
	r.must(204, "PUT", "sys/audit/main",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "logs/audit.log"}})
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(200, "POST", "transit/keys/kubernetes", nil)
	r.eventually(patience, "the policy is missed", func() bool {
		_, err := a.status()
		return status.Code(err) == codes.PermissionDenied
	})
	r.must(204, "PUT", "sys/policies/acl/kubernetes", map[string]string{"policy": kubernetesPolicy})
	var first *kms.StatusResponse
	r.eventually(patience, "the key is proven", func() bool {
		first, err = a.status()
		return err == nil && first.Healthz == "ok"
	})
	r.known.add("an API server's seed", "a seed of an API server")
	old := a.seal("a seed of an API server")
	if old.KeyId != first.KeyId {
		t.Errorf("Encrypt has key_id %q, Status %q", old.KeyId, first.KeyId)
	}
	r.checkKubernetesAudit(old.KeyId)

	r.must(200, "POST", "transit/keys/kubernetes/rotate", nil)
	if e := a.seal("pinned"); e.KeyId != first.KeyId {
		t.Error("Encrypt uses a version that no Status has returned")
	}
	// A killed server leaves its socket; the next one takes it over, and Status shows the new
	// version.
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	var second *kms.StatusResponse
	r.eventually(patience, "the socket is back", func() bool { second, err = a.status(); return err == nil })
	if second.KeyId == first.KeyId {
		t.Error("the rotated key has the old key_id")
	}
	a.opens(old, "a seed of an API server")
	if uses := r.uses("kubernetes"); uses["1"]["last_display_name"] != "kmsv2:kmsv2" {
		t.Errorf("the use of the old version is not counted: %v", uses)
	}
	r.kubernetesWithoutAudit(a)
	r.must(204, "PUT", "sys/seal", nil)
	_, err = a.encrypt("sealed")
	wantCode(t, "sealed", err, codes.Unavailable, "sealed")
}

// checkKubernetesAudit: each call is recorded with what identifies it, and nothing of its text.
func (r *harness) checkKubernetesAudit(keyID string) {
	r.t.Helper()
	seen := map[string]int{}
	for _, e := range r.entries("logs/audit.log") {
		if e.Request.Data["uid"] == "uid-of-a-call" && e.Request.Data["key_id"] == keyID &&
			e.Request.Data["peer_uid"] == fmt.Sprint(os.Getuid()) {
			seen[e.Type+" "+e.Request.Path]++
		}
	}
	for _, what := range []string{"request transit/encrypt/kubernetes", "response transit/encrypt/kubernetes",
		"request transit/decrypt/kubernetes", "response transit/decrypt/kubernetes"} {
		if seen[what] == 0 {
			r.t.Errorf("no audit entry %q: %v", what, seen)
		}
	}
}

// kubernetesWithoutAudit: nothing is answered that was not recorded.
func (r *harness) kubernetesWithoutAudit(a *apiServer) {
	r.t.Helper()
	log := filepath.Join(r.logDir(), "audit.log")
	for _, f := range []func() error{
		func() error { return os.Rename(log, log+".1") },
		func() error { return os.Symlink("/dev/full", log) },
	} {
		if err := f(); err != nil {
			r.t.Fatal(err)
		}
	}
	r.hup()
	r.eventually(patience, "the full disk is met", func() bool { _, err := a.encrypt("x"); return err != nil })
	e, err := a.encrypt("unrecorded")
	wantCode(r.t, "disk full", err, codes.Unavailable, "cannot be audited")
	if e != nil {
		r.t.Error("a ciphertext comes with the error")
	}
	if err := os.Remove(log); err != nil {
		r.t.Fatal(err)
	}
	r.eventually(patience, "the disk is met again", func() bool { _, err := a.encrypt("x"); return err == nil })
}

// TestKubernetesSocketOfEachNode: every node of a cluster serves its own socket, a standby by what
// it has proven to be current, and a change of leader fails no call.
func TestKubernetesSocketOfEachNode(t *testing.T) {
	t.Parallel()
	f, _ := etcdCluster(t, 2)
	sockets := make([]string, 2)
	for i, s := range f.Nodes {
		text, err := os.ReadFile(filepath.Join(s.Dir, "sealgate.hcl"))
		if err != nil {
			t.Fatal(err)
		}
		folder := t.TempDir()
		sockets[i] = filepath.Join(folder, "kms.sock")
		if err := s.WriteConfig(string(text) + kmsStanza(folder)); err != nil {
			t.Fatal(err)
		}
	}
	f.Begin()
	f.Must(0, "POST", "sys/mounts/transit", `{"type":"transit"}`, nil)
	f.Must(0, "POST", "transit/keys/kubernetes", "", nil)
	f.Must(0, "PUT", "sys/policies/acl/kubernetes", fmt.Sprintf(`{"policy":%q}`, kubernetesPolicy), nil)
	a := []*apiServer{newAPIServer(t, sockets[0]), newAPIServer(t, sockets[1])}
	var ids [2]string
	var sealed [2]*kms.EncryptResponse
	for i := range a {
		for deadline := time.Now().Add(limit); ; {
			s, err := a[i].status()
			if err == nil {
				ids[i] = s.KeyId
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("node %d: %v", i, err)
			}
		}
		sealed[i] = a[i].seal(fmt.Sprint("of node ", i))
	}
	if ids[0] != ids[1] {
		t.Errorf("the nodes have key_ids %v: the API servers would rewrite each other's objects", ids)
	}
	a[1].opens(sealed[0], "of node 0")
	a[0].opens(sealed[1], "of node 1")

	leader := f.Settled()
	var calls, failed atomic.Int64
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			calls.Add(1)
			if got, err := a[i%2].decrypt(sealed[0]); err != nil || got != "of node 0" {
				failed.Add(1)
				t.Logf("node %d: %q, %v", i%2, got, err)
			}
		}
	}()
	f.Must(f.Others(leader)[0], "PUT", "sys/step-down", "", nil)
	next := f.Leader(leader)
	a[leader].opens(sealed[1], "of node 1")
	close(stop)
	<-ended
	if failed.Load() > 0 {
		t.Errorf("%d of %d calls failed while the leader changed from node %d to node %d", failed.Load(), calls.Load(),
			leader, next)
	}
	t.Logf("%d calls", calls.Load())
}
