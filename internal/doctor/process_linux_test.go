package doctor

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
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
