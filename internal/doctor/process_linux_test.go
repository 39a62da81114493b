package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sealgate/sealgate/internal/testkit"
)

// TestLimitsOfProcess reads /proc/PID/limits as Linux writes it.
func TestLimitsOfProcess(t *testing.T) {
	t.Parallel()
	core, files, ok := limitsOfProcess(os.Getpid())
	if !ok || files != limitsOf(unix.RLIMIT_NOFILE) || core != limitsOf(unix.RLIMIT_CORE) {
		t.Error(core, files, ok)
	}
	if _, _, ok := limitsOfProcess(1 << 30); ok {
		t.Error("the limits of no process")
	}
}

// TestReadableByEquals takes a process of another user than root, which is not hardened.
func TestReadableByEquals(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		testkit.Missing(t, "only root can start a process of another user")
	}
	cmd := exec.Command("/bin/sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if !readableByEquals(fmt.Sprintf("/proc/%d", cmd.Process.Pid)) {
		t.Error("an ordinary process counts as hardened")
	}
	if readableByEquals("/proc/self") {
		t.Error("a process of root is judged by its owner")
	}
}

// TestLockedBy locks a page of this process.
func TestLockedBy(t *testing.T) {
	t.Parallel()
	page, err := unix.Mmap(-1, 0, leastLocked, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(page) })
	if err := unix.Mlock(page); err != nil {
		testkit.Missing(t, "this process may not lock memory: %v", err)
	}
	if n, ok := lockedBy("/proc/self/status"); !ok || n < leastLocked {
		t.Errorf("%d bytes locked, %t", n, ok)
	}
	if _, ok := lockedBy("/proc/self/none"); ok {
		t.Error("the locked memory of no process")
	}
}
