package e2e

import "syscall"

// childAttr has the kernel kill a server whose starter died, so that an interrupted test run leaves none behind.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
