//go:build compose

package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// trial is the compose file, run as a project of its own, on ports of its own.
type trial struct {
	t       *testing.T
	command []string
	env     []string
	ports   map[string]string
	dir     string
}

// newTrial finds the command for compose files and free ports.
func newTrial(t *testing.T) *trial {
	t.Helper()
	tr := &trial{t: t, command: strings.Fields(os.Getenv("COMPOSE")), env: os.Environ(),
		ports: map[string]string{}, dir: t.TempDir()}
	if len(tr.command) == 0 {
		if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
			t.Fatalf("no Docker daemon answers; start one, or name another command for compose files in $COMPOSE: %v\n%s", err,
				out)
		}
		tr.command = []string{"docker", "compose"}
	}
	for _, name := range []string{"SOFTHSM", "AWS", "GCP", "LOCALSTACK", "OPENBAO", "PROMETHEUS", "GRAFANA"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		tr.ports[name] = port
		tr.env = append(tr.env, "PORT_"+name+"="+port)
	}
	return tr
}

// try runs the command on the repository's compose file.
func (tr *trial) try(limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	all := append(append(tr.command[1:len(tr.command):len(tr.command)], "-p", "sealgate-compose-test"), args...)
	cmd := exec.CommandContext(ctx, tr.command[0], all...)
	cmd.Dir, cmd.Env = "../../..", tr.env
	out, err := os.CreateTemp(tr.dir, "out") // files: a pipe stays open for as long as a container has it
	if err != nil {
		return "", err
	}
	defer out.Close()
	errs, err := os.CreateTemp(tr.dir, "err")
	if err != nil {
		return "", err
	}
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	failed := cmd.Run()
	printed, err1 := os.ReadFile(out.Name())
	complaints, err2 := os.ReadFile(errs.Name())
	if err := errors.Join(failed, err1, err2); err != nil {
		return string(printed), fmt.Errorf("%s: %w\n%s\n%s", strings.Join(args, " "), err, tail(string(printed)),
			tail(string(complaints)))
	}
	return string(printed), nil
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func (tr *trial) run(args ...string) string {
	tr.t.Helper()
	out, err := tr.try(3*time.Minute, args...)
	if err != nil {
		tr.t.Fatal(err)
	}
	return out
}

// server is one of the servers of the file.
type server struct {
	tr                              *trial
	name, service, behind, kind, at string
	token                           string
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *server) do(method, path string, body, into any) (int, error) {
	var r io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		r = bytes.NewReader(raw)
	}
	q, err := http.NewRequest(method, "http://127.0.0.1:"+s.at+"/v1/"+path, r)
	if err != nil {
		return 0, err
	}
	q.Header.Set("X-Vault-Token", s.token)
	a, err := client.Do(q)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	raw, err := io.ReadAll(a.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(raw, into)
	}
	return a.StatusCode, err
}

// until waits for a condition.
func (s *server) until(limit time.Duration, what string, ok func() bool) {
	s.tr.t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			out, err := s.tr.try(time.Minute, "logs", s.service)
			s.tr.t.Fatalf("%s: not %s within %s\n%s %v", s.name, what, limit, tail(out), err)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func (s *server) health(want int) func() bool {
	return func() bool {
		code, err := s.do("GET", "sys/health", nil, nil)
		return err == nil && code == want
	}
}

func (s *server) silent() bool {
	_, err := s.do("GET", "sys/health", nil, nil)
	return err != nil
}

const patience = 3 * time.Minute

// learn reads what the one-shot stored for the operator.
func (s *server) learn() {
	s.tr.t.Helper()
	var made struct {
		Shares []string `json:"recovery_keys_hex"`
		Root   string   `json:"root_token"`
	}
	s.until(time.Minute, "found in the operator's volume", func() bool {
		out, err := s.tr.try(time.Minute, "--profile", "operator", "run", "--rm", "-T", "operator", "cat", s.name+".json")
		if err != nil {
			s.tr.t.Log(err)
			return false
		}
		from := strings.Index(out, "{")
		return from >= 0 && json.Unmarshal([]byte(out[from:strings.LastIndex(out, "}")+1]), &made) == nil
	})
	if len(made.Shares) != 3 || made.Root == "" {
		s.tr.t.Fatalf("%s: %d recovery shares, and a root token: %t", s.name, len(made.Shares), made.Root != "")
	}
	s.token = made.Root
}

type secretOf struct {
	Data struct {
		Data map[string]string `json:"data"`
	} `json:"data"`
}

func (s *server) write() {
	s.tr.t.Helper()
	if code, err := s.do("POST", "sys/mounts/trial",
		map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}, nil); err != nil || code != 204 {
		s.tr.t.Fatalf("%s: mounting: %d, %v", s.name, code, err)
	}
	s.until(time.Minute, "writing", func() bool {
		code, err := s.do("POST", "trial/data/a", map[string]any{"data": map[string]string{"of": s.name}}, nil)
		return err == nil && code == 200
	})
}

func (s *server) read() {
	s.tr.t.Helper()
	var got secretOf
	if code, err := s.do("GET", "trial/data/a", nil, &got); err != nil || code != 200 || got.Data.Data["of"] != s.name {
		s.tr.t.Fatalf("%s: reading what was written: %d, %v, %v", s.name, code, err, got)
	}
}

// judge holds the server's own word on its seals against the file.
func (s *server) judge() {
	s.tr.t.Helper()
	var st struct {
		Would    bool `json:"would_unseal"`
		Wrapped  bool `json:"fully_wrapped"`
		Backends []struct {
			Type  string `json:"type"`
			Would bool   `json:"would_unseal"`
		} `json:"backends"`
	}
	s.until(patience, "sure that its seal would unseal it", func() bool {
		code, err := s.do("GET", "sys/seal-backend-status", nil, &st)
		return err == nil && code == 200 && st.Would
	})
	if !st.Wrapped || len(st.Backends) != 1 || st.Backends[0].Type != s.kind || !st.Backends[0].Would {
		s.tr.t.Errorf("%s: %+v", s.name, st)
	}
}

// confined looks from within: no root user, no capability, no file that can be made.
func (tr *trial) confined(service string) {
	tr.t.Helper()
	const look = `test "$(id -u)" -ne 0 && grep -q '^CapEff:.0000000000000000$' /proc/self/status && grep -q ` +
		`'^NoNewPrivs:.1$' /proc/self/status && ! touch /usr/x 2>/dev/null && echo confined`
	if out := tr.run("exec", "-T", service, "/bin/sh", "-c", look); !strings.Contains(out, "confined") {
		tr.t.Errorf("%s is not confined: %q", service, out)
	}
}

func (tr *trial) kill(services ...string) {
	tr.t.Helper()
	for _, s := range services {
		tr.run("kill", s)
	}
}

// TestCompose: everything is up, unsealed and in use; each killed container comes back and unseals
// automatically, also where the seal comes later than the server.
func TestCompose(t *testing.T) {
	tr := newTrial(t)
	t.Cleanup(func() {
		if t.Failed() {
			out, err := tr.try(time.Minute, "ps")
			t.Log(out, err)
		}
		if _, err := tr.try(5*time.Minute, "--profile", "operator", "down", "-v", "-t", "5"); err != nil {
			t.Error(err)
		}
	})
	if _, err := tr.try(60*time.Minute, "up", "-d", "--build"); err != nil {
		t.Fatal(err)
	}
	servers := []*server{
		{tr: tr, name: "softhsm", service: "softhsm", kind: "pkcs11", at: tr.ports["SOFTHSM"]},
		{tr: tr, name: "localstack", service: "localstack-sealgate", behind: "localstack", kind: "awskms",
			at: tr.ports["AWS"]},
		{tr: tr, name: "gcp", service: "gcp-sealgate", behind: "gcp-kms", kind: "gcpckms", at: tr.ports["GCP"]},
	}
	for _, s := range servers {
		s.until(patience, "unsealed", s.health(200))
		s.learn()
		s.write()
		s.judge()
	}
	for _, service := range []string{"softhsm", "localstack", "localstack-sealgate", "gcp-sealgate", "gcp-kms"} {
		tr.confined(service)
	}
	for _, s := range servers {
		tr.kill(s.service)
		s.until(time.Minute, "gone", s.silent)
		tr.run("start", s.service)
		s.until(patience, "unsealed automatically after kill -9", s.health(200))
		s.read()
	}
	for _, s := range servers {
		if s.behind == "" {
			continue
		}
		tr.kill(s.behind, s.service)
		s.until(time.Minute, "gone", s.silent)
		tr.run("start", s.service)
		s.until(patience, "up and sealed while its seal is unavailable", s.health(503))
		tr.run("start", s.behind)
		s.until(patience, "unsealed automatically when its seal is back", s.health(200))
		s.read()
		s.judge()
	}
	if out, err := tr.try(5*time.Minute, "down", "-v", "-t", "5"); err != nil {
		t.Fatal(out, err)
	}
	for _, s := range servers {
		if !s.silent() {
			t.Error(errors.New(s.name + " is still there"))
		}
	}
}
