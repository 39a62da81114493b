package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (r *harness) dataFile() string { return filepath.Join(r.Dir, "data", "sealgate.db") }

// exits waits for a server that cannot run, and returns what it said.
func (r *harness) exits(words ...string) {
	r.t.Helper()
	before := len(r.Log())
	if err := r.Start(); err != nil {
		r.t.Fatal(err)
	}
	code, err := r.Wait(patience)
	if err != nil || code != 1 {
		r.t.Fatalf("exit code %d, %v; want 1\n%s", code, err, r.Log())
	}
	saysAll(r.t, "the server", r.Log()[before:], append(words, "Error: ")...)
	if strings.Contains(r.Log()[before:], "goroutine ") {
		r.t.Errorf("the server panicked:\n%s", r.Log()[before:])
	}
}

func (r *harness) mustStop() {
	r.t.Helper()
	if err := r.Stop(); err != nil {
		r.t.Fatal(err)
	}
}

// TestStorageInUse: a second server on the same folder ends with an error that names the first,
// which serves on.
func TestStorageInUse(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	second := newStaticHarness(t)
	config, err := os.ReadFile(filepath.Join(second.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.WriteConfig(strings.Replace(string(config), `"data"`, fmt.Sprintf("%q", filepath.Dir(r.dataFile())),
		1)); err != nil {
		t.Fatal(err)
	}
	second.exits(r.dataFile(), fmt.Sprintf("process %d", r.Pid()), "stop that process", "sealgate.hcl:1")
	r.mustPut("a", "still here")
	r.mustStop()
	if err := second.Start(); err != nil { // now it may
		t.Fatal(err)
	}
	if err := second.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
}

// TestStorageTruncated cuts the file at several places. No start of the server changes it: put
// back, all is there.
func TestStorageTruncated(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	for i := range 40 {
		r.mustPut(fmt.Sprint(i), strings.Repeat("long ", 400))
	}
	r.mustStop()
	whole, err := os.ReadFile(r.dataFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{10, 4096, 16384, 40000} {
		if err := os.WriteFile(r.dataFile(), whole[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		r.exits(filepath.Join("data", "sealgate.db"), "restore it from a snapshot")
		if now, err := os.ReadFile(r.dataFile()); err != nil || !bytes.Equal(now, whole[:length]) {
			t.Errorf("the file of %d bytes was changed by a server that refused it: %v", length, err)
		}
	}
	if err := os.WriteFile(r.dataFile(), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.until(patience, "unsealed", unsealed)
	r.mustGet("39", strings.Repeat("long ", 400))
}

// TestFlippedByte damages single entries on the disk. A read of it names the entry; everything else
// keeps working.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	for _, key := range []string{"first", "victim-entry", "other-victim", "last"} {
		r.mustPut(key, "value of "+key)
	}
	r.mustStop()
	whole, err := os.ReadFile(r.dataFile())
	if err != nil {
		t.Fatal(err)
	}
	r.damage(whole, "victim-entry", "other-victim")
	r.mustStart()
	r.until(patience, "unsealed", unsealed)
	reply := r.call("GET", "kv/victim-entry", nil)
	if reply.Code != 500 {
		t.Errorf("reading the damaged entry: %d %s", reply.Code, reply.Body)
	}
	saysAll(t, "the error", string(reply.Body), "victim-entry", "restore", "request id")
	r.logs("victim-entry")
	r.mustGet("first", "value of first")
	r.mustGet("last", "value of last")
	r.must(200, "LIST", "kv", nil)
	r.mustPut("victim-entry", "written again")
	r.mustGet("victim-entry", "written again")
	r.must(204, "DELETE", "kv/other-victim", nil)
	r.mustStop()

	// An entry needed to unseal: the server names it and keeps answering.
	for _, entry := range []string{"core/keyring", "core/seal", "core/mounts", "core/cluster"} {
		r.damage(whole, entry)
		before := len(r.Log())
		r.mustStart()
		r.eventually(patience, "logging what is damaged: "+entry, func() bool {
			return strings.Contains(r.Log()[before:], entry)
		})
		if _, code, err := r.Health(t.Context()); err != nil || code == 200 {
			t.Errorf("%s damaged: health %d, %v", entry, code, err)
		}
		if reply := r.call("PUT", "sys/init", map[string]int{"recovery_shares": 1,
			"recovery_threshold": 1}); reply.Code < 400 {
			t.Errorf("%s damaged: the store could be initialised over", entry)
		}
		r.logs(entry)
		r.mustStop()
	}
	if err := os.WriteFile(r.dataFile(), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.until(patience, "unsealed", unsealed)
	r.mustGet("victim-entry", "value of victim-entry")
}

// damage writes the file with one bit flipped in every copy of the entries' values: free pages hold
// older ones.
func (r *harness) damage(whole []byte, keys ...string) {
	r.t.Helper()
	out := bytes.Clone(whole)
	for _, key := range keys {
		n := 0
		for at := 0; ; n++ {
			i := bytes.Index(out[at:], []byte(key))
			if i < 0 {
				break
			}
			at += i + len(key)
			out[at+30] ^= 0x10 // behind the checksum; values are longer than this
		}
		if n == 0 {
			r.t.Fatalf("no entry %q in the file", key)
		}
	}
	if err := os.WriteFile(r.dataFile(), out, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// TestForeignFolder: a folder with another program's data is refused, and left as it is.
func TestForeignFolder(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"Vault's file storage": {"core/_keyring": `{"Value":"x"}`, "core/_seal-config": `{"Value":"x"}`},
		"raft":                 {"raft/raft.db": "x", "vault.db": "x"},
		"other documents":      {"letter.txt": "Dear Sir"},
		"another database":     {"sealgate.db": strings.Repeat("SQLite format 3\x00", 600)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newStaticHarness(t)
			dir := filepath.Join(r.Dir, "data")
			for file, text := range files {
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r.exits("data")
			for file, text := range files {
				if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != text {
					t.Errorf("%s was changed: %v", file, err)
				}
			}
			if _, err := os.Stat(r.dataFile()); err == nil && name != "another database" {
				t.Error("a database was made beside it")
			}
		})
	}
}

// disk is a place of bounded size for a server's data, and how to make room on it.
type disk struct {
	name   string
	before func(t *testing.T, r *harness) bool // prepares, before the start; false where this machine does not let it
	fill   func(t *testing.T, r *harness)
	room   func(t *testing.T, r *harness)
}

var disks = []disk{
	{
		name: "tmpfs", before: mountSmall,
		fill: func(*testing.T, *harness) {}, // what is written fills it
		room: func(t *testing.T, r *harness) {
			if err := os.Remove(filepath.Join(r.Dir, "data", "ballast")); err != nil {
				t.Fatal(err)
			}
		},
	},
	{
		name: "limit on the file's size", before: func(*testing.T, *harness) bool { return true },
		fill: func(t *testing.T, r *harness) { limitFile(t, r, 5<<20) },
		room: func(t *testing.T, r *harness) { limitFile(t, r, unix.RLIM_INFINITY) },
	},
}

// mountSmall mounts a small disk at the folder of the data, and fills it with a file that can be
// removed.
func mountSmall(t *testing.T, r *harness) bool {
	dir := filepath.Join(r.Dir, "data")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("sealgate-test", dir, "tmpfs", 0, "size=7m"); err != nil {
		return false
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return true
}

// limitFile bounds the size of the files that the running server writes.
func limitFile(t *testing.T, r *harness, size uint64) {
	t.Helper()
	limit := unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(r.Pid(), unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: writes fail with an error that names the cause, reads succeed, and writes succeed
// when there is room again. Nothing that was acknowledged is lost, also where the server is killed
// meanwhile.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			r := newStaticHarness(t)
			if !d.before(t, r) {
				t.Log("no disk can be mounted here; the limit on the file's size stands for it")
				return
			}
			r.mustStart()
			r.mustInit()
			acked := map[string]string{}
			for round := range 2 {
				ballast := filepath.Join(r.Dir, "data", "ballast")
				if d.name == "tmpfs" {
					if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
						t.Fatal(err)
					}
				}
				d.fill(t, r)
				r.writeUntilFull(t, round, acked)
				r.readAll(t, acked)
				for _, op := range []string{"sys/rotate", "sys/rotate/root"} {
					// These are small: they may fit where a value did not, and then they hold.
					if reply := r.call("PUT", op, nil); reply.Code != 204 {
						saysAll(t, op, reply.Errors(), "the storage is full")
					}
				}
				if round == 1 { // killed while the disk is full
					if err := r.Kill(); err != nil {
						t.Fatal(err)
					}
					r.mustStart()
					r.until(patience, "unsealed on a full disk", unsealed)
					r.readAll(t, acked)
				}
				d.room(t, r)
				r.mustPut("after", fmt.Sprint("round ", round))
				r.must(204, "PUT", "sys/rotate", nil)
				r.must(204, "PUT", "sys/rotate/root", nil)
			}
			if err := r.Kill(); err != nil {
				t.Fatal(err)
			}
			r.mustStart()
			r.until(patience, "unsealed", unsealed)
			r.readAll(t, acked)
			r.mustGet("after", "round 1")
		})
	}
}

// writeUntilFull writes until nothing fits any more: first values of 60 KiB, then small ones.
func (r *harness) writeUntilFull(t *testing.T, round int, acked map[string]string) {
	t.Helper()
	for _, size := range []int{60 << 10, 1 << 10, 10} {
		failures := 0
		for i := 0; failures < 3; i++ {
			if i > 3000 {
				t.Fatal("the disk does not fill")
			}
			key, value := fmt.Sprintf("r%d-%d-%d", round, size, i), strings.Repeat("v", size)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			reply, err := r.Do(ctx, "PUT", "kv/"+key, r.root, map[string]string{"v": value})
			cancel()
			switch {
			case err != nil:
				t.Fatal(err)
			case reply.Code == 204:
				acked[key] = value
			case reply.Code == 503:
				failures++
				saysAll(t, "the error of a write", reply.Errors(), "no space is left", "make room")
			default:
				t.Fatalf("a write to a full disk: %d %s", reply.Code, reply.Body)
			}
		}
	}
}

func (r *harness) readAll(t *testing.T, acked map[string]string) {
	t.Helper()
	if len(acked) < 3 {
		t.Fatalf("only %d writes succeeded: the test is wrong", len(acked))
	}
	for key, want := range acked {
		if got, reply := r.get(key); got != want {
			t.Errorf("%s: %d, %d bytes; want %d", key, reply.Code, len(got), len(want))
		}
	}
}
