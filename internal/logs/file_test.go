package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
