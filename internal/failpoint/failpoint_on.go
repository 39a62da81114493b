//go:build failpoints

// Package failpoint marks the durable steps of the program; this build kills
// the process at the one that SEALGATE_FAILPOINT names.
package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var state = struct {
	sync.Mutex
	hits map[string]int
}{hits: map[string]int{}}

// Point counts a visit, appends it to the file named by SEALGATE_FAILPOINT_LOG, from which a test
// learns the points of a scenario, and kills the process where the environment asks for it.
func Point(name string) {
	state.Lock()
	defer state.Unlock()
	state.hits[name]++
	hit := state.hits[name]
	if log := os.Getenv("SEALGATE_FAILPOINT_LOG"); log != "" {
		record(log, name, hit)
	}
	want, count, counted := strings.Cut(os.Getenv("SEALGATE_FAILPOINT"), "=")
	if want != name {
		return
	}
	n := 1
	if counted {
		n, _ = strconv.Atoi(count)
	}
	if hit != n {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until the signal arrives, nothing may run past this point
}

func record(log, name string, hit int) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s=%d\n", name, hit)
}
