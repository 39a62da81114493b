package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/testkit"
)

// TestFailingDisk: the disk of a serving program reports errors, becomes read-only, or does not
// answer. Writes say which, health shows it, reads continue, and all is as before when it is over.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	tracer := testkit.Require(t, "strace")
	for what, c := range map[string]struct {
		inject string // of strace
		class  string
		says   string // in the refusal of a write; "" for a slow write that succeeds
	}{
		"errors on writes": {"pwrite64:error=EIO", "failed", "check the disk"},
		"errors on syncs":  {"fdatasync:error=EIO", "failed", "check the disk"},
		"read-only":        {"pwrite64:error=EROFS", "read-only", "accept writes"},
		"silent":           {"fdatasync:delay_enter=8000000", "unresponsive", ""},
		"slow":             {"fdatasync:delay_enter=200000", "", ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newStaticHarness(t)
			r.mustStart()
			r.mustInit()
			r.mustPut("a", "before")
			end := r.inject(tracer, c.inject)
			begun := time.Now()
			answered := make(chan Reply, 1)
			go func() { answered <- r.put("b", "meanwhile") }()
			failing := func() bool {
				h, code, err := r.Health(t.Context())
				return err == nil && code == 200 && h.StorageFailure == c.class
			}
			if c.class != "" {
				r.eventually(patience, "health says "+c.class, failing)
			}
			r.mustGet("a", "before")
			reply := <-answered
			t.Logf("the write was answered after %s: %d %s", time.Since(begun).Round(time.Millisecond), reply.Code, reply.Body)
			switch {
			case c.says == "" && reply.Code != 204:
				t.Errorf("a slow write: %d %s", reply.Code, reply.Body)
			case c.says != "" && (reply.Code != 503 || !strings.Contains(string(reply.Body), c.says) ||
				!strings.Contains(string(reply.Body), c.class)):
				t.Errorf("the refusal: %d %s; want 503 with %q and %q", reply.Code, reply.Body, c.class, c.says)
			}
			slow := func(want bool) func() bool { // an average of commits: each call is one more
				return func() bool {
					if reply := r.put("b", "meanwhile"); reply.Code != 204 {
						t.Errorf("a write to a slow disk: %d %s", reply.Code, reply.Body)
					}
					h, code, err := r.Health(t.Context())
					return err == nil && code == 200 && h.StorageSlow == want
				}
			}
			if what == "slow" {
				r.eventually(patience, "health says slow", slow(true))
				saysAll(t, "the log", r.Log(), "the storage is slow", "check the disk")
				r.mustGet("b", "meanwhile")
			}
			end()
			if what == "slow" {
				r.eventually(patience, "health no longer says slow", slow(false))
				saysAll(t, "the log", r.Log(), "the storage is no longer slow")
			}
			r.eventually(patience, "a write succeeds", func() bool { return r.put("c", "after").Code == 204 })
			if h, _, err := r.Health(t.Context()); err != nil || h.StorageFailure != "" {
				t.Errorf("health after it is over: %q, %v", h.StorageFailure, err)
			}
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			r.mustStart()
			r.until(patience, "unsealed", unsealed)
			r.mustGet("a", "before")
			r.mustGet("c", "after")
			if reply.Code == 204 {
				r.mustGet("b", "meanwhile")
			}
		})
	}
}

// inject makes calls on the database file of the running program fail or wait, until end is called.
func (r *harness) inject(tracer, what string) (end func()) {
	r.t.Helper()
	call, _, _ := strings.Cut(what, ":")
	cmd := exec.Command(tracer, "-f", "-q", "-P", r.dataFile(), "-e", "trace="+call, "-e", "inject="+what,
		"-o", filepath.Join(r.t.TempDir(), "trace"), "-p", fmt.Sprint(r.Pid()))
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }() // the end of the test kills it
	stop := func() {
		_ = cmd.Process.Signal(unix.SIGTERM) // detaches
		<-done
	}
	r.t.Cleanup(stop)
	for deadline := time.Now().Add(patience); !r.traced(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-done:
			testkit.Missing(r.t, "this machine lets no process be traced: %s", log.String())
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("strace does not attach: %s", log.String())
		}
	}
	return stop
}

// traced reports whether every thread of the program is traced.
func (r *harness) traced() bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.Pid()))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task)
		if err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}

// TestUnreadableDiskAtStart: the disk cannot read a page of the database when the server starts.
// The refusal names the page, the file and what to do, and changes nothing; when the disk reads
// again, the server serves.
func TestUnreadableDiskAtStart(t *testing.T) {
	t.Parallel()
	tracer := testkit.Require(t, "strace")
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.mustPut("a", "before")
	r.mustStop()
	before, err := os.ReadFile(r.dataFile())
	if err != nil {
		t.Fatal(err)
	}
	program := r.Bin
	r.Bin = filepath.Join(t.TempDir(), "unreadable")
	text := fmt.Sprintf("#!/bin/sh\nexec %s -D -f -q -P %s -e trace=pread64 -e inject=pread64:error=EIO:when=10+ -o %s "+
		"%s \"$@\"\n", tracer, r.dataFile(), filepath.Join(t.TempDir(), "trace"), program)
	if err := os.WriteFile(r.Bin, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	r.exits("the disk cannot read page", "input/output error", "data/sealgate.db", "dmesg", "snapshot restore")
	if after, err := os.ReadFile(r.dataFile()); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the file was changed, or: %v", err)
	}
	r.Bin = program
	r.mustStart()
	r.until(patience, "unsealed", unsealed)
	r.mustGet("a", "before")
}
