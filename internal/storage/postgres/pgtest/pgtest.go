// Package pgtest runs real PostgreSQL servers for tests: initdb into a temporary folder, a free
// port of 127.0.0.1, never as root, with a password. A server can be killed or stopped, and started
// again with its data and port. A [Proxy] in front of one can stall or cut connections.
//
// [Database] returns a new database of one server that all tests of the process share. However the
// process ends, its servers stop and their folders are removed. It is never linked into the
// program.
package pgtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// User is the superuser of every server, Password its password.
const (
	User     = "sealgate"
	Password = "password-of-a-test"
)

// patience bounds the start of a server on a busy machine.
const patience = time.Minute

// Server is a PostgreSQL server.
type Server struct {
	Port     int
	dir      string
	settings []string
	bin      string
	run      *syscall.Credential // nil: as this process
	keeper   *keeper

	mu  sync.Mutex
	cmd *exec.Cmd
}

var (
	shared struct {
		once   sync.Once
		server *Server
		err    error
	}
	databases atomic.Int64
)

// Database creates a database on the server that the process shares, and returns its URL.
func Database(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = start(nil) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server.Database(t)
}

// Start starts a server for one test. Settings are "name=value", as in postgresql.conf.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := start(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop(t)
		s.keeper.end(t)
	})
	return s
}

// Addr returns the address of the server.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// URL returns the URL of a database of the server, without TLS.
func (s *Server) URL(database string) string { return URL(s.Addr(), database) }

// URL returns the URL of a database at an address, such as a proxy's.
func URL(addr, database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", User, Password, addr, database)
}

// Database creates a database and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d", databases.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	return s.URL(name)
}

// Exec runs statements as the superuser.
func (s *Server) Exec(t testing.TB, database string, statements ...string) {
	t.Helper()
	Exec(t, s.URL(database), statements...)
}

// Exec runs statements on the database of a URL.
func Exec(t testing.TB, url string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }() // the statements are done
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Stop stops the server like "pg_ctl stop -m immediate": it recovers on its next start, with its
// data.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end(t, syscall.SIGQUIT)
}

// Kill kills the server's processes with SIGKILL.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.end(t, syscall.SIGKILL)
}

func (s *Server) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	others := children(s.cmd.Process.Pid)
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Errorf("ending PostgreSQL: %v", err)
	}
	if signal == syscall.SIGKILL { // they would notice only when they wait next
		for _, pid := range others {
			_ = syscall.Kill(pid, signal) // it may have ended
		}
	}
	_ = s.cmd.Wait() // its status does not matter
	s.cmd = nil
}

// children returns the child processes of a server; none if the system does not report them.
func children(pid int) (pids []int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for word := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(word); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// Restart starts a stopped server with its data and port, and waits until it responds.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.launch(); err != nil {
		t.Fatal(err)
	}
}

// binaries finds the folder with initdb and postgres: on PATH, or where Debian puts them, the
// newest version first.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("pgtest: PostgreSQL's server is not installed: apt-get install postgresql, or put the folder " +
			"of initdb on PATH")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // not a number: an old version
		return n
	}
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	return filepath.Dir(found[0]), nil
}

// unprivileged returns the user that PostgreSQL runs as: it refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		if errU == nil && errG == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("pgtest: PostgreSQL does not run as root, and there is no user postgres or nobody")
}

func start(settings []string) (*Server, error) {
	s := &Server{settings: settings}
	var err error
	if s.bin, err = binaries(); err != nil {
		return nil, err
	}
	if s.run, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "sealgate-postgres-"); err != nil {
		return nil, err
	}
	if s.keeper, err = keep(s.dir); err != nil {
		return nil, err
	}
	if err := s.initialize(); err != nil {
		return nil, err
	}
	for attempt := 0; ; attempt++ {
		if s.Port, err = ports.Free(); err != nil {
			return nil, err
		}
		if err = s.launch(); err == nil || attempt == 3 { // another process may have taken the port meanwhile
			return s, err
		}
	}
}

func (s *Server) initialize() error {
	pw := filepath.Join(s.dir, "password")
	if err := os.WriteFile(pw, []byte(Password), 0o600); err != nil {
		return err
	}
	if s.run != nil {
		for _, path := range []string{s.dir, pw} {
			if err := os.Chown(path, int(s.run.Uid), int(s.run.Gid)); err != nil {
				return err
			}
		}
	}
	cmd := s.command("initdb", "--username="+User, "--pwfile="+pw, "--auth=scram-sha-256", "--encoding=UTF8",
		"--locale=C.UTF-8",
		"--no-sync", "--no-instructions", "-D", filepath.Join(s.dir, "data"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: initdb: %w\n%s", err, out)
	}
	return nil
}

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TZ=UTC"}
	// the test handles an interrupt at the terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.run, Setpgid: true}
	return cmd
}

// ended checks the process without waiting. (A waiting goroutine would look like a leak to every
// test.)
func ended(cmd *exec.Cmd) bool {
	pid, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WNOHANG, nil)
	return pid != 0 || err != nil
}

// launch starts the server and waits until it responds.
func (s *Server) launch() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	deadline := time.Now().Add(patience)
	for {
		err := s.attempt(deadline)
		// Processes of a killed server may hold its shared memory for a moment.
		if err == nil || !strings.Contains(err.Error(), "shared memory block") || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *Server) attempt(deadline time.Time) error {
	args := []string{"-D", filepath.Join(s.dir, "data"), "-p", strconv.Itoa(s.Port)}
	ours := []string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300",
		"shared_buffers=32MB",
		"max_wal_senders=0", "wal_level=minimal"}
	for _, setting := range append(ours, s.settings...) {
		args = append(args, "-c", setting)
	}
	cmd := s.command("postgres", args...)
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			err = conn.Close(ctx)
		}
		cancel()
		if err == nil {
			s.cmd = cmd
			return nil
		}
		if !ended(cmd) && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond) // between two attempts; PostgreSQL does not report when it is ready
			continue
		}
		_ = cmd.Process.Signal(syscall.SIGQUIT) // if it has not ended
		_ = cmd.Wait()
		text, _ := os.ReadFile(log.Name()) // as far as it was written
		return fmt.Errorf("pgtest: PostgreSQL does not respond: %w\n%s", err, text)
	}
}
