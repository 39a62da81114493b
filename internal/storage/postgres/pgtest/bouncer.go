package pgtest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
	"github.com/sealgate/sealgate/internal/testkit/ports"
)

// Bouncer starts PgBouncer in front of a database, with pool_mode = transaction and few server
// connections, so that transactions change servers. It returns the URL behind it. It ends with the
// test.
func Bouncer(t testing.TB, database string) string {
	t.Helper()
	program := bouncerProgram(t)
	target, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	port, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[databases]\n* = host=%s port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\n"+
		"unix_socket_dir =\nauth_type = plain\nauth_file = %s/users\npool_mode = transaction\ndefault_pool_size = 4\n"+
		"max_client_conn = 200\n", target.Hostname(), target.Port(), port, dir)
	files := map[string]string{"pgbouncer.ini": config, "users": fmt.Sprintf("%q %q\n", User, Password)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-q", filepath.Join(dir, "pgbouncer.ini"))
	if cmd.SysProcAttr, err = unprivilegedIn(dir, files); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // reports the kill
		if t.Failed() {
			t.Logf("PgBouncer: %s", log.String())
		}
		_ = os.RemoveAll(dir)
	})
	addr := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	testkit.Eventually(t, "PgBouncer listens", func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	target.Host = addr
	return target.String()
}

// bouncerProgram finds PgBouncer, which Debian installs outside of most users' PATH.
func bouncerProgram(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/pgbouncer"); err == nil {
		return "/usr/sbin/pgbouncer"
	}
	return testkit.Require(t, "pgbouncer")
}

// unprivilegedIn gives a folder and its files to the user that PgBouncer runs as: like PostgreSQL
// it refuses to run as root.
func unprivilegedIn(dir string, files map[string]string) (*syscall.SysProcAttr, error) {
	run, err := unprivileged()
	if run == nil || err != nil {
		return &syscall.SysProcAttr{}, err
	}
	for _, path := range append([]string{dir}, names(dir, files)...) {
		if err := os.Chown(path, int(run.Uid), int(run.Gid)); err != nil {
			return nil, err
		}
	}
	return &syscall.SysProcAttr{Credential: run}, nil
}

func names(dir string, files map[string]string) (paths []string) {
	for name := range files {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths
}
