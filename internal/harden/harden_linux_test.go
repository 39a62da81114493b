package harden

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProcess runs in a child, because the settings are those of a whole process.
func TestProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv("HARDEN_CHILD") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcess$", "-test.v")
		cmd.Env = append(os.Environ(), "HARDEN_CHILD=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &before); err != nil {
		t.Fatal(err)
	}
	if err := Process(); err != nil {
		t.Fatal(err)
	}
	check(t, 0, 0)
	if err := AllowDebugging(); err != nil {
		t.Fatal(err)
	}
	check(t, 1, before.Max)
}

func check(t *testing.T, dumpable int, core uint64) {
	t.Helper()
	got, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || got != dumpable {
		t.Errorf("dumpable: %d, %v; want %d", got, err, dumpable)
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &l); err != nil || l.Cur != core {
		t.Errorf("core limit: %d, %v; want %d", l.Cur, err, core)
	}
}
