package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// Vault's protocol has about forty rules. Each has a test here, named by its number, that says what
// becomes of the rule in this server and why: kept, where a client depends on it; fixed, where none
// does; absent, where the feature does not exist, and what the server says instead.

// trapHarness is one server for many tests that leave it as they found it. The first to enter
// starts it, the last to leave ends it.
type trapHarness struct {
	seal   string
	keys   [2]string // of the shape that initialises it
	mu     sync.Mutex
	users  int
	server *Server
	root   string
	shares []string
	// ceremony is held while a test has one: there is one of each kind in a server.
	ceremony sync.Mutex
}

var (
	// shamirHarness is unsealed by two of three shares.
	shamirHarness = &trapHarness{keys: [2]string{"secret_shares", "secret_threshold"}}
	// hsmTrapHarness unseals itself; two of three recovery shares authorise.
	hsmTrapHarness = &trapHarness{keys: [2]string{"recovery_shares", "recovery_threshold"}, seal: staticSeal}
)

const staticSeal = "seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = \"5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c\"\n}\n"

// enter returns the server for one test, which must neither seal it nor complete a ceremony of it.
func (s *trapHarness) enter(t *testing.T) *harness {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		s.open(t)
	}
	s.users++
	r := &harness{Server: s.server, t: t, root: s.root}
	r.known.add("the root token", s.root)
	for _, share := range s.shares {
		r.known.addShare(share)
	}
	t.Cleanup(func() { s.leave(r) })
	return r
}

// enterAlone is enter for a test with ceremonies; what it leaves open is cancelled.
func (s *trapHarness) enterAlone(t *testing.T) *harness {
	t.Helper()
	r := s.enter(t)
	s.ceremony.Lock()
	paths := []string{"sys/rekey/init", "sys/generate-root/attempt"}
	if s == hsmTrapHarness {
		paths = append(paths, "sys/rekey-recovery-key/init")
	}
	t.Cleanup(func() {
		defer s.ceremony.Unlock()
		for _, path := range paths {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			reply, err := r.Do(ctx, "DELETE", path, s.root, nil)
			cancel()
			if err != nil || reply.Code != 204 {
				t.Errorf("DELETE %s: %d %s, %v", path, reply.Code, reply.Body, err)
			}
		}
	})
	return r
}

func (s *trapHarness) open(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sealgate-trapHarness-")
	if err != nil {
		t.Fatal(err)
	}
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	s.server = &Server{Bin: binary, Dir: dir, Addr: addr}
	r := &harness{Server: s.server, t: t}
	if err := r.WriteConfig(Config(addr, s.seal)); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", map[string]int{s.keys[0]: 3, s.keys[1]: 2}), &out)
	s.root, s.shares = out.RootToken, append(out.Keys, out.RecoveryKeys...)
	for _, share := range out.Keys[:min(2, len(out.Keys))] {
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": share})
	}
	r.root = s.root
	r.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	r.must(204, "POST", "sys/mounts/kv2", map[string]string{"type": "kv-v2"})
}

func (s *trapHarness) leave(r *harness) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		defer os.RemoveAll(s.server.Dir)
		if err := s.server.Stop(); err != nil {
			r.t.Errorf("%v\n%s", err, r.Log())
		}
		r.checkSecrets()
	}
	if strings.Contains(r.Log(), "WARNING: DATA RACE") {
		r.t.Errorf("the server raced:\n%s", r.Log())
	}
	if r.t.Failed() {
		r.t.Logf("the server's log:\n%s", r.Log())
	}
}

// refused is must for an error, whose text must have all words.
func (r *harness) refused(code int, method, path string, body any, words ...string) {
	r.t.Helper()
	saysAll(r.t, method+" "+path, r.must(code, method, path, body).Errors(), words...)
}

// data is the data of an answer that must have the status.
func (r *harness) data(code int, method, path string, body any) map[string]any {
	r.t.Helper()
	var out struct{ Data map[string]any }
	r.decode(r.must(code, method, path, body), &out)
	return out.Data
}

// as is the harness with another token; "" means none.
func (r *harness) as(token string) *harness {
	return &harness{Server: r.Server, t: r.t, root: token}
}

// tokenFor makes a token with one policy of the given rules.
func (r *harness) tokenFor(policy, rules string) string {
	r.t.Helper()
	r.must(204, "PUT", "sys/policies/acl/"+policy, map[string]string{"policy": rules})
	var out struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	r.decode(r.must(200, "POST", "auth/token/create", map[string]any{"policies": []string{policy}}), &out)
	r.known.add("a token", out.Auth.ClientToken)
	return out.Auth.ClientToken
}

// send is a request with headers; what comes back is whole.
func (r *harness) send(method, path, body string, headers ...string) (Reply, http.Header) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.URL()+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.root != "" {
		req.Header.Set("X-Vault-Token", r.root)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	reply := Reply{Code: resp.StatusCode}
	if reply.Body, err = io.ReadAll(resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return reply, resp.Header
}
