//go:build unix

package localstack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// ErrNotInstalled is returned where LocalStack is not installed. Its text says what to do.
var ErrNotInstalled = errors.New("LocalStack is not installed")

// startLimit bounds a start, which usually takes three seconds.
const startLimit = 90 * time.Second

// Server is one LocalStack, with KMS unless [WithS3] started it. Its methods are safe for
// concurrent use, except Stop and Restart.
type Server struct {
	URL  string // http://127.0.0.1:PORT
	addr string
	home string // the virtual environment

	services string // "kms", or "s3"

	cmd   *exec.Cmd
	leash io.Closer // LocalStack ends when this pipe is closed, which the death of this process does
	dir   string
	done  chan struct{}
}

// script runs LocalStack ($1) and ends it, with its folder ($2), when its standard input ends.
const script = `exec 3<&0
"$1" -m localstack.runtime.main </dev/null 3<&- &
pid=$!
{ read -r _ <&3; kill -KILL $pid; rm -rf "$2"; kill -KILL 0; } &
wait $pid`

// Start runs a LocalStack on a free port and returns when its KMS answers.
func Start() (*Server, error) { return startWith("kms") }

func startWith(services string) (*Server, error) {
	home, err := find()
	if err != nil {
		return nil, err
	}
	addr, err := ports.Addr()
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + addr, addr: addr, home: home, services: services}
	return s, s.Start()
}

// find returns the virtual environment: in the folder SEALGATE_LOCALSTACK, or in build/localstack
// of this repository.
func find() (string, error) {
	const remedy = "run .ci/localstack, which makes build/localstack (Python 3.11 to 3.13 and PyPI are needed)"
	dir := os.Getenv("SEALGATE_LOCALSTACK")
	if dir == "" {
		root, err := testkit.Root()
		if err != nil {
			return "", fmt.Errorf("%w: %w; set SEALGATE_LOCALSTACK to its virtual environment", ErrNotInstalled, err)
		}
		dir = filepath.Join(root, "build", "localstack")
	}
	if _, err := os.Stat(filepath.Join(dir, "installed")); err != nil {
		return "", fmt.Errorf("%w in %s: %s", ErrNotInstalled, dir, remedy)
	}
	return filepath.Abs(dir)
}

// Start starts a stopped server again, on the same port and without keys.
func (s *Server) Start() (err error) {
	if s.cmd != nil {
		return errors.New("localstack: it runs already")
	}
	if s.dir, err = os.MkdirTemp("", "sealgate-localstack-"); err != nil {
		return err
	}
	state := filepath.Join(s.dir, "state")
	if err := errors.Join(os.MkdirAll(filepath.Join(state, "usr"), 0o700),
		os.Symlink(filepath.Join(s.home, "root", "usr", "lib"), filepath.Join(state, "usr", "lib"))); err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	defer log.Close()
	s.cmd = exec.Command("/bin/sh", "-c", script, "localstack", filepath.Join(s.home, "bin", "python"), s.dir)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = log, log, s.dir
	s.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "TMPDIR=" + s.dir, "FILESYSTEM_ROOT=" + state,
		"GATEWAY_LISTEN=" + s.addr, "SERVICES=" + s.services, "EAGER_SERVICE_LOADING=1", "DNS_ADDRESS=0",
		"SKIP_SSL_CERT_DOWNLOAD=1",
		"DISABLE_EVENTS=1", "PYTHONNOUSERSITE=1",
		"OVERRIDE_IN_DOCKER=0", // in a container, too, it keeps to its folder
	}
	if s.leash, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return errors.Join(fmt.Errorf("localstack: %w", err), os.RemoveAll(s.dir))
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		defer close(done)
		_ = cmd.Wait() // ended by a signal, always
	}(s.cmd, s.done)
	return s.ready()
}

// ready waits until the service answers.
func (s *Server) ready() error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(startLimit)
	defer deadline.Stop()
	for {
		select {
		case <-s.done:
			return s.failed("it ended at once")
		case <-deadline.C:
			return s.failed(fmt.Sprintf("it did not answer within %s", startLimit))
		case <-tick.C:
		}
		resp, err := client.Get(s.URL + "/_localstack/health")
		if err != nil {
			continue // not listening yet
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK && bytes.Contains(body, []byte(`"`+s.services+`": "running"`)) {
			return nil
		}
	}
}

// failed stops the process and returns the end of its log.
func (s *Server) failed(what string) error {
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if len(log) > 4000 {
		log = log[len(log)-4000:]
	}
	return errors.Join(fmt.Errorf("localstack: %s; its log ends:\n%s", what, log), err, s.Stop())
}

// Stop ends the server and its child processes. Its keys are lost.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	err := syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	<-s.done
	s.cmd = nil
	_ = s.leash.Close() // Wait has closed it already
	return errors.Join(err, os.RemoveAll(s.dir))
}

// Restart stops the server and starts it on the same port. Its keys are lost.
func (s *Server) Restart() error {
	if err := s.Stop(); err != nil {
		return err
	}
	return s.Start()
}

// shared is the one LocalStack of a test process.
var shared struct {
	sync.Mutex
	server *Server
}

// Shared returns the LocalStack that all tests of this process use; the first call starts it. A
// test that cannot have one fails.
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := Start()
		if err != nil {
			t.Fatal(err)
		}
		shared.server = s
	}
	return shared.server
}

// New starts a LocalStack for one test, which may stop and restart it.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// WithS3 starts a LocalStack with S3 instead of KMS for one test.
func WithS3(t testing.TB) *Server {
	t.Helper()
	s, err := startWith("s3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Main is for TestMain, with or without goleak: its Run runs the tests and stops the shared
// LocalStack.
func Main(m *testing.M) interface{ Run() int } { return runner{m} }

type runner struct{ m *testing.M }

func (r runner) Run() int {
	code := r.m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return code
	}
	if err := shared.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}
