package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFullDisk: what has no room is refused, leaves no half of a line, and when there is room the
// log continues.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Logf("no small disk here (%v): /dev/full takes its place", err)
		fullDevice(t)
		return
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := active(t)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 40<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	b.enable("file", "file", "file_path", log)
	var err error
	passed := 0
	for ; err == nil; passed++ {
		if passed > 10_000 {
			t.Fatal("the disk never fills")
		}
		err = b.once(fmt.Sprint(passed))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v", err)
	}
	for range 10 {
		if err := b.once("refused"); !errors.Is(err, ErrUnwritten) {
			t.Errorf("still full: %v", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	b.must("after")
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	all := b.entries(string(raw))
	if n := len(all); n < 2*passed || all[n-1]["request"].(map[string]any)["id"] != "after" {
		t.Errorf("%d entries of %d requests", n, passed)
	}
}

func fullDevice(t *testing.T) {
	b := active(t)
	b.enable("file", "file", "file_path", "/dev/full", "mode", "0000", "skip_test", "true")
	if err := b.once("1"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v", err)
	}
}
