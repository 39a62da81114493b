package bbolt

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/storage"
)

type boltTx = bolt.Tx

// Some tests need a process that they can kill or limit: the test binary again, with a job to do.
const (
	childEnv    = "SEALGATE_BBOLT_TEST_JOB"
	childDirEnv = "SEALGATE_BBOLT_TEST_DIR"
)

// startChild runs a job in another process, and returns its output line by line.
func startChild(t *testing.T, job, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+job, childDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // its end is the end of us
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// child does a job and does not return.
func child(job string) {
	s, err := Open(context.Background(), os.Getenv(childDirEnv), Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	switch job {
	case "hold":
		fmt.Println("open")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "write":
		writeForever(s)
	case "limited":
		writeLimited(s)
	}
	os.Exit(0)
}

// writeForever commits pairs from several goroutines and prints each when it is acknowledged.
func writeForever(s storage.Store) {
	var mu sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("w%d/%06d", w, i)
				value := []byte(strings.Repeat(key, 20))
				err := s.Commit(context.Background(), storage.Batch{Ops: []storage.Op{
					storage.Put("a/"+key, value), storage.Put("b/"+key, value), storage.Delete(fmt.Sprintf("a/w%d/%06d", w, i-50)),
					storage.Delete(fmt.Sprintf("b/w%d/%06d", w, i-50))}})
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Println(key)
				mu.Unlock()
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// TestKilled kills a writing process again and again: every acknowledged pair is there, and no half
// of one.
func TestKilled(t *testing.T) {
	t.Parallel()
	for round := range 4 {
		dir := t.TempDir()
		cmd, lines := startChild(t, "write", dir)
		acknowledged := map[string]bool{}
		for lines.Scan() {
			if key := lines.Text(); len(key) == len("w0/000000") { // the last line may be cut
				acknowledged[key] = true
			} else if strings.HasPrefix(key, "error") {
				t.Fatal(key)
			}
			if len(acknowledged) == 150+70*round {
				if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		checkPairs(t, open(t, dir), acknowledged)
	}
}

func checkPairs(t *testing.T, s *Store, acknowledged map[string]bool) {
	t.Helper()
	found := map[string]int{}
	err := s.Snapshot(context.Background(), func(key string, value []byte) error {
		found[key[2:]]++
		if string(value) != strings.Repeat(key[2:], 20) {
			t.Errorf("%q holds another value", key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	newest := map[string]string{}
	for key, n := range found {
		if n != 2 {
			t.Errorf("half a batch: %q", key)
		}
		newest[key[:2]] = max(newest[key[:2]], key)
	}
	for key := range acknowledged {
		var i, last int
		if _, err := fmt.Sscanf(key[3:]+" "+newest[key[:2]][3:], "%d %d", &i, &last); err != nil {
			t.Fatal(err)
		}
		if found[key] != 2 && i > last-50 { // older ones were deleted by later batches
			t.Errorf("acknowledged and lost: %q", key)
		}
	}
	if len(acknowledged) < 100 {
		t.Errorf("only %d batches were acknowledged", len(acknowledged))
	}
}

// TestLocked names the process that has the file open.
func TestLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, lines := startChild(t, "hold", dir)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("the other process: %q", lines.Text())
	}
	_, err := Open(context.Background(), dir, Options{LockWait: 1})
	wantError(t, err, storage.ErrLocked, dir, FileName, fmt.Sprintf("process %d", cmd.Process.Pid), "stop that process")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s := open(t, dir)
	_, err = Open(context.Background(), dir, Options{LockWait: 1})
	wantError(t, err, storage.ErrLocked, "in this process")
	put(t, s, "k", "v")
}
