package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/testkit"
)

// binary is the real program, built once with the race detector and with failpoints.
var binary string

func TestMain(m *testing.M) {
	if answer := os.Getenv(bareEnv); answer != "" {
		os.Exit(serveBare(answer))
	}
	if job := os.Getenv(jobEnv); job != "" {
		os.Exit(doJob(job, os.Args[1:]))
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sealgate-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	flag.Parse()
	if flag.Lookup("test.run").Value.String() != "^$" { // benchmarks alone build the program as it is shipped
		if binary, err = Build(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	// A program with the race detector waits a second at exit unless GORACE says otherwise; these
	// tests start hundreds of them.
	if os.Getenv("GORACE") == "" {
		if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return m.Run()
}

// promised reports how long something took beside what operators are promised, which holds where
// nothing else runs: `make bench` repeats these tests there. Here it bounds only what never ends.
func promised(t testing.TB, what string, took, most time.Duration) {
	t.Helper()
	testkit.AtMost(t, what+", in seconds", took.Seconds(), most.Seconds())
	if took > most+patience/2 {
		t.Errorf("%s: it took %s, promised are %s", what, took, most)
	}
}

// harness is a server with its token, and the secrets that a test knows.
type harness struct {
	*Server
	t     *testing.T
	token *softhsm.Token // nil without an HSM
	root  string
	known secrets // what must be nowhere but in the answers
}

// newHSMHarness prepares, and does not start, a server on a throw-away SoftHSM token. extra goes
// into the seal's stanza.
func newHSMHarness(t *testing.T, extra string) *harness {
	t.Helper()
	dir := t.TempDir()
	token, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := newHarness(t, dir, "seal \"pkcs11\" \"hsm\" {\n  key_label = \"root\"\n  generate_key = true\n"+extra+"}\n")
	r.useToken(token)
	return r
}

func (r *harness) useToken(token *softhsm.Token) {
	r.token, r.Env = token, token.Environ()
	r.known.add("the PIN", token.PIN)
	r.known.add("the security officer's PIN", token.SOPIN)
}

// newStaticHarness is one with the static seal: for tests that are about something else than the
// HSM.
func newStaticHarness(t *testing.T) *harness {
	t.Helper()
	return newHarness(t, t.TempDir(), "seal \"static\" \"box\" {\n  current_key_id = \"k1\"\n  current_key = \""+
		strings.Repeat("5c", 32)+"\"\n}\n")
}

// newShamirHarness is one that only its shares unseal.
func newShamirHarness(t *testing.T) *harness {
	t.Helper()
	return newHarness(t, t.TempDir(), "")
}

func newHarness(t *testing.T, dir, seal string) *harness {
	t.Helper()
	addr, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	r := &harness{Server: &Server{Bin: binary, Dir: dir, Addr: addr}, t: t}
	if err := r.WriteConfig(Config(addr, seal) + socketListener); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Errorf("%v\n%s", err, r.Log())
		}
		if strings.Contains(r.Log(), "WARNING: DATA RACE") {
			t.Errorf("the server raced:\n%s", r.Log())
		}
		r.checkSecrets()
		if t.Failed() {
			t.Logf("the server's log:\n%s", r.Log())
		}
	})
	return r
}

// addConfig appends to the configuration.
func (r *harness) addConfig(text string) {
	r.t.Helper()
	old, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err == nil {
		err = r.WriteConfig(string(old) + text)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *harness) mustStart() {
	r.t.Helper()
	if err := r.Start(); err != nil {
		r.t.Fatal(err)
	}
	if err := r.UntilUp(); err != nil {
		r.t.Fatal(err)
	}
}

// call sends a request that must be answered; its status is the caller's to judge.
func (r *harness) call(method, path string, body any) Reply {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	reply, err := r.Do(ctx, method, path, r.root, body)
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s", method, path, err, r.Log())
	}
	return reply
}

// must is call with a status that it must have.
func (r *harness) must(code int, method, path string, body any) Reply {
	r.t.Helper()
	reply := r.call(method, path, body)
	if reply.Code != code {
		r.t.Fatalf("%s %s: status %d, want %d: %s", method, path, reply.Code, code, reply.Body)
	}
	return reply
}

// initReply is the body of an initialisation.
type initReply struct {
	Keys         []string `json:"keys_base64"`
	RecoveryKeys []string `json:"recovery_keys_base64"`
	RootToken    string   `json:"root_token"`
}

// mustInit initialises with five recovery shares, three of them needed, and mounts kv.
func (r *harness) mustInit() []string {
	r.t.Helper()
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", map[string]int{"recovery_shares": 5, "recovery_threshold": 3}), &out)
	r.root = out.RootToken
	r.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	return out.RecoveryKeys
}

func (r *harness) decode(reply Reply, v any) {
	r.t.Helper()
	if err := reply.Decode(v); err != nil {
		r.t.Fatalf("%v: %s", err, reply.Body)
	}
}

func (r *harness) put(key, value string) Reply {
	r.t.Helper()
	return r.call("PUT", "kv/"+key, map[string]string{"v": value})
}

func (r *harness) get(key string) (string, Reply) {
	r.t.Helper()
	reply := r.call("GET", "kv/"+key, nil)
	var body struct{ Data struct{ V string } }
	_ = json.Unmarshal(reply.Body, &body)
	return body.Data.V, reply
}

func (r *harness) mustPut(key, value string) {
	r.t.Helper()
	if reply := r.put(key, value); reply.Code != 204 {
		r.t.Fatalf("write %s: %d %s", key, reply.Code, reply.Body)
	}
}

func (r *harness) mustGet(key, value string) {
	r.t.Helper()
	if got, reply := r.get(key); reply.Code != 200 || got != value {
		r.t.Fatalf("read %s: %d %s; want %q", key, reply.Code, reply.Body, value)
	}
}

// sealStatus is the part of sys/seal-status that tests read.
type sealStatus struct {
	Type        string `json:"type"`
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	T, N        int
	Progress    int      `json:"progress"`
	Warnings    []string `json:"warnings"`
	Seals       []struct {
		Name        string `json:"name"`
		WouldUnseal bool   `json:"would_unseal"`
		Class       string `json:"failure_class"`
		Cause       string `json:"failure"`
		Remedy      string `json:"remedy"`
		LastProbe   string `json:"last_probe"`
	} `json:"seals"`
}

// socketListener is a second listener: a request on a unix socket sees the details of seals while
// the server is sealed, when no token can be checked.
const (
	socketName     = "api.sock"
	socketListener = "\nlistener \"unix\" {\n  address     = \"" + socketName + "\"\n  tls_disable = true\n}\n"
)

// status reads sys/seal-status on the unix socket if there is one.
func (r *harness) status() sealStatus {
	r.t.Helper()
	var st sealStatus
	path := filepath.Join(r.Dir, socketName)
	if _, err := os.Stat(path); err != nil {
		r.decode(r.must(200, "GET", "sys/seal-status", nil), &st)
		return st
	}
	var d net.Dialer
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", path)
	}}
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", "http://sealgate/v1/sys/seal-status", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil || resp.StatusCode != 200 {
		r.t.Fatalf("sys/seal-status on the socket: %d, %v", resp.StatusCode, err)
	}
	return st
}
