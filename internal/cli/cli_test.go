package cli

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
	}
	goleak.VerifyTestMain(m)
}

// scripted is a server with canned responses: for each "METHOD path" a sequence, whose last one
// repeats.
type scripted struct {
	t       *testing.T
	mu      sync.Mutex
	answers map[string][]answer
	log     strings.Builder // the requests, for the golden file
}

type answer struct {
	code int
	body string
}

// Responses that do not arrive: the connection breaks before them or within.
var (
	lost = answer{0, ""}
	torn = answer{-200, `{"nonce":"7d0b3c4e-0000`}
)

func ok(body string) answer { return answer{200, body} }

func refusal(code int, text string) answer {
	return answer{code, fmt.Sprintf(`{"errors":[%q]}`, text)}
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Vault-Request") == "" { // not from this package: another process polls a port that it had before
		w.WriteHeader(http.StatusTeapot)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(&s.log, "%s %s", r.Method, r.URL)
	for _, h := range []string{"X-Vault-Token", "X-Vault-Namespace", "X-Vault-Wrap-TTL", "X-Extra"} {
		if v := r.Header.Get(h); v != "" {
			fmt.Fprintf(&s.log, " %s:%s", h, v)
		}
	}
	fmt.Fprintf(&s.log, " %s\n", bytes.TrimSpace(body))
	key := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/")
	turn, known := s.answers[key]
	if !known {
		s.t.Errorf("unexpected request: %s", key)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	if len(turn) > 1 {
		s.answers[key] = turn[1:]
	}
	w.Header().Set("Content-Type", "application/json")
	if code := turn[0].code; code <= 0 {
		if code < 0 {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(-code)
			_, _ = io.WriteString(w, turn[0].body)
		}
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(turn[0].code)
	_, _ = io.WriteString(w, turn[0].body)
}

// unread is a standard output whose reader has exited.
type unread struct{}

func (unread) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// typist is a terminal with a user who types these lines.
type typist struct{ lines []string }

func (t *typist) ReadSecret() ([]byte, error) {
	if len(t.lines) == 0 {
		return nil, errors.New("EOF")
	}
	line := t.lines[0]
	t.lines = t.lines[1:]
	return []byte(line), nil
}

// run is one command line against a scripted server. The golden file has its output, requests and
// exit code.
type run struct {
	name    string
	args    []string
	env     map[string]string
	stdin   string
	typed   []string // nil: no terminal
	files   map[string]string
	answers map[string][]answer
	want    int
	unread  bool   // standard output is a broken pipe
	secret  string // must not appear in the output
}

func (c run) exec(t *testing.T) {
	t.Parallel()
	script := &scripted{t: t, answers: c.answers}
	srv := httptest.NewServer(script)
	defer srv.Close()
	home := t.TempDir()
	for name, text := range c.files {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"VAULT_ADDR": srv.URL, "BAO_TOKEN": "s.token", "SEALGATE_MAX_RETRIES": "0"}
	for k, v := range c.env {
		env[k] = strings.ReplaceAll(v, "HOME", home)
	}
	args := make([]string, len(c.args))
	for i, a := range c.args {
		args[i] = strings.ReplaceAll(strings.ReplaceAll(a, "HOME", home), "SERVER", srv.URL)
	}
	var stdout, stderr bytes.Buffer
	runEnv := Env{Stdin: strings.NewReader(c.stdin), Stdout: &stdout, Stderr: &stderr, Home: home, Version: "1.2.3",
		Getenv: func(k string) string { return env[k] },
		Pause:  func(d time.Duration) { fmt.Fprintf(&stderr, "(a pause of %v)\n", d) },
		Now:    func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }, Program: "/usr/bin/sealgate",
		Rand: strings.NewReader(strings.Repeat("\x00\xff\x01\x3d\x3e\xf8", 16))}
	if c.unread {
		runEnv.Stdout = unread{}
	}
	if c.typed != nil {
		runEnv.Terminal = &typist{lines: c.typed}
	}
	code := Run(args, runEnv)
	srv.Close() // its log is read below
	if code != c.want {
		t.Errorf("exit code %d, want %d\n%s%s", code, c.want, stdout.String(), stderr.String())
	}
	if c.secret != "" && strings.Contains(stdout.String()+stderr.String(), c.secret) {
		t.Errorf("the output contains the secret:\n%s%s", stdout.String(), stderr.String())
	}
	text := fmt.Sprintf("$ sealgate %s\n%s--- stderr\n%s--- exit %d\n%s", strings.Join(c.args, " "), stdout.String(),
		stderr.String(), code, script.log.String())
	text = strings.NewReplacer(srv.URL, "http://SERVER", home, "HOME").Replace(text)
	golden(t, c.name, text)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("../../testdata/cli", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func runAll(t *testing.T, runs []run) {
	t.Parallel()
	for _, c := range runs {
		t.Run(c.name, c.exec)
	}
}

const (
	unsealedHSM = `{"type":"pkcs11","initialized":true,"sealed":false,"t":3,"n":5,"progress":0,"nonce":"","version":"1.2.3","commit_date":"","build_date":"","migration":false,"cluster_name":"vault-cluster-0a1b2c3d","cluster_id":"11111111-1111-1111-1111-111111111111","recovery_seal":true,"recovery_seal_type":"shamir","storage_type":"bbolt"}`
	sealedOne   = `{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":1,"nonce":"0f3c2a11-1111-2222-3333-444455556666","version":"2.6.2","commit_date":"2026-01-01T00:00:00Z","migration":false,"recovery_seal":false,"storage_type":"file"}`
	unsealed    = `{"type":"shamir","initialized":true,"sealed":false,"t":3,"n":5,"progress":0,"nonce":"","version":"1.15.2","build_date":"2026-01-01T00:00:00Z","migration":false,"recovery_seal":false,"storage_type":"raft","cluster_name":"c","cluster_id":"i"}`
	fresh       = `{"type":"shamir","initialized":false,"sealed":true,"t":0,"n":0,"progress":0,"nonce":"","version":"1.2.3","migration":false,"recovery_seal":false,"storage_type":"inmem"}`
	freshHSM    = `{"type":"pkcs11","initialized":false,"sealed":true,"t":0,"n":0,"progress":0,"nonce":"","version":"1.2.3","migration":false,"recovery_seal":true,"recovery_seal_type":"shamir","storage_type":"inmem"}`
	noHA        = `{"ha_enabled":false}`
	active      = `{"ha_enabled":true,"is_self":true,"active_time":"2026-01-02T03:04:05.678Z","leader_address":"https://10.0.0.1:8200","leader_cluster_address":"https://10.0.0.1:8201","raft_committed_index":31,"raft_applied_index":31}`
	standby     = `{"ha_enabled":true,"leader_address":"https://10.0.0.1:8200","leader_cluster_address":"https://10.0.0.1:8201"}`

	sealedHSM = `{"type":"pkcs11","initialized":true,"sealed":true,"t":3,"n":5,"progress":0,"nonce":"",` +
		`"version":"1.2.3","migration":false,"recovery_seal":true,` +
		`"recovery_seal_type":"shamir","storage_type":"bbolt","seals":[{"name":"hsm",` +
		`"type":"pkcs11","would_unseal":false,"failing_since":"2026-11-22T18:13:05Z",` +
		`"failure_class":"unreachable"},{"name":"sky","type":"awskms","would_unseal":true}],` +
		`"warnings":["seal pkcs11: unreachable: the token is not there (see whether the HSM is connected)"]}`
)

func TestStatus(t *testing.T) {
	leader := func(seal string, l answer) map[string][]answer {
		return map[string][]answer{"GET sys/seal-status": {ok(seal)}, "GET sys/leader": {l}}
	}
	runAll(t, []run{
		{name: "status-hsm", args: []string{"status"}, answers: leader(unsealedHSM, ok(noHA))},
		{name: "status-hsm-unavailable", args: []string{"status"}, want: 2, answers: leader(sealedHSM, ok(noHA))},
		{name: "status-sealed", args: []string{"status"}, want: 2, answers: leader(sealedOne, ok(noHA))},
		{name: "status-sealed-cluster", args: []string{"status"}, want: 2,
			env:     map[string]string{"SEALGATE_MAX_RETRIES": "2"},
			answers: leader(sealedOne, refusal(503, "Vault is sealed"))},
		{name: "status-active", args: []string{"status", "-ns", "team"}, answers: leader(unsealed, ok(active))},
		{name: "status-standby", args: []string{"status"}, answers: leader(unsealed, ok(standby))},
		{name: "status-json", args: []string{"status", "-format=json"}, answers: leader(unsealed, ok(active))},
		{name: "status-yaml", args: []string{"status", "-format", "yaml"}, want: 2, answers: leader(sealedHSM, ok(noHA))},
		{name: "status-error", args: []string{"status"}, want: 1,
			answers: map[string][]answer{"GET sys/seal-status": {refusal(500, "broken")}}},
		{name: "status-leader-error", args: []string{"status"}, want: 1, answers: leader(unsealed, refusal(500, "broken"))},
		{name: "status-format-unknown", args: []string{"status", "-format=xml"}, want: 1},
		{name: "status-flag-unknown", args: []string{"status", "-fromat=json"}, want: 1},
		{name: "status-help", args: []string{"status", "-h"}},
	})
}

func TestGlobal(t *testing.T) {
	runAll(t, []run{
		{name: "version", args: []string{"version"}},
		{name: "version-flag", args: []string{"-version"}},
		{name: "no-arguments", args: nil, want: 127},
		{name: "unknown-command", args: []string{"nosuch"}, want: 127},
		{name: "group-alone", args: []string{"operator"}, want: 1},
		{name: "flags-anywhere", args: []string{"read", "-address", "SERVER", "secret/app", "-tls-skip-verify", "-format",
			"json"},
			env: map[string]string{"VAULT_ADDR": "https://127.0.0.1:1"},
			answers: map[string][]answer{
				"GET secret/app": {ok(
					`{"request_id":"r","lease_id":"","renewable":false,"lease_duration":0,"data":{"a":"b"},"warnings":null}`)}}},
		{name: "headers", args: []string{"delete", "-header", "X-Extra=1", "-namespace=team", "-wrap-ttl=60", "secret/app"},
			answers: map[string][]answer{"DELETE secret/app": {{204, ""}}}},
		{name: "header-refused", args: []string{"delete", "-header", "x-vault-token=1", "secret/app"}, want: 1},
		{name: "curl", args: []string{"write", "-output-curl-string", "secret/app", "a=b"}},
		{name: "token-from-file", args: []string{"print", "token"}, env: map[string]string{"BAO_TOKEN": ""},
			files: map[string]string{".vault-token": "s.fromfile\n"}},
		{name: "token-path", args: []string{"print", "token"},
			env: map[string]string{"BAO_TOKEN": "", "VAULT_TOKEN_PATH": "HOME/t"}, files: map[string]string{"t": "s.elsewhere"}},
		{name: "token-precedence", args: []string{"print", "token"},
			env: map[string]string{"SEALGATE_TOKEN": "s.first", "VAULT_TOKEN": "s.last"}},
		{name: "environment-wrong", args: []string{"read", "x"}, env: map[string]string{"VAULT_SKIP_VERIFY": "perhaps"},
			want: 1},
		{name: "timeout-wrong", args: []string{"read", "x"}, env: map[string]string{"VAULT_CLIENT_TIMEOUT": "soon"}, want: 1},
	})
}
