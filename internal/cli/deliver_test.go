package cli

import (
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// childVariable makes the test program a command line of this package.
const childVariable = "SEALGATE_CLI_TEST_CHILD"

func child() {
	os.Exit(Run(os.Args[1:], Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Home: os.TempDir()}))
}

// TestNewSharesIntoBrokenPipe runs a process whose standard output is a pipe without a reader. It
// must survive SIGPIPE, report the error, and not acknowledge the shares to the server.
func TestNewSharesIntoBrokenPipe(t *testing.T) {
	t.Parallel()
	script := &scripted{t: t, answers: map[string][]answer{
		"GET sys/rekey-recovery-key/init":   {ok(givenBy("alice", "bob"))},
		"PUT sys/rekey-recovery-key/update": {ok(rekeyDone)}}}
	srv := httptest.NewServer(script)
	defer srv.Close()
	unread, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	unread.Close()
	defer stdout.Close()
	var stderr bytes.Buffer
	cmd := exec.Command(os.Args[0], "operator", "rekey", "-target=recovery", nonceFlag, "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hunter2\n"), stdout, &stderr
	cmd.Env = append(os.Environ(), childVariable+"=1", "SEALGATE_ADDR="+srv.URL, "SEALGATE_TOKEN=s.token")
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != exitLocal {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	if !strings.Contains(stderr.String(), "operator rekey -target=recovery "+nonceFlag) ||
		strings.Contains(stderr.String(), "hunter2") {
		t.Errorf("it says %q", stderr.String())
	}
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "shares")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	b := newBase(Env{Stdout: file})
	if err := b.deliver("new shares"); err != nil {
		t.Errorf("a file: %v", err)
	}
	if data, err := os.ReadFile(name); err != nil || string(data) != "new shares" {
		t.Errorf("%q, %v", data, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.deliver("new shares"); err == nil {
		t.Error("a closed file took them")
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	b.env.Stdout = write
	if err := b.deliver("new shares"); err != nil {
		t.Errorf("a pipe: %v", err)
	}
}
