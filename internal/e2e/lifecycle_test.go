package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSystemd runs the server as a unit of Type=notify-reload with WatchdogSec does. The code
// before sent nothing, and systemd killed such units after 90 seconds.
func TestSystemd(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	path := filepath.Join(r.Dir, "notify.sock")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	r.Env = append(r.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000")
	// until returns the first message with all of the words.
	until := func(words ...string) string {
		t.Helper()
		buf := make([]byte, 4096)
		var seen []string
		if err := socket.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	read:
		for {
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("no %q: %v; there were %q", words, err, seen)
			}
			seen = append(seen, string(buf[:n]))
			for _, word := range words {
				if !strings.Contains(seen[len(seen)-1], word) {
					continue read
				}
			}
			return seen[len(seen)-1]
		}
	}
	r.mustStart()
	until("READY=1", "STATUS=not initialized")
	r.mustInit()
	until("STATUS=active")
	until("WATCHDOG=1")
	r.reload()
	reloading := until("RELOADING=1")
	_, us, _ := strings.Cut(reloading, "MONOTONIC_USEC=")
	if n, err := strconv.ParseInt(us, 10, 64); err != nil || n <= 0 {
		t.Errorf("a reload says %q", reloading)
	}
	until("READY=1", "STATUS=active")
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	until("STOPPING=1")
}

// TestReloadReports changes settings of every kind and checks that SIGHUP logs which are in force
// and which are not. The code before logged "certificates read again" and kept the old path.
func TestReloadReports(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	a, _ := r.useTLS(t, "")
	r.startTLS(a)
	file := filepath.Join(r.Dir, "sealgate.hcl")
	plain, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := a.issue(101, false)
	for name, text := range map[string][]byte{"moved.crt": cert, "moved.key": key} {
		if err := os.WriteFile(filepath.Join(r.Dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	last := func(word string) string {
		line := ""
		r.eventually(patience, word, func() bool {
			for l := range strings.SplitSeq(r.Log(), "\n") {
				if strings.Contains(l, "reload: ") {
					line = l
				}
			}
			return strings.Contains(line, word)
		})
		return line
	}
	reload := func(config string) {
		t.Helper()
		if err := r.WriteConfig(config); err != nil {
			t.Fatal(err)
		}
		r.reload()
	}
	moved := strings.NewReplacer("server.crt", "moved.crt", "server.key", "moved.key").Replace(string(plain))
	reload(moved + "\nlog_level = \"debug\"\nmax_lease_ttl = \"900h\"\nuser_lockout \"all\" { lockout_threshold = 9 }\n")
	line := last("needs_restart")
	for _, want := range []string{"moved.crt", "log_level debug", "needs_restart=\"max_lease_ttl; user_lockout\"",
		"level=WARN"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in: %s", want, line)
		}
	}
	if n, err := serial(a.browser(), r.Addr); err != nil || n != 101 {
		t.Errorf("the certificate of the new path is not in use: serial number %d, %v", n, err)
	}
	schedule := fmt.Sprintf("snapshot \"hourly\" {\n  every = \"1h\"\n  path = %q\n}\n", t.TempDir())
	reload(moved + "\nlog_level = \"debug\"\n" + schedule)
	line = last("reload: done\"")
	if strings.Contains(line, "needs_restart") || strings.Contains(line, "failed") ||
		!strings.Contains(line, "snapshot schedules") {
		t.Errorf("nothing differs any more: %s", line)
	}
	reload(strings.Replace(moved, "moved.crt", "none.crt", 1) + "\nlog_level = \"debug\"\n")
	line = last("failed in part")
	if !strings.Contains(line, "none.crt") || !strings.Contains(line, "level=ERROR") {
		t.Errorf("a missing certificate: %s", line)
	}
	reload(moved + "\nlog_levle = \"debug\"\n")
	line = last("log_levle")
	if !strings.Contains(line, "did you mean") || !strings.Contains(line, "certificate of") {
		t.Errorf("an invalid configuration: %s", line)
	}
}
