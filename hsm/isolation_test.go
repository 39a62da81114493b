//go:build cgo && linux

package hsm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// workers lists the child processes of this one that serve a library.
func workers(t *testing.T) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if fields[1] == strconv.Itoa(os.Getpid()) && strings.HasPrefix(string(cmdline), "hsm-worker\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// isolated opens a token's key in a child process and returns its process id.
func isolated(t *testing.T, deadline time.Duration) (*hsm.Token, *hsm.Key, int) {
	t.Helper()
	tok := softhsm.New(t)
	tok.Key(t, hsm.AES256, "wrap")
	cfg := tok.Config()
	cfg.Deadline, cfg.Isolation = deadline, hsm.Process
	token, err := hsm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	key, err := token.Key(hsm.KeySpec{Label: "wrap"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	pids := workers(t)
	if len(pids) != 1 {
		t.Fatalf("%d worker processes, want 1", len(pids))
	}
	return token, key, pids[0]
}

// TestKilledWorkerFailsNoCall kills the worker again and again under eight callers: every call is
// retried in the next worker.
func TestKilledWorkerFailsNoCall(t *testing.T) {
	token, key, pid := isolated(t, 20*time.Second)
	defer token.Close()
	ctx, stop := context.WithCancel(t.Context())
	var done atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			plain, aad := []byte(fmt.Sprint("secret ", i)), []byte("aad")
			for ctx.Err() == nil {
				sealed, err := key.Encrypt(context.Background(), plain, aad)
				if err == nil {
					_, err = key.Decrypt(context.Background(), sealed, aad)
				}
				if err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	for range 3 {
		until(t, "progress", func() bool { return done.Swap(0) > 50 })
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		until(t, "a new worker", func() bool {
			pids := workers(t)
			if len(pids) != 1 || pids[0] == pid {
				return false
			}
			pid = pids[0]
			return true
		})
	}
	until(t, "progress", func() bool { return done.Load() > 50 })
	stop()
	wg.Wait()
}

// busy bounds what a busy machine takes after a deadline. TestHangCostsTheDeadlineAndASession and
// its neighbours check the times themselves, by a clock of their own.
const busy = 15 * time.Second

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s within a minute", what)
		}
	}
}

// freeze stops a process and waits until all of it stands.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "stop", func() bool {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(tasks) == 0 {
			t.Fatal(tasks, err)
		}
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			if err != nil || !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return true
	})
}

// TestHangingWorkerCostsOneDeadline stops the worker, as a library does that hangs for good.
func TestHangingWorkerCostsOneDeadline(t *testing.T) {
	token, key, pid := isolated(t, 2*time.Second)
	defer token.Close()
	freeze(t, pid)
	start := time.Now()
	_, err := key.Encrypt(t.Context(), []byte("secret"), nil)
	if took := time.Since(start); !errors.Is(err, hsm.ErrDeadline) || took > busy {
		t.Errorf("while it hangs: %v after %s; want ErrDeadline", err, took)
	}
	if _, err := key.Encrypt(t.Context(), []byte("secret"), nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if pids := workers(t); len(pids) != 1 || pids[0] == pid {
		t.Errorf("workers %v; want one that is not %d", pids, pid)
	}
}

// TestCancelledCallLeavesTheWorkerAlone cancels calls, which does not cost other callers their
// worker.
func TestCancelledCallLeavesTheWorkerAlone(t *testing.T) {
	token, key, pid := isolated(t, 20*time.Second)
	defer token.Close()
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Microsecond, cancel)
		if _, err := key.Encrypt(ctx, []byte("secret"), nil); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cancel()
	}
	if _, err := key.Encrypt(t.Context(), []byte("secret"), nil); err != nil {
		t.Error(err)
	}
	until(t, "return of all calls", func() bool { return token.Stats().Stuck == 0 })
	if pids := workers(t); len(pids) != 1 || pids[0] != pid {
		t.Errorf("workers %v; want %d alone", pids, pid)
	}
}

// TestCloseEndsAHangingWorker: a server that stops does not wait for its HSM.
func TestCloseEndsAHangingWorker(t *testing.T) {
	token, key, pid := isolated(t, 20*time.Second)
	freeze(t, pid)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := key.Encrypt(ctx, []byte("secret"), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that hangs: %v", err)
	}
	start := time.Now()
	if err := token.Close(); err != nil || time.Since(start) > busy {
		t.Errorf("Close: %v after %s", err, time.Since(start))
	}
	if pids := workers(t); len(pids) != 0 {
		t.Errorf("workers %v after Close", pids)
	}
}

func TestIsolationSettings(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*hsm.Config){
		"unknown isolation":                  func(c *hsm.Config) { c.Isolation = "thread" },
		"no network without a child process": func(c *hsm.Config) { c.Isolation, c.NoNetwork = hsm.InProcess, true },
		"paths without a child process": func(c *hsm.Config) {
			c.Isolation, c.Paths = hsm.InProcess,
				[]string{"/x"}
		},
	} {
		cfg := hsm.Config{Lib: "/x.so", TokenLabel: "t"}
		change(&cfg)
		if _, err := hsm.New(cfg); !errors.Is(err, hsm.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}
