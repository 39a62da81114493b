// Package e2e runs the real program: it starts a sealgate server as a child process on a free port,
// talks to it as clients do, and kills it. The tests beside it are the proofs that need a whole
// server; the demonstration uses the same parts.
//
// It guarantees that a server it started is gone when [Server.Stop], or the test's clean-up, has
// returned.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// Server is a sealgate server as a child process.
type Server struct {
	Bin  string   // the program
	Dir  string   // its working directory; the configuration and, usually, the data lie there
	Addr string   // host:port
	Env  []string // beside PATH and HOME
	Args []string // of "sealgate server"; nil: -config=sealgate.hcl

	mu   sync.Mutex
	cmd  *exec.Cmd
	log  *Log
	done chan struct{} // closed when the child was waited for
	exit error
}

// Log collects what a child prints.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is everything so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Build compiles the real program with the race detector and with failpoints, and returns its path
// below dir.
func Build(dir string) (string, error) {
	bin := filepath.Join(dir, "sealgate")
	cmd := exec.Command("go", "build", "-race", "-tags", "failpoints", "-o", bin,
		"github.com/sealgate/sealgate/cmd/sealgate")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("e2e: building the program: %w\n%s", err, out)
	}
	return bin, nil
}

// FreeAddr returns an address on 127.0.0.1 that nothing else takes.
func FreeAddr() (string, error) { return ports.Addr() }

// Config is the configuration of a server with one plain listener, the embedded store in its folder
// and the given seal stanza. Requests may create audit logs in its folder.
func Config(addr, seal string) string {
	return fmt.Sprintf("storage \"bbolt\" {\n  path = \"data\"\n}\nlistener \"tcp\" {\n  address     = %q\n  "+
		"tls_disable = true\n}\naudit_folders = [\".\"]\n%s", addr, seal)
}

// Start runs `sealgate server -config=sealgate.hcl` and returns at once; extra arguments follow.
func (s *Server) Start(args ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return errors.New("e2e: the server runs already")
	}
	all := []string{"server", "-config=sealgate.hcl"}
	if s.Args != nil {
		all = append([]string{"server"}, s.Args...)
	}
	cmd := exec.Command(s.Bin, append(all, args...)...)
	cmd.Dir = s.Dir
	cmd.Env = s.environ()
	if s.log == nil {
		s.log = &Log{}
	}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		s.exit = cmd.Wait()
		close(done)
	}(s.done)
	return nil
}

// environ is what a child sees of this process's environment, and Env.
func (s *Server) environ() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir}
	if race := os.Getenv("GORACE"); race != "" {
		env = append(env, "GORACE="+race)
	}
	return append(env, s.Env...)
}

// Signal sends a signal to the child.
func (s *Server) Signal(sig os.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return errors.New("e2e: no server runs")
	}
	return s.cmd.Process.Signal(sig)
}

// Pid is the child's process id, 0 where none runs.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Kill ends the child as kill -9 does.
func (s *Server) Kill() error {
	if err := s.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_, err := s.Wait(patience)
	return err
}

// Stop ends the child by SIGTERM, and after half a minute by force.
func (s *Server) Stop() error {
	if s.Pid() == 0 {
		return nil
	}
	if err := s.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if _, err := s.Wait(30 * time.Second); err == nil {
		return nil
	}
	return errors.Join(errors.New("e2e: the server did not end within 30 s of SIGTERM"), s.Kill())
}

// Wait waits for the child to exit and returns its exit code, -1 for a signal.
func (s *Server) Wait(d time.Duration) (int, error) {
	s.mu.Lock()
	cmd, done := s.cmd, s.done
	s.mu.Unlock()
	if cmd == nil {
		return 0, errors.New("e2e: no server runs")
	}
	select {
	case <-done:
	case <-time.After(d):
		return 0, fmt.Errorf("e2e: the server did not end within %s", d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd = nil
	return cmd.ProcessState.ExitCode(), nil
}

// Log is everything that the server printed, over all its starts.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return ""
	}
	return s.log.String()
}

// URL is the server's address for clients.
func (s *Server) URL() string { return "http://" + s.Addr }

// Health is the body of sys/health, as far as tests read it.
type Health struct {
	Initialized    bool   `json:"initialized"`
	Sealed         bool   `json:"sealed"`
	WouldUnseal    *bool  `json:"seal_would_unseal"`
	ClusterID      string `json:"cluster_id"`
	StorageFailure string `json:"storage_failure"`
	StorageSlow    bool   `json:"storage_slow"`
}

// Health asks sys/health.
func (s *Server) Health(ctx context.Context) (h Health, code int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/v1/sys/health", nil)
	if err != nil {
		return h, 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return h, 0, err
	}
	defer resp.Body.Close()
	return h, resp.StatusCode, json.NewDecoder(resp.Body).Decode(&h)
}

var client = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// Until asks sys/health until ok says so, or the time is over, or the child ends.
func (s *Server) Until(d time.Duration, what string, ok func(h Health, code int) bool) error {
	deadline := time.Now().Add(d)
	var last Health
	var code int
	var err error
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), min(d, 10*time.Second))
		last, code, err = s.Health(ctx)
		cancel()
		if err == nil && ok(last, code) {
			return nil
		}
		select {
		case <-s.ended():
			return fmt.Errorf("e2e: waiting until %s: the server ended: %v\n%s", what, s.exit, s.Log())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("e2e: not %s within %s: health %d %+v, %v\n%s", what, d, code, last, err, s.Log())
}

func (s *Server) ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// UntilUp waits until the server answers.
func (s *Server) UntilUp() error {
	return s.Until(patience, "answering", func(Health, int) bool { return true })
}

// UntilUnsealed waits until the server is active.
func (s *Server) UntilUnsealed() error {
	return s.Until(patience, "unsealed", func(h Health, code int) bool { return code == http.StatusOK && !h.Sealed })
}

// Reply is the answer to one request.
type Reply struct {
	Code int
	Body []byte
}

// Decode reads the body as JSON.
func (r Reply) Decode(v any) error { return json.Unmarshal(r.Body, v) }

// Errors returns the errors in the body.
func (r Reply) Errors() string {
	var e struct{ Errors []string }
	_ = json.Unmarshal(r.Body, &e)
	return strings.Join(e.Errors, "; ")
}

// Do sends one request; body is marshalled unless it is nil, a string or bytes.
func (s *Server) Do(ctx context.Context, method, path, token string, body any) (Reply, error) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return Reply{}, err
		}
		r = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+"/v1/"+path, r)
	if err != nil {
		return Reply{}, err
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return Reply{Code: resp.StatusCode, Body: raw}, err
}

// Result is the output of a command, and its exit code.
type Result struct {
	Out, Err string
	Code     int
}

// CLI runs a client command of the program against the server.
func (s *Server) CLI(ctx context.Context, token, stdin string, args ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, s.Bin, args...)
	cmd.Dir = s.Dir
	cmd.Env = append(s.environ(), "SEALGATE_ADDR="+s.URL(), "SEALGATE_MAX_RETRIES=0")
	if token != "" {
		cmd.Env = append(cmd.Env, "SEALGATE_TOKEN="+token)
	}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return Result{Out: out.String(), Err: errs.String(), Code: cmd.ProcessState.ExitCode()}, err
}

// WriteConfig stores a configuration as sealgate.hcl in the server's folder.
func (s *Server) WriteConfig(text string) error {
	return os.WriteFile(filepath.Join(s.Dir, "sealgate.hcl"), []byte(text), 0o600)
}
