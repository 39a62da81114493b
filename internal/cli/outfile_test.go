package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/snapshot"
)

// snapshotServer serves a snapshot and keeps the one that it receives.
type snapshotServer struct {
	content  []byte
	received atomic.Pointer[[]byte]
}

func newSnapshotServer(t *testing.T) (*snapshotServer, string) {
	t.Helper()
	store := inmem.New()
	if err := store.Commit(t.Context(),
		storage.Batch{Ops: []storage.Op{{Key: "core/x", Value: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	proof := snapshot.Proof{Seal: func(sums []byte) ([]byte, error) { return sums, nil }}
	if _, err := snapshot.Save(t.Context(), &b, store, snapshot.Meta{ClusterName: "one"}, proof); err != nil {
		t.Fatal(err)
	}
	s := &snapshotServer{content: b.Bytes()}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = w.Write(s.content)
			return
		}
		body, _ := io.ReadAll(r.Body)
		s.received.Store(&body)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(srv.Close)
	return s, srv.URL
}

// runLine runs a command line and returns its output and exit code.
func runLine(t *testing.T, url, stdin string, args ...string) (stdout string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(args, Env{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs, Home: t.TempDir(),
		Getenv: func(name string) string {
			return map[string]string{"VAULT_ADDR": url, "VAULT_TOKEN": "t", "VAULT_MAX_RETRIES": "0"}[name]
		}})
	t.Logf("%q: exit %d\n%s", args, code, errs.String())
	return out.String(), code
}

// fifo makes a named pipe and returns its path and the data that a reader gets from it.
func fifo(t *testing.T) (path string, data <-chan string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		all, _ := os.ReadFile(path)
		read <- string(all)
	}()
	return path, read
}

func isFIFO(t *testing.T, path string) {
	t.Helper()
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe was replaced: %v, %v", info, err)
	}
}

// TestSnapshotSaveTargets saves to everything that is not a plain file. The code before replaced
// each by a regular file and lost the data.
func TestSnapshotSaveTargets(t *testing.T) {
	t.Parallel()
	s, url := newSnapshotServer(t)
	for _, name := range []string{"save", "raft save"} {
		words := append([]string{"operator"}, strings.Fields(strings.Replace(name, "save", "snapshot save", 1))...)
		for _, stdout := range []string{"-", "/dev/stdout", "/dev/fd/1"} {
			if out, code := runLine(t, url, "", append(words, stdout)...); code != 0 || out != string(s.content) {
				t.Errorf("%s %s: exit %d, %d bytes", name, stdout, code, len(out))
			}
		}
		pipe, data := fifo(t)
		if _, code := runLine(t, url, "", append(words, pipe)...); code != 0 || <-data != string(s.content) {
			t.Errorf("%s to a pipe: exit %d", name, code)
		}
		isFIFO(t, pipe)
	}
	if _, err := os.Lstat("-"); err == nil {
		t.Error("there is a file named -")
	}
}

func TestSnapshotSaveFollowsLinks(t *testing.T) {
	t.Parallel()
	s, url := newSnapshotServer(t)
	dir := t.TempDir()
	target, link := filepath.Join(dir, "backup", "today"), filepath.Join(dir, "latest.snap")
	if err := os.Mkdir(filepath.Dir(target), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("backup/today", link); err != nil {
		t.Fatal(err)
	}
	for range 2 { // to a new file, then over it
		if _, code := runLine(t, url, "", "operator", "snapshot", "save", link); code != 0 {
			t.Fatalf("exit %d", code)
		}
		if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, s.content) {
			t.Errorf("the target holds %d bytes, %v", len(got), err)
		}
		if to, err := os.Readlink(link); err != nil || to != "backup/today" {
			t.Errorf("the link was replaced: %q, %v", to, err)
		}
	}
	if err := os.Chmod(target, 0o640); err != nil {
		t.Fatal(err)
	}
	s.content = s.content[:len(s.content)/2]
	if _, code := runLine(t, url, "", "operator", "snapshot", "save", link); code != 2 {
		t.Errorf("a truncated snapshot: exit %d", code)
	}
	if _, code := runLine(t, url, "", "operator", "snapshot", "save", "-"); code != 2 {
		t.Errorf("a truncated snapshot to standard output: exit %d", code)
	}
	entries, err := os.ReadDir(filepath.Dir(target))
	if info, statErr := os.Stat(target); err != nil || statErr != nil || len(entries) != 1 ||
		info.Size() < int64(len(s.content)) {
		t.Errorf("the previous snapshot was lost, or a temporary file remains: %v", entries)
	}
}

func TestSnapshotFromStandardInput(t *testing.T) {
	t.Parallel()
	s, url := newSnapshotServer(t)
	if out, code := runLine(t, url, string(s.content), "operator", "snapshot", "inspect", "-"); code != 0 ||
		!strings.Contains(out, "one") {
		t.Errorf("inspect: exit %d\n%s", code, out)
	}
	if _, code := runLine(t, url, string(s.content), "operator", "snapshot", "restore", "-"); code != 0 ||
		!bytes.Equal(*s.received.Load(), s.content) {
		t.Errorf("restore: exit %d", code)
	}
	s.received.Store(nil)
	damaged := string(s.content[:len(s.content)-20])
	if _, code := runLine(t, url, damaged, "operator", "snapshot", "restore", "-"); code != 1 || s.received.Load() != nil {
		t.Errorf("a damaged snapshot was sent: exit %d", code)
	}
}

// TestOtherFilesThatCommandsWrite checks that no other command replaces a pipe or a link.
func TestOtherFilesThatCommandsWrite(t *testing.T) {
	t.Parallel()
	pipe, data := fifo(t)
	b := newBase(Env{})
	if err := writeNew(b, pipe, []byte("{}")); err != nil || <-data != "{}" {
		t.Errorf("transcript export: %v", err)
	}
	isFIFO(t, pipe)
	if err := replaceFile(pipe, []byte("x")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("policy fmt: %v", err)
	}
	isFIFO(t, pipe)
	dir := t.TempDir()
	token, link := filepath.Join(dir, "token"), filepath.Join(dir, "link")
	if err := os.WriteFile(token, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("token", link); err != nil {
		t.Fatal(err)
	}
	b.env.Getenv = func(name string) string { return map[string]string{"VAULT_TOKEN_PATH": link}[name] }
	if err := storeToken(b, "s.new"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(token)
	if text, readErr := os.ReadFile(token); err != nil || readErr != nil || string(text) != "s.new" ||
		info.Mode().Perm() != 0o600 {
		t.Errorf("login: %q, %v, %v", text, info, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "token" {
		t.Errorf("login replaced the link: %q, %v", to, err)
	}
}
