package testkit

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// Require returns the path of a program that a test needs. Without it the test fails: .ci/setup
// installs all of them.
func Require(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: .ci/setup test installs what the tests need", program)
	}
	return path
}

// Missing skips a test for want of a right of the user or a property of the machine, which no
// set-up can give: root, locked memory, the byte order. The test is reported as skipped. Where
// the variable CI is set it fails instead: there everything must run.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("cannot run in CI: "+format, args...)
	}
	t.Skipf(format, args...)
}

// Patience bounds the wait for a condition that a test expects; a correct program needs a fraction.
const Patience = time.Minute

// Eventually waits for a condition that nothing signals, and fails the test after [Patience].
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", Patience, what)
		}
	}
}
