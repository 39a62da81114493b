package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
)

// TestRequestsCannotWriteAnyFile acts as a client that may create audit devices and wants to write
// into a file of the server's user.
func TestRequestsCannotWriteAnyFile(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	logs := filepath.Join(home, "logs")
	profile := filepath.Join(home, ".profile")
	write := func(path, text string) string {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(profile, "# start-up file\n")
	write(filepath.Join(logs, "notes.txt"), "no entries\n")
	write(filepath.Join(logs, "short.txt"), "{")
	links := map[string]error{
		"to a file":   os.Symlink(profile, filepath.Join(logs, "link")),
		"to nowhere":  os.Symlink(filepath.Join(home, "new"), filepath.Join(logs, "dangling")),
		"to a folder": os.Symlink(home, filepath.Join(logs, "folder")),
		"hard":        os.Link(profile, filepath.Join(logs, "hard")),
		"fifo":        syscall.Mkfifo(filepath.Join(logs, "fifo"), 0o600),
	}
	for what, err := range links {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	b := active(t, func(o *Options) { o.AnyFile, o.Folders = false, []string{logs} })
	for _, path := range []string{
		profile, "/dev/null", "/etc/cron.d/x", logs, logs + "/../.profile", logs + "/a/../../.profile", logs + "x/audit.log",
		"../audit.log", logs + "/link", logs + "/dangling", logs + "/folder/new", logs + "/folder/.profile", logs + "/hard",
		logs + "/fifo", logs + "/notes.txt",
	} {
		for _, skip := range []string{"false", "true"} {
			err := b.trail.Enable(t.Context(), config("a", "file", "file_path", path, "skip_test", skip))
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("file_path %s, skip_test %s: %v", path, skip, err)
			}
		}
	}
	if text, err := os.ReadFile(profile); string(text) != "# start-up file\n" || err != nil {
		t.Errorf("the start-up file: %q, %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(home, "new")); err == nil {
		t.Error("a file was created through a link")
	}
	if len(b.trail.List()) != 0 {
		t.Errorf("devices: %v", b.trail.List())
	}
	for name, path := range map[string]string{"new": logs + "/sub/audit.log", "out": "stdout", "none": "discard"} {
		if err := b.trail.Enable(t.Context(), config(name, "file", "file_path", path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if text, err := os.ReadFile(logs + "/sub/audit.log"); !strings.HasPrefix(string(text), `{"time":"`) || err != nil {
		t.Errorf("the audit log: %q, %v", text, err)
	}
	// A log that a device wrote can be used again.
	if err := b.trail.Disable(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	if err := b.trail.Enable(t.Context(), config("again", "file", "file_path", logs+"/sub/audit.log")); err != nil {
		t.Errorf("an audit log: %v", err)
	}
}

// TestAFileThatIsReplacedIsRefused: a link that takes the place of the log after the device was
// created is not followed at the next rotation.
func TestAFileThatIsReplacedIsRefused(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	logs := filepath.Join(home, "logs")
	b := active(t, func(o *Options) { o.AnyFile, o.Folders = false, []string{logs} })
	path := filepath.Join(logs, "audit.log")
	if err := b.trail.Enable(t.Context(), config("a", "file", "file_path", path)); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(home, "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine\n"), 0o600), os.Remove(path),
		os.Symlink(victim, path)); err != nil {
		t.Fatal(err)
	}
	b.trail.Reopen()
	if err := b.once("after the replacement"); !errors.Is(err, ErrUnwritten) {
		t.Errorf("a request: %v", err)
	}
	if text, err := os.ReadFile(victim); string(text) != "mine\n" || err != nil {
		t.Errorf("the victim: %q, %v", text, err)
	}
}
