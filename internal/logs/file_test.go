package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRotation(t *testing.T) {
	t.Parallel()
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	dir := t.TempDir()
	f, err := OpenFile(FileOptions{Path: dir + "/", Bytes: 20, Every: time.Hour, Keep: 2,
		Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		clock = clock.Add(time.Second)
		if _, err := fmt.Fprintf(f, "line %d 1234567\n", i); err != nil {
			t.Fatal(err)
		}
	}
	clock = clock.Add(time.Hour)
	if _, err := f.Write([]byte("new\n")); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(string(text)))
	}
	if !slices.Equal(got, []string{"line 4 1234567", "line 5 1234567", "new"}) {
		t.Errorf("%q hold %q", names, got)
	}
	now := filepath.Join(dir, "sealgate.log")
	if info, err := os.Stat(now); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.Rename(now, filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("again\n")); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(now); err != nil || string(text) != "again\n" {
		t.Errorf("%q %v", text, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailedRotationKeepsWriting(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	f, err := OpenFile(FileOptions{Path: path, Bytes: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := f.Write([]byte("12345\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(FileOptions{Path: filepath.Join(path, "x", "log")}); err == nil {
		t.Error("a file in no folder is opened")
	}
}

// TestRotationSparesPipesAndLinks checks that a rotation renames neither a pipe (log_file =
// "/dev/stdout") nor a link.
func TestRotationSparesPipesAndLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe.log"), filepath.Join(dir, "link.log")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := os.WriteFile(filepath.Join(dir, "real.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.log", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, link} {
		f, err := OpenFile(FileOptions{Path: path, Bytes: 5})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := f.Write([]byte("1234\n")); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe: %v, %v", info, err)
	}
	if to, err := os.Readlink(link); err != nil || to != "real.log" {
		t.Errorf("the link: %q, %v", to, err)
	}
	if rotated, _ := filepath.Glob(filepath.Join(dir, "real-*.log")); len(rotated) != 1 {
		t.Errorf("rotated: %v", rotated)
	}
}
