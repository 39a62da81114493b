//go:build cgo && linux

package worker

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
	"github.com/sealgate/sealgate/internal/secret"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if hostileDir != "" {
			_ = os.RemoveAll(hostileDir)
		}
		os.Exit(code)
	}))
}

var hostileDir string // "" until hostile was called

// hostile compiles the library of testdata, which attempts what its input says.
var hostile = sync.OnceValues(func() (string, error) {
	var err error
	if hostileDir, err = os.MkdirTemp("", "hostile-"); err != nil {
		return "", err
	}
	path := filepath.Join(hostileDir, "hostile.so")
	out, err := exec.Command("cc", "-w", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", path,
		"testdata/hostile.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func config(t *testing.T) Config {
	t.Helper()
	path, err := hostile()
	if err != nil {
		t.Fatal(err)
	}
	return Config{Lib: path, Deadline: 5 * time.Second, Network: true, Memory: 512 << 20,
		Log: slog.New(slog.DiscardHandler)}
}

// open starts a worker and opens a session.
func open(t *testing.T, cfg Config) (ck.Library, ck.Session) {
	t.Helper()
	lib := New(cfg)
	t.Cleanup(func() { _ = lib.(ck.Killer).Close() })
	return lib, session0(t, lib)
}

func session0(t *testing.T, lib ck.Library) ck.Session {
	t.Helper()
	if err := lib.Initialize(); err != nil {
		t.Fatal(err)
	}
	slots, err := lib.Slots()
	if err != nil || len(slots) != 1 || slots[0].ID != 7 {
		t.Fatalf("slots %+v, %v", slots, err)
	}
	s, err := lib.Open(7, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// try has the library attempt something and returns its errno.
func try(s ck.Session, what, arg string) (syscall.Errno, error) {
	out, err := s.Crypt(ck.Call{Operation: ck.Encrypt, Mechanism: ck.MechAESGCM, Key: 1, Input: []byte(what + arg),
		Size: 16,
		IV:   make([]byte, 12)})
	if err != nil {
		return 0, err
	}
	return syscall.Errno(out[0]), nil
}

func TestHostileLibraryIsConfined(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "s.secret")
	t.Setenv("MY_PASSWORD", "secret")
	cfg := config(t)
	cfg.Network = false
	_, s := open(t, cfg)
	for _, c := range []struct {
		name, what, arg string
		want            syscall.Errno
	}{
		{"run a program", "x", "/bin/true", syscall.EPERM},
		{"open an Internet socket", "n", "", syscall.EPERM},
		{"open a Unix socket", "u", "", 0},
		{"read the parent's memory", "v", "", syscall.EPERM},
		{"be dumpable", "d", "", 0},
		{"make core dumps", "o", "", 0},
		{"see VAULT_TOKEN", "e", "VAULT_TOKEN", 0},
		{"see MY_PASSWORD", "e", "MY_PASSWORD", 0},
		{"see PATH", "e", "PATH", 1},
	} {
		if got, err := try(s, c.what, c.arg); err != nil || got != c.want {
			t.Errorf("%s: %d (%v), %v; want %d", c.name, got, got, err, c.want)
		}
	}
}

func TestNetworkIsAllowedByDefault(t *testing.T) {
	_, s := open(t, config(t))
	if got, err := try(s, "n", ""); err != nil || got != 0 {
		t.Errorf("an Internet socket: %v, %v", got, err)
	}
}

func TestPathsRestrictFiles(t *testing.T) {
	allowed, other := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "root.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.Paths = []string{allowed}
	_, s := open(t, cfg)
	for _, c := range []struct {
		name, what, path string
		want             syscall.Errno
	}{
		{"read the server's files", "r", filepath.Join(other, "root.key"), syscall.EACCES},
		{"write beside them", "w", filepath.Join(other, "new"), syscall.EACCES},
		{"write below the path", "w", filepath.Join(allowed, "new"), 0},
		{"read a system file", "r", "/etc/passwd", 0},
	} {
		if got, err := try(s, c.what, c.path); err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

func TestCrashEndsTheWorkerOnly(t *testing.T) {
	lib, s := open(t, config(t))
	if _, err := try(s, "c", ""); !errors.Is(err, ck.ErrWorker) || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("a crash: %v; want ErrWorker with the exit status", err)
	}
	if _, err := try(s, "u", ""); !errors.Is(err, ck.ErrWorker) {
		t.Errorf("a session of the ended worker: %v", err)
	}
	if _, err := lib.Slots(); !errors.Is(err, ck.NotInitialized) {
		t.Errorf("before the next C_Initialize: %v", err)
	}
	if _, err := try(session0(t, lib), "u", ""); err != nil {
		t.Errorf("in a new worker: %v", err)
	}
}

func TestCrashingLibraryIsNotStartedAllTheTime(t *testing.T) {
	lib, s := open(t, config(t))
	var err error
	for range 12 {
		_, _ = try(s, "c", "")
		if err = lib.Initialize(); err != nil {
			break
		}
		if s, err = lib.Open(7, false); err != nil {
			break
		}
	}
	if !errors.Is(err, ck.ErrWorker) || !strings.Contains(err.Error(), "next start") {
		t.Errorf("%v; want a pause after repeated crashes", err)
	}
}

func TestHangEndsByTheDeadline(t *testing.T) {
	cfg := config(t)
	cfg.Deadline = 300 * time.Millisecond
	lib, s := open(t, cfg)
	start := time.Now()
	if _, err := try(s, "h", ""); !errors.Is(err, ck.ErrWorker) || time.Since(start) > time.Minute/2 {
		t.Errorf("a hang: %v after %s", err, time.Since(start))
	}
	if _, err := try(session0(t, lib), "u", ""); err != nil {
		t.Errorf("in a new worker: %v", err)
	}
}

func TestLeakEndsAtTheLimit(t *testing.T) {
	lib, s := open(t, config(t))
	if got, err := try(s, "l", ""); err == nil && got != syscall.ENOMEM || err != nil && !errors.Is(err, ck.ErrWorker) {
		t.Errorf("a leak: %v, %v; want ENOMEM, or the worker's end", got, err)
	}
	lib.(ck.Killer).Kill()
	if _, err := try(session0(t, lib), "u", ""); err != nil {
		t.Errorf("in a new worker: %v", err)
	}
}

// TestPINIsNotInThisProcess looks through this process's memory for the PIN.
func TestPINIsNotInThisProcess(t *testing.T) {
	digits := make([]byte, 24)
	_, _ = rand.Read(digits)
	for i := range digits {
		digits[i] = '0' + digits[i]%10
	}
	wanted := invert(digits) // to search for without a copy of the PIN
	pin := secret.New(digits)
	kept, err := KeepPIN(pin)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Destroy()
	if n := occurrences(t, wanted); n != 1 {
		t.Fatalf("the search finds the PIN %d times before it is wiped", n)
	}
	pin.Destroy()
	cfg := config(t)
	cfg.PIN = kept
	_, s := open(t, cfg)
	if err := s.Login(ck.User, nil); !errors.Is(err, ck.PINIncorrect) { // the library wants 1234
		t.Errorf("login: %v", err)
	}
	if n := occurrences(t, wanted); n != 0 {
		t.Errorf("the PIN is in this process's memory %d times", n)
	}
}

func TestLoginUsesThePINOfTheFile(t *testing.T) {
	pin := secret.New([]byte("1234"))
	kept, err := KeepPIN(pin)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Destroy()
	cfg := config(t)
	cfg.PIN = kept
	lib, s := open(t, cfg)
	for range 2 { // a second worker reads the same file
		if err := s.Login(ck.User, nil); err != nil {
			t.Fatal(err)
		}
		lib.(ck.Killer).Kill()
		s = session0(t, lib)
	}
}

func invert(b []byte) []byte {
	out := make([]byte, len(b))
	for i, c := range b {
		out[i] = ^c
	}
	return out
}

// occurrences counts the inverse of a pattern in this process's writable memory.
func occurrences(t *testing.T, inverse []byte) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		buf := make([]byte, 1<<20)
		for at := from; at < to; at += int64(len(buf)) - int64(len(inverse)) {
			got, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			for i := range buf[:got] {
				buf[i] = ^buf[i]
			}
			n += bytes.Count(buf[:got], inverse)
			clear(buf) // it lies in the memory that is searched, and the inverse of inverse is the pattern
			if at+int64(got) >= to {
				break
			}
		}
		clear(buf)
	}
	return n
}

// TestHostileResponses plays a child that sends what the protocol does not allow.
func TestHostileResponses(t *testing.T) {
	for name, frame := range map[string][]byte{
		"a huge frame":              {0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0},
		"a frame shorter than head": {1, 0, 0, 0, 1, 0, 0, 0, 0},
		"another call's number":     {5, 0, 0, 0, 99, 0, 0, 0, 0},
		"an unknown status":         {5, 0, 0, 0, 1, 0, 0, 0, 9},
		"CKR_OK as an error":        {13, 0, 0, 0, 1, 0, 0, 0, statusCKR, 0, 0, 0, 0, 0, 0, 0, 0},
		"a truncated list":          {9, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0, 0},
		"a list of many":            {9, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"bytes after the end":       {10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			cmd := exec.Command("sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p := newProcess(Config{Deadline: 5 * time.Second, Log: slog.New(slog.DiscardHandler)}, cmd, ours, nil)
			go func() {
				buf := make([]byte, 64)
				_, _ = theirs.Read(buf)
				_, _ = theirs.Write(frame)
			}()
			c := &client{p: p}
			slots, err := c.Slots()
			if err == nil {
				t.Errorf("%+v", slots)
			}
			p.fail(ck.ErrClosed)
			<-p.exited
			<-p.finished
			_ = theirs.Close()
		})
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(uint8(opCrypt), []byte{1, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add(uint8(opFind), []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, op uint8, payload []byte) {
		s := &server{sessions: map[uint64]ck.Session{1: nothing{}}, lib: nothing{}}
		body, err := s.do(operation(op), &decoder{b: payload})
		if err == nil && body != nil {
			body(new(encoder))
		}
	})
}

// nothing is a library whose calls do nothing.
type nothing struct{}

func (nothing) Initialize() error                                           { return nil }
func (nothing) Finalize() error                                             { return nil }
func (nothing) Slots() ([]ck.Slot, error)                                   { return nil, nil }
func (nothing) Open(uint, bool) (ck.Session, error)                         { return nothing{}, nil }
func (nothing) Login(uint, []byte) error                                    { return nil }
func (nothing) Find([]ck.Attribute, []uint, int) ([]ck.Object, error)       { return nil, nil }
func (nothing) Crypt(ck.Call) ([]byte, error)                               { return nil, nil }
func (nothing) Close() error                                                { return nil }
func (nothing) Generate(uint, []ck.Attribute, []ck.Attribute) (uint, error) { return 0, nil }
func (nothing) Alter(uint, ck.Attribute) error                              { return nil }
func (nothing) Destroy(uint) error                                          { return nil }
