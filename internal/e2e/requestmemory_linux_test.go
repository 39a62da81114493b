package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	smallMemory = 96 << 20
	writers     = 16
)

// memoryGroup makes a control group with a limit, whose processes the kernel kills beyond it, and
// returns its folder; "" where this user cannot make one.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	for _, kind := range []struct{ parent, file string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(kind.parent, fmt.Sprintf("sealgate-e2e-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, kind.file), []byte(strconv.Itoa(limit)), 0o644) == nil {
			return dir
		}
	}
	return ""
}

// TestSmallMemory: 16 writers of 0.9 MB each on a server with 96 MB of memory. Requests are refused
// with 429 and succeed when they are sent again; the kernel does not kill the server, and its
// health is answered all the time. The program is that of a release: the race detector takes more.
func TestSmallMemory(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	bin := buildPlain(t)
	r.Env = append(r.Env, "GOMEMLIMIT="+strconv.Itoa(smallMemory*9/10))
	if group := memoryGroup(t, smallMemory); group != "" {
		r.Bin = filepath.Join(r.Dir, "confined")
		script := fmt.Sprintf("#!/bin/sh\necho $$ > %s/cgroup.procs && exec %s \"$@\"\n", group, bin)
		if err := os.WriteFile(r.Bin, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		r.Bin = bin
		t.Log("no control group: the memory is measured, and nothing enforces it")
	}
	r.mustStart()
	r.mustInit()
	pid := r.Pid()
	body, err := json.Marshal(map[string]string{"v": strings.Repeat("x", 900_000)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var done, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := 0; n < 3; {
				code, retry := r.write(ctx, fmt.Sprintf("kv/%d-%d", i, n), body)
				switch {
				case code == 204:
					done.Add(1)
					n++
				case code == 429 && retry != "":
					refused.Add(1)
					time.Sleep(20 * time.Millisecond) // instead of the second that Retry-After asks for
				default:
					t.Errorf("writer %d: status %d", i, code)
					return
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	peak := 0.0
	for busy := true; busy; {
		select {
		case <-finished:
			busy = false
		case <-time.After(10 * time.Millisecond):
		}
		if h, code, err := r.Health(ctx); err != nil || code != 200 || h.Sealed {
			t.Fatalf("health: %d, %v", code, err)
		}
		peak = max(peak, anonymous(t, pid))
	}
	if r.Pid() != pid || done.Load() != writers*3 {
		t.Errorf("%d of %d writes, process %d, then %d", done.Load(), writers*3, pid, r.Pid())
	}
	if peak > smallMemory/1e6 {
		t.Errorf("%.0f MB of anonymous memory at the peak", peak)
	}
	if refused.Load() == 0 {
		t.Error("no request was refused: the test shows nothing")
	}
	t.Logf("%d writes, %d refusals, %.0f MB of anonymous memory at the peak", done.Load(), refused.Load(), peak)
}

// write writes an entry once, and returns the status and Retry-After.
func (r *harness) write(ctx context.Context, path string, body []byte) (int, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL()+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("X-Vault-Token", r.root)
	resp, err := client.Do(req)
	if err != nil { // the server closed the connection of a request that it refused, before the answer was read
		if ctx.Err() == nil && closedBetween(err) {
			return 429, "reset"
		}
		return 0, err.Error()
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

// anonymous returns the anonymous memory of a process in MB: what the kernel cannot write back.
func anonymous(t *testing.T, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("the server is gone: %v", err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb * 1024 / 1e6
		}
	}
	t.Fatal("no RssAnon")
	return 0
}
